"""A published checkpoint becomes a file of weights that is evaluated and used like any other; what a flip test averages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import published_layouts as layouts
from heatpoint.datasets import synthetic_faces
from heatpoint.inference import Predictor
from heatpoint.localizers import make_localizer
from heatpoint.models import load_published, make_model
from heatpoint.readout import flip_maps
from heatpoint.recipes import DataConfig, ModelConfig, Recipe
from heatpoint.skeleton import load_skeleton
from heatpoint.support import Grid
from heatpoint.training import convert_published, evaluate, load_weights
from heatpoint.training.evaluation import OWN
from heatpoint.training.locating import locate
from heatpoint.training.published import family_of
from heatpoint.training.weights import build_model

FACES = load_skeleton("synthetic_face")
H3R = Recipe(
    "h3r",
    "randomized_rounding",
    localizer_options={"channels": 2, "readout": {"name": "top_k", "k": 9}},
    data=DataConfig(dataset="synthetic_faces", input=64, flip_average="maps_shifted"),
    model=ModelConfig(backbone="mobilenetv2_h3r"),
)


def checkpoint() -> dict[str, Tensor]:
    """Random weights under published names, small enough for logits of order 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in layouts.h3r_mobilenetv2(FACES.num_points):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) == 4:
            fan = shape[1] * shape[2] * shape[3]
            state[name] = torch.randn(shape, generator=generator) * fan**-0.5
        else:
            state[name] = torch.rand(shape, generator=generator) + 0.5
    return state


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    torch.save(checkpoint(), folder / "model.pth")
    return convert_published(folder / "model.pth", H3R, folder / "new" / "model.safetensors", skeleton="synthetic_face")


def test_the_file_gives_the_published_maps_under_its_recipe(converted: Path) -> None:
    trained = load_weights(converted)
    assert trained.recipe == H3R
    assert trained.header["published"]["family"] == "h3r_mobilenetv2"
    assert trained.header["published"]["source"].endswith("model.pth")
    assert trained.localizer.to_dict()["channels"] == 2
    options = {"num_points": FACES.num_points, "input_size": 64, "channels_per_point": 2}
    direct = load_published(checkpoint(), "h3r_mobilenetv2", make_model("mobilenetv2_h3r", **options))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = trained.model(images)
        assert maps.shape == (2, FACES.num_points, 2, 16, 16)
        assert torch.equal(maps, direct(images))


def test_it_is_evaluated_and_predicts(converted: Path) -> None:
    faces = synthetic_faces(3, seed=0, split="test")
    found = evaluate(converted, point_set=faces, readouts=["argmax"], batch_size=2)
    assert set(found["scores"]) == {OWN, "argmax"}
    assert found["epoch"] is None
    assert (found["protocol"]["flip_test"], found["protocol"]["flip_average"]) == (True, "maps_shifted")
    predictor = Predictor.load(converted)
    assert predictor.describe()["flip_average"] == "maps_shifted"
    pixels = np.zeros((40, 50, 3), dtype=np.uint8)
    assert predictor(pixels, boxes=[(3, 3, 30, 30)])[0].points.shape == (FACES.num_points, 2)
    assert "flip_average" not in Predictor.load(converted, flip_test=False).describe()


def test_the_family_may_be_named_and_tensors_given_directly(tmp_path: Path) -> None:
    out = convert_published(checkpoint(), H3R, tmp_path / "a.safetensors", skeleton=FACES, family="h3r_mobilenetv2")
    assert load_weights(out).header["published"] == {"family": "h3r_mobilenetv2", "source": "tensors"}
    with pytest.raises(ValueError, match="load_published: family must be one of"):
        convert_published(checkpoint(), H3R, tmp_path / "b.safetensors", skeleton=FACES, family="h3r")
    with pytest.raises(ValueError, match="get_recipe: unknown recipe 'h3r'"):
        convert_published(checkpoint(), "h3r", tmp_path / "b.safetensors", skeleton=FACES)
    with pytest.raises(ValueError, match=r"source must hold the tensors of h3r_mobilenetv2 .* of another shape: "):
        convert_published(checkpoint(), H3R, tmp_path / "b.safetensors", skeleton="face5")
    one = replace(H3R, localizer_options={})
    with pytest.raises(ValueError, match="model must have 2 channels per point for h3r_mobilenetv2, got 1"):
        convert_published(checkpoint(), one, tmp_path / "b.safetensors", skeleton=FACES)
    assert not (tmp_path / "b.safetensors").exists()


def test_the_family_of_a_network() -> None:
    named = {
        ("hrnet_w48", "branch"): "hrnet_pose",
        ("hrnet_w18", "h3r"): "h3r_hrnet",
        ("mobilenetv2_h3r", "h3r"): "h3r_mobilenetv2",
        ("resnet50", None): "simple_pose",
        ("resnet101", "deconv"): "simple_pose",
    }
    for (backbone, head), family in named.items():
        assert family_of(ModelConfig(backbone=backbone, head=head)) == family  # type: ignore[arg-type]
    with pytest.raises(ValueError) as raised:
        family_of(ModelConfig(backbone="hrnet_w18"))
    assert str(raised.value) == (
        "convert_published: recipe must name a network with published checkpoints, got backbone 'hrnet_w18' with head None. "
        "Name the family, or take an HRNet with head 'branch' or 'h3r', 'mobilenetv2_h3r', or a ResNet with 'deconv'."
    )
    with pytest.raises(ValueError, match="got backbone 'resnet50' with head None and depth 64"):
        family_of(ModelConfig(backbone="resnet50", depth=64))


def test_the_network_follows_the_localizers_channels() -> None:
    small = replace(H3R, model=ModelConfig(backbone="small"))
    model, grid = build_model(small, 3)
    maps = model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert maps.shape == (2, 3, 2, 16, 16)
    localizer = make_localizer(small.localizer, grid, **small.localizer_options)
    localizer.loss(maps, torch.full((2, 3, 2), 20.0)).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    single, _ = build_model(replace(small, localizer_options={}), 3)
    assert single(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    # "channels" of a localizer that has none, or of 3, is the localizer's to refuse.
    other, grid = build_model(replace(small, localizer="crps"), 3)
    assert other(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="an option of crps must be one of .*got 'channels'"):
        make_localizer("crps", grid, channels=2)


class Lopsided(nn.Module):
    """Two maps per image, brighter to the right: not what a mirrored image gives mirrored."""

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(images[:, :2], 2)
        return maps + torch.linspace(0, 3, maps.shape[-1])


@pytest.mark.parametrize(("average", "shift"), [("maps", 0), ("maps_shifted", 1)])
def test_maps_are_averaged_before_they_are_read(average: str, shift: int) -> None:
    images = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    localizer = make_localizer("soft_argmax", Grid((6, 10), stride=2))
    swap = (1, 0)
    found = locate(Lopsided(), {"a": localizer}, images, swap=swap, average=average)["a"]
    maps = (Lopsided()(images) + flip_maps(Lopsided()(images.flip(-1)), swap=swap, shift=shift)) / 2
    for here, there in zip(found, localizer.locate(maps), strict=True):
        assert torch.equal(here, there)
    coordinates = locate(Lopsided(), {"a": localizer}, images, swap=swap)["a"]
    assert not torch.allclose(coordinates.points, found.points)
    # Without a flip test there is nothing to average.
    alone = locate(Lopsided(), {"a": localizer}, images, average=average)["a"]
    assert torch.equal(alone.points, localizer.locate(Lopsided()(images)).points)


def test_an_unknown_average_is_refused() -> None:
    localizer = make_localizer("soft_argmax", Grid((6, 10), stride=2))
    with pytest.raises(ValueError) as raised:
        locate(Lopsided(), {"a": localizer}, torch.zeros(1, 3, 12, 20), average="map")
    assert str(raised.value) == (
        "locate: average must be one of coordinates, maps, maps_shifted, got 'map'. Did you mean maps?"
    )
