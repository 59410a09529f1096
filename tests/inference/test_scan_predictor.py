"""From a scan to its surfaces: rows and bands in its own pixels, thickness in micrometres, pictures and plain values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.datasets import VolSlice
from heatpoint.datasets.scan import Scan
from heatpoint.inference.scans import ScanPrediction, ScanPredictor
from heatpoint.localizers import make_localizer
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid
from heatpoint.training.weights import Trained, make_header, save_weights
from spectralis import write_vol

SKELETON = Skeleton(("top", "middle", "bottom"))
HEIGHT, WIDTH = 60, 34


class Levels(nn.Module):
    """A map for each of three grey levels, by how near a pixel comes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor([0.3, 0.6, 0.9]))

    def forward(self, images: Tensor) -> Tensor:
        return -900 * (images - self.levels[:, None, None]).square().transpose(-1, -2)


def surfaces() -> np.ndarray:
    x = np.arange(WIDTH)
    return np.stack([np.round(14 + 3 * np.sin(x / 6)), np.full(WIDTH, 27.0), np.round(40 + x / 9)])


def picture() -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    for level, rows in zip((0.3, 0.6, 0.9), surfaces(), strict=True):
        image[rows.astype(int), np.arange(WIDTH)] = level
    return image


def recipe(**changes: Any) -> Recipe:
    plain = {"data.input": (WIDTH, HEIGHT), "data.crop_rows": 0, "data.flatten": False, "data.flip_test": False}
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return changed(get_recipe("oct-irdlayers-soft_argmax"), plain | given)


def predictor(size: tuple[int, int] = (WIDTH, HEIGHT), **changes: Any) -> ScanPredictor:
    made = recipe(data__input=size, **changes)
    return ScanPredictor(Trained(Levels(), make_localizer("soft_argmax", Grid((size[1],))), made, SKELETON, {}))


def test_surfaces_come_back_in_rows_of_the_scan() -> None:
    found = predictor()(picture())
    np.testing.assert_allclose(found.rows, surfaces(), atol=1e-3)
    assert found.shown.all()
    # A single cell under its uniform density: a band of 90 % of a row.
    np.testing.assert_allclose(found.high - found.low, 0.9, atol=1e-3)
    np.testing.assert_allclose(found.std_px, np.sqrt(1 / 12), atol=1e-3)
    assert found.bands.shape == (3, 2, WIDTH)
    np.testing.assert_allclose(found.bands[:, 0], found.low)


def test_a_shrunk_input_is_undone() -> None:
    found = predictor()(np.repeat(picture(), 3, axis=0))
    np.testing.assert_allclose(found.rows, 3 * surfaces() + 1, atol=3e-3)
    np.testing.assert_allclose(found.std_px, np.sqrt(9 / 12), atol=3e-3)
    np.testing.assert_allclose(found.high - found.low, 2.7, atol=3e-3)


def test_a_flip_test_and_flattening_change_nothing_that_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    from heatpoint.transforms import scans

    monkeypatch.setattr(scans, "flattening_rows", lambda image, **_: 30.0 + 2 * (np.arange(image.shape[1]) // 17))
    looked = ScanPredictor(predictor(data__flatten=True).trained, flip_test=True)
    np.testing.assert_allclose(looked(picture()).rows, surfaces(), atol=1e-3)
    assert looked.describe()["flip_test"] is True
    assert looked.describe()["flatten"] is True


def test_order_is_kept_where_the_recipe_says_so() -> None:
    image = picture()[::-1].copy()
    free = predictor()(image)
    assert (np.diff(free.rows, axis=0) < 0).all()
    kept = predictor(model__ordering="cumulative")(image)
    assert (np.diff(kept.rows, axis=0) >= 0).all()


def test_sources_and_spacings(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), np.round(255 * picture()).astype(np.uint8))
    from_file = predictor()(path)
    assert from_file.source == str(path)
    assert from_file.unit == "px"
    np.testing.assert_allclose(from_file.rows, surfaces(), atol=0.05)
    np.testing.assert_allclose(predictor()(str(path)).rows, from_file.rows)
    hidden = np.zeros((3, WIDTH))
    scan = Scan(picture(), hidden, hidden > 0, "eye 1", axial_um=3.9, lateral_um=12.0)
    of_scan = predictor()(scan)
    assert (of_scan.source, of_scan.axial_um, of_scan.lateral_um, of_scan.unit) == ("eye 1", 3.9, 12.0, "µm")
    np.testing.assert_allclose(of_scan.layer_thickness(), 3.9 * np.diff(surfaces(), axis=0), atol=0.01)
    assert of_scan.layers == ("top to middle", "middle to bottom")
    assert predictor()(scan, axial_um=2.0).axial_um == 2.0
    assert predictor(data__axial_um=5.0)(picture()).axial_um == 5.0
    np.testing.assert_allclose(from_file.layer_thickness(), np.diff(from_file.rows, axis=0))
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"ScanPredictor: axial_um must be greater than 0, got {wrong}"):
            predictor()(picture(), axial_um=wrong)


def test_a_slice_of_a_volume_brings_its_spacings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heatpoint.transforms import scans

    path = write_vol(tmp_path / "eye.vol", picture()[None] ** 4, scale_mm=(0.0057, 0.12, 0.0041))
    found = predictor()(VolSlice(path, 0))
    np.testing.assert_allclose(found.rows, surfaces(), atol=1e-2)
    assert (found.axial_um, found.lateral_um) == pytest.approx((4.1, 5.7))
    assert (found.unit, found.source) == ("µm", f"{path} B-scan 0")
    assert predictor()(VolSlice(path, 0), axial_um=2.0).axial_um == 2.0
    spacings = []
    line = np.full(WIDTH, 30.0)
    monkeypatch.setattr(scans, "flattening_rows", lambda image, *, axial_um: spacings.append(axial_um) or line)
    flattened = predictor(data__flatten=True, data__axial_um=5.0)
    for source in (VolSlice(path, 0), picture()):
        flattened(source, axial_um=2.0)
    assert spacings == pytest.approx([4.1, 5.0])


def test_a_prediction_is_plain_json_and_two_pictures(tmp_path: Path) -> None:
    found = predictor()(picture())
    values = json.loads(json.dumps(found.to_dict()))
    assert values["names"] == ["top", "middle", "bottom"]
    np.testing.assert_allclose(values["rows"], found.rows)
    np.testing.assert_allclose(values["low"], found.low)
    assert values["level"] == 0.9
    assert values["axial_um"] is None
    for path in (found.plot(tmp_path / "scan.png", truth=surfaces()), found.thickness(tmp_path / "thickness.png")):
        drawn = cv2.imread(str(path))
        assert drawn is not None
        assert drawn.std() > 10
    alone = replace(found, rows=found.rows[:1])
    with pytest.raises(ValueError, match="thickness: rows must hold at least 2 surfaces, got 1"):
        alone.thickness(tmp_path / "none.png")


def test_weights_are_loaded_from_their_file(tmp_path: Path) -> None:
    from heatpoint.training.weights import build_model

    made = recipe(data__input=(32, 40))
    model, grid = build_model(made, 3)
    localizer = make_localizer("soft_argmax", grid)
    save_weights(tmp_path / "m.safetensors", model.state_dict(), make_header(made, SKELETON, localizer, grid))
    loaded = ScanPredictor.load(tmp_path / "m.safetensors", flip_test=False)
    assert repr(loaded) == "ScanPredictor('oct-irdlayers-soft_argmax', input=(32, 40), flatten=False)"
    found = loaded(picture())
    assert isinstance(found, ScanPrediction)
    assert found.rows.shape == (3, WIDTH)
    assert found.names == SKELETON.names


def test_other_kinds_of_weights_and_broken_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = predictor().trained
    faces = replace(trained, recipe=get_recipe("synthetic-soft_argmax"))
    with pytest.raises(
        ValueError, match="ScanPredictor: trained must locate surfaces in scans, got synthetic-soft_arg"
    ):
        ScanPredictor(faces)
    monkeypatch.delenv("HEATPOINT_CHECK")  # Its checks would speak first.
    torch.nn.init.constant_(trained.model.levels, torch.nan)
    with pytest.raises(ValueError, match="ScanPredictor: the weights must give finite rows, got NaN or infinity"):
        ScanPredictor(trained)(picture())
