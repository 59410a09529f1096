"""From a photograph to points in its pixels: boxes, batches, repeated looks, and the forms of a prediction."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.datasets import synthetic_faces
from heatpoint.inference import Prediction, Predictor
from heatpoint.inference.prediction import plot_all
from heatpoint.localizers import make_localizer
from heatpoint.recipes import DataConfig, Recipe
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid
from heatpoint.training import load_weights
from heatpoint.training.weights import Trained
from heatpoint.transforms import make_example

SKELETON = Skeleton(("red", "green", "blue"), edges=((0, 1),))


class Colours(nn.Module):
    """One map per colour, proportional to the colour: the mean of the map is the centroid of a dot."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = nn.Parameter(torch.tensor(1e-7))

    def forward(self, images: Tensor) -> Tensor:
        return torch.log(nn.functional.avg_pool2d(images, 2) + self.floor)


def colours(policy: str = "image", padding: float = 1.0, **options: Any) -> Predictor:
    data = DataConfig(input=32, box_policy=policy, padding=padding, flip_test=False)  # type: ignore[arg-type]
    localizer = make_localizer("soft_argmax", Grid((16, 16), stride=2))
    recipe = Recipe("colours", "soft_argmax", data=data)
    return Predictor(Trained(Colours(), localizer, recipe, SKELETON, {}), **options)


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A soft dot of each colour, and where they are."""
    points = np.array([[0.3 * width, 0.4 * height], [0.7 * width, 0.35 * height], [0.5 * width, 0.7 * height]])
    y, x = np.mgrid[:height, :width]
    sigma = 0.05 * min(height, width)
    dots = [255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points]
    return np.stack(dots, axis=-1).astype(np.uint8), points


@pytest.mark.parametrize(("height", "width"), [(64, 64), (90, 150), (40, 23)])
def test_points_come_back_in_image_pixels(height: int, width: int) -> None:
    image, points = picture(height, width)
    (found,) = colours()(image)
    # 8-bit dots of a few pixels: their centroid is right to about a hundredth of their width, which is below an input pixel.
    np.testing.assert_allclose(found.points, points, atol=0.1 * max(height, width) / 32)
    assert found.box == (0.0, 0.0, width - 1.0, height - 1.0)
    assert found.names == ("red", "green", "blue")


def test_boxes_are_looked_at_one_by_one_or_in_batches() -> None:
    image, points = picture(64, 64)
    wide = np.concatenate([image, np.zeros_like(image), image], axis=1)
    boxes = [(0, 0, 63, 63), (128, 0, 191, 63), (10, 5, 60, 58)]
    one = colours(batch_size=1)(wide, boxes)
    all_at_once = colours(batch_size=32)(wide, np.array(boxes))
    assert [found.box for found in one] == boxes
    for a, b in zip(one, all_at_once, strict=True):
        np.testing.assert_allclose(a.points, b.points, atol=1e-4)
        np.testing.assert_allclose(a.covariance, b.covariance, atol=1e-3)
    np.testing.assert_allclose(one[1].points, points + np.array([128, 0]), atol=0.4)


def test_padding_is_the_recipes_where_boxes_are_given() -> None:
    image, points = picture(64, 64)
    box = (10, 12, 57, 53)
    for padding in (1.0, 1.4):
        (found,) = colours(padding=padding)(image, [box])
        np.testing.assert_allclose(found.points, points, atol=0.3)
        # A dot's variance, that of a cell as a uniform density, and that of averaging over a cell.
        cell = 2 * 48 * padding / 32
        expected = (0.05 * 64) ** 2 + 2 * cell**2 / 12
        np.testing.assert_allclose(found.covariance[:, [0, 1], [0, 1]], expected, rtol=0.15)


def test_covariances_are_in_image_pixels() -> None:
    for size in (64, 128):
        (found,) = colours()(picture(size, size)[0])
        expected = (0.05 * size) ** 2 + 2 * (size / 16) ** 2 / 12
        np.testing.assert_allclose(found.covariance[:, [0, 1], [0, 1]], expected, rtol=0.1)
        np.testing.assert_allclose(found.covariance[:, 0, 1], 0, atol=0.02 * expected)


def test_tight_boxes_are_found_by_repeated_looks() -> None:
    image, points = picture(120, 160)
    looks: list[tuple[float, float, float, float]] = []

    class Spied(Predictor):
        def _locate(self, pixels: Any, source: str, boxes: Any, padding: float) -> list[Prediction]:
            looks.append((*boxes[0], padding))  # type: ignore[arg-type]
            return super()._locate(pixels, source, boxes, padding)

    made = colours("P1", padding=1.5)
    (found,) = Spied(made.trained, refinements=2)(image)
    assert [look[-1] for look in looks] == [1.0, 1.5, 1.5]
    tight = [*points.min(axis=0), *points.max(axis=0)]
    np.testing.assert_allclose(found.box, tight, atol=2.0)
    np.testing.assert_allclose(found.points, points, atol=0.5)
    looks.clear()
    Spied(made.trained, refinements=0)(image)
    Spied(colours("image").trained, refinements=2)(image)
    Spied(made.trained, refinements=2)(image, [(0, 0, 100, 100)])
    assert len(looks) == 3


def test_a_trained_network_sees_what_it_saw_in_training(model_path: Path) -> None:
    predictor = Predictor.load(model_path, flip_test=False)
    assert repr(predictor) == "Predictor('synthetic-soft_argmax', input=32, boxes='P1')"
    sample = synthetic_faces(1, split="test").samples[0]
    box = (*sample.points.min(axis=0), *sample.points.max(axis=0))
    (found,) = predictor(np.asarray(sample.image), [box])
    trained = load_weights(model_path)
    example = make_example(sample, size=32, padding=trained.recipe.data.padding)
    with torch.no_grad():
        located = trained.localizer.locate(trained.model(example.image[None]))
    np.testing.assert_allclose(found.points, example.frame.to_image(located.points[0].double().numpy()), atol=1e-3)
    expected = example.frame.covariance_to_image(located.covariance[0].double().numpy())
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-3)
    np.testing.assert_allclose(found.confidence, located.confidence[0].numpy(), rtol=1e-4)


def test_the_flip_test_is_the_recipes_choice(model_path: Path) -> None:
    image = np.asarray(synthetic_faces(1).samples[0].image)
    assert Predictor.load(model_path).flip_test is True
    with_flip, without = Predictor.load(model_path)(image), Predictor.load(model_path, flip_test=False)(image)
    assert not np.allclose(with_flip[0].points, without[0].points)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 8, 2), (1, 2, 3), (0, 0, np.nan, 4)])
def test_boxes_that_are_none(box: Any) -> None:
    with pytest.raises(
        ValueError, match=r"Predictor: boxes must hold boxes \(x1, y1, x2, y2\) with x2 > x1 and y2 > y1"
    ):
        colours()(picture(20, 30)[0], [box])


def test_no_boxes_no_predictions() -> None:
    assert colours()(picture(20, 30)[0], []) == []


def test_a_file_by_name_and_by_path(tmp_path: Path) -> None:
    image, _ = picture(40, 50)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image[..., ::-1])
    by_name, by_path, by_array = (colours()(source)[0] for source in (str(path), path, image))
    assert by_name.source == by_path.source == str(path)
    assert by_array.source == ""
    np.testing.assert_array_equal(by_name.points, by_array.points)
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        colours()(tmp_path / "nothing.png")


def test_forms_of_a_prediction(tmp_path: Path) -> None:
    (found,) = colours()(picture(40, 50)[0])
    plain = found.to_dict()
    assert list(plain) == ["source", "box", "names", "points", "confidence", "covariance"]
    np.testing.assert_array_equal(plain["points"], found.points)
    coco = found.to_coco(image_id=7, category_id=2)
    assert (coco["image_id"], coco["category_id"]) == (7, 2)
    assert coco["bbox"] == [0.0, 0.0, 50.0, 40.0]
    np.testing.assert_array_equal(np.reshape(coco["keypoints"], (3, 3))[:, :2], found.points)
    np.testing.assert_array_equal(np.reshape(coco["keypoints"], (3, 3))[:, 2], found.confidence)
    assert coco["score"] == pytest.approx(found.confidence.mean())


def test_to_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = colours()(picture(40, 50)[0])
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(
        ModuleNotFoundError, match="supervision must be installed, got nothing of that name. pip install"
    ):
        found.to_supervision()


def test_to_supervision_draws_ellipses_with_the_real_package() -> None:
    supervision = pytest.importorskip("supervision", reason="needs the package supervision, in the extra `test`")
    image, _ = picture(40, 50)
    (found,) = colours()(image)
    given = found.to_supervision()
    assert (given.xy.shape, given.keypoint_confidence.shape) == ((1, 3, 2), (1, 3))
    assert given.xy.dtype == np.float32
    np.testing.assert_allclose(given.data["covariance"][0], found.covariance, rtol=1e-6)
    drawn = supervision.VertexEllipseHaloAnnotator().annotate(image.copy(), given)
    assert not np.array_equal(drawn, image)


def test_plot_draws_and_writes_a_whole_file(tmp_path: Path) -> None:
    image, _ = picture(40, 50)
    (found,) = colours()(image)
    drawn = found.plot(tmp_path / "new" / "a.png")
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], drawn)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert not np.array_equal(found.plot(level=0.99), drawn)
    with pytest.raises(ValueError, match=r"path must end in \.png or \.jpg"):
        found.plot(tmp_path / "a.gif")
    with pytest.raises(ValueError, match="plot_all: predictions must hold at least one, got none"):
        plot_all([])
