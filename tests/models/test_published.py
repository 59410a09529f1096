"""Published checkpoints: every tensor lands in its place, or nothing does and all that differs is named."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import published_layouts as layouts
from heatpoint.models import FAMILIES, MapNetwork, load_published, make_model, published_names

Shapes = dict[str, tuple[int, ...]]
R18, R50, R101, R152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


def build(backbone: str, head: str | None, points: int, channels: int = 1) -> MapNetwork:
    options = {"num_points": points, "input_size": 64, "channels_per_point": channels}
    return make_model(backbone, head=head, **options)  # type: ignore[arg-type]


def numbered(layout: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Tensor number i of a checkpoint is full of i + 1, which float32 and int64 hold exactly."""
    state = {}
    for number, (name, shape) in enumerate(layout, start=1):
        counter = name.endswith("num_batches_tracked")
        state[name] = torch.full(shape, number, dtype=torch.int64 if counter else torch.float32)
    return state


@pytest.mark.parametrize(
    ("family", "network", "layout"),
    [
        ("simple_pose", ("resnet50", "deconv", 17), layouts.simple_pose(R50, 17, bottleneck=True)),
        ("simple_pose", ("resnet101", "deconv", 16), layouts.simple_pose(R101, 16, bottleneck=True)),
        ("simple_pose", ("resnet152", "deconv", 17), layouts.simple_pose(R152, 17, bottleneck=True)),
        ("sampling_argmax", ("resnet18", "deconv", 5), None),
        ("hrnet_pose", ("hrnet_w32", "branch", 17), layouts.hrnet_pose(32, 17)),
        ("hrnet_pose", ("hrnet_w48", "branch", 16), layouts.hrnet_pose(48, 16)),
        ("h3r_hrnet", ("hrnet_w18", "h3r", 98, 2), layouts.h3r_hrnet(18, 98)),
        ("h3r_hrnet", ("hrnet_w32", "h3r", 106, 2), layouts.h3r_hrnet(32, 106)),
        ("h3r_mobilenetv2", ("mobilenetv2_h3r", None, 68, 2), layouts.h3r_mobilenetv2(68)),
    ],
)
def test_names_and_shapes_are_the_published_ones(
    family: str, network: tuple[str, str | None, int], layout: layouts.Layout | None
) -> None:
    if layout is None:
        rows = list(layouts.simple_pose(R18, 5, bottleneck=False))
        layout = ((name if name.startswith(("deconv", "final")) else f"preact.{name}", shape) for name, shape in rows)
    with torch.device("meta"):
        model = build(*network)
    assert published_names(family, model) == dict(layout)


@pytest.mark.parametrize(
    ("family", "network", "layout", "spots"),
    [
        (
            "simple_pose",
            ("resnet18", "deconv", 5),
            layouts.simple_pose(R18, 5, bottleneck=False),
            {
                "features.layer3.0.downsample.1.running_var": "layer3.0.downsample.1.running_var",
                "head.deconvolutions.6.weight": "deconv_layers.6.weight",
                "head.logits.bias": "final_layer.bias",
            },
        ),
        (
            "h3r_hrnet",
            ("hrnet_w18", "h3r", 3, 2),
            layouts.h3r_hrnet(18, 3),
            {
                "features.stage4.2.fuse_layers.3.0.1.0.weight": "backbone.stage4.2.fuse_layers.3.0.1.0.weight",
                "head.mix.1.running_mean": "heatmap_head.head.layers.1.running_mean",
            },
        ),
        (
            "h3r_mobilenetv2",
            ("mobilenetv2_h3r", None, 3, 2),
            layouts.h3r_mobilenetv2(3),
            {
                "features.bn1.bias": "backbone.features.0.1.bias",
                "features.blocks.0.0.conv_pw.weight": "backbone.features.1.conv.3.weight",
                "features.blocks.4.2.bn3.running_mean": "backbone.features.13.conv.7.running_mean",
                "features.blocks.2.1.conv_dw.weight": "backbone.features.5.conv.3.weight",
                "head.logits.weight": "heatmap_head.head.layers.3.weight",
            },
        ),
    ],
)
def test_every_tensor_is_placed(
    family: str, network: tuple[str, str | None, int], layout: layouts.Layout, spots: dict[str, str]
) -> None:
    state = numbered(layout)
    model = load_published(state, family, build(*network))
    assert not model.training
    placed = {name.removeprefix("network."): t for name, t in model.state_dict().items() if name not in ("mean", "std")}
    assert sorted(int(t.flatten()[0]) for t in placed.values()) == list(range(1, len(state) + 1))
    assert all(bool((t == t.flatten()[0]).all()) for t in placed.values())
    for ours, theirs in spots.items():
        assert placed[ours].flatten()[0] == state[theirs].flatten()[0], ours


@pytest.fixture(scope="module")
def mobile() -> Callable[[], tuple[MapNetwork, dict[str, Tensor]]]:
    """A small network, and a checkpoint for it."""

    def make() -> tuple[MapNetwork, dict[str, Tensor]]:
        return build("mobilenetv2_h3r", None, 3, 2), numbered(layouts.h3r_mobilenetv2(3))

    return make


Mobile = Callable[[], tuple[MapNetwork, dict[str, Tensor]]]
LAST = "heatmap_head.head.layers.3.weight"


def test_two_channels_change_from_planes_of_points_to_pairs(mobile: Mobile) -> None:
    model, state = mobile()
    # There, row c · K + k is channel c of point k.
    state[LAST] = torch.arange(6.0)[:, None, None, None].expand(6, 152, 1, 1)
    load_published(state, "h3r_mobilenetv2", model)
    assert model.network.head.logits.weight[:, 0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]


def test_colours_in_another_order_are_exchanged_in_the_first_layer() -> None:
    state = numbered(layouts.simple_pose(R18, 2, bottleneck=False))
    generator = torch.Generator().manual_seed(0)
    state["conv1.weight"] = torch.randn(64, 3, 7, 7, generator=generator)
    model = load_published(state, "simple_pose", build("resnet18", "deconv", 2))
    rgb = torch.rand(2, 3, 20, 12, generator=generator)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    theirs = F.conv2d((rgb.flip(1) - mean) / std, state["conv1.weight"])
    ours = F.conv2d((rgb - model.mean) / model.std, model.network.features.conv1.weight)
    # 147 products of up to 10 in float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    assert torch.equal(state["conv1.weight"], state["conv1.weight"].clone())


def test_sampling_argmax_subtracts_its_own_mean_and_divides_by_nothing() -> None:
    rows = layouts.simple_pose(R18, 2, bottleneck=False)
    state = numbered((n if n.startswith(("deconv", "final")) else f"preact.{n}", s) for n, s in rows)
    model = load_published(state, "sampling_argmax", build("resnet18", "deconv", 2))
    assert torch.equal(model.mean.flatten(), torch.tensor([0.406, 0.457, 0.480]))
    assert bool((model.std == 1).all())


def test_files_wrapped_and_old_checkpoints_are_read(mobile: Mobile, tmp_path: Path) -> None:
    model, state = mobile()
    old = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in old.items()}}
    torch.save(wrapped, tmp_path / "model.pth")
    load_published(tmp_path / "model.pth", "h3r_mobilenetv2", model)
    assert model.network.features.bn1.num_batches_tracked == 0
    assert bool((model.network.features.bn1.weight == state["backbone.features.0.1.weight"]).all())


def test_all_that_differs_is_named_and_nothing_is_loaded(mobile: Mobile) -> None:
    model, state = mobile()
    before = model.network.features.bn1.weight.clone()
    del state["backbone.features.0.1.bias"]
    state["backbone.features.0.1.offset"] = torch.zeros(32)
    state[LAST] = torch.zeros(4, 152, 1, 1)
    with pytest.raises(ValueError) as raised:
        load_published(state, "h3r_mobilenetv2", model)
    assert str(raised.value) == (
        "load_published: source must hold the tensors of h3r_mobilenetv2 for this network, got it lacks "
        "backbone.features.0.1.bias; it has the unknown backbone.features.0.1.offset; of another shape: "
        f"{LAST} is (4, 152, 1, 1), not (6, 152, 1, 1). Make the network by make_model('mobilenetv2_h3r', "
        "channels_per_point=2, ...), with the checkpoint's number of points."
    )
    assert torch.equal(model.network.features.bn1.weight, before)


def test_some_counters_without_the_others_are_an_error(mobile: Mobile) -> None:
    model, state = mobile()
    del state["backbone.features.0.1.num_batches_tracked"]
    with pytest.raises(ValueError, match=r"it lacks backbone\.features\.0\.1\.num_batches_tracked\."):
        load_published(state, "h3r_mobilenetv2", model)


def test_a_checkpoint_of_another_network_names_a_few_and_counts_the_rest(mobile: Mobile) -> None:
    model, _ = mobile()
    with pytest.raises(ValueError, match=r"it lacks .* and 235 more; it has the unknown .* and 134 more\."):
        load_published(numbered(layouts.simple_pose(R18, 3, bottleneck=False)), "h3r_mobilenetv2", model)


class Danger:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "source must hold weights, got the Git LFS pointer "),
        (pickle.dumps(Danger(), protocol=2), "cannot be read as weights alone (UnpicklingError "),
        (b"", "cannot be read as weights alone (EOFError). Give a file of a state dict, saved by torch.save."),
        ([1, 2], "source must hold tensors by name, got a list in "),
        ({"epoch": 1, "note": "a"}, "source must hold tensors by name only, got 'epoch', 'note' of other kinds."),
        ({}, "source must hold tensors by name only, got nothing."),
    ],
    ids=["pointer", "code", "empty", "list", "plain", "nothing"],
)
def test_files_that_hold_no_checkpoint(content: object, text: str, mobile: Mobile, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError) as raised:
        load_published(path, "h3r_mobilenetv2", mobile()[0])
    assert text in str(raised.value)
    assert str(raised.value).startswith("load_published: ")


def test_what_cannot_be_asked_for(mobile: Mobile, tmp_path: Path) -> None:
    model, state = mobile()
    with pytest.raises(
        FileNotFoundError, match=r"load_published: there is no file .*nothing\.pth\. Give the checkpoint"
    ):
        load_published(tmp_path / "nothing.pth", "h3r_mobilenetv2", model)
    with pytest.raises(ValueError, match="load_published: family must be one of h3r_hrnet, .*Did you mean hrnet_pose"):
        load_published(state, "hrnet_poses", model)
    with pytest.raises(ValueError, match="published_names: family must be one of"):
        published_names("hrnet", model)
    with pytest.raises(ValueError) as raised:
        load_published(state, "h3r_mobilenetv2", build("mobilenetv2_h3r", None, 3))
    assert str(raised.value) == (
        "load_published: model must have 2 channels per point for h3r_mobilenetv2, got 1. Make it by "
        "make_model('mobilenetv2_h3r', channels_per_point=2, ...)."
    )


def test_every_family_says_where_it_comes_from_and_how_its_network_is_made() -> None:
    for family in FAMILIES.values():
        assert "/" in family.about
        assert family.network.startswith("make_model(")
