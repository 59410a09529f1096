"""From a scan to the network's input: the line found in it, flattening, cutting, changes that rows and pixels share."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from heatpoint.datasets import SCANS, synthetic_scans
from heatpoint.datasets.scan import Scan, load_scan
from heatpoint.frames import FloatArray
from heatpoint.scan_frame import FloatImage, ScanFrame
from heatpoint.transforms import ScanAugmentation, ScanExample, flattening_rows, make_scan_example
from heatpoint.transforms.scans import augment_scan_frame, scan_intensity

STILL = ScanAugmentation(
    flip=0, row_shift=0, tilt=0, bend=0, stretch=0, zoom=0, brightness=0, contrast=0, gamma=0, speckle=0, shadow=0
)
NAMES = tuple(field.name for field in fields(ScanAugmentation))
SCAN = synthetic_scans(3, size=(96, 180), seed=1).samples[2]
WIDTH, HEIGHT = 96, 180


def drawn(augmentation: ScanAugmentation, seed: int = 0, **arguments: object) -> ScanExample:
    given: dict[str, object] = {"size": (48, 64), "crop_rows": 128, **arguments}
    rng = np.random.default_rng(seed)
    return make_scan_example(SCAN, augmentation=augmentation, rng=rng, **given)  # type: ignore[arg-type]


def banded(line: FloatArray, *, height: int) -> FloatImage:
    """A dull band of tissue 200 rows thick with a bright one of 14 rows at its lower end, on dark; under it the dull choroid."""
    row = np.arange(height)[:, None]
    image = np.where((row > line - 90) & (row < line + 60), 0.3, 0.02)
    image = np.where((row > line - 14) & (row < line), 0.9, image)
    image = np.where((row > line - 90) & (row < line - 70), 0.9, image)  # Nerve fibres, as bright and thicker.
    return image.astype(np.float32)


def test_the_line_is_the_lower_edge_of_the_bright_band() -> None:
    x = np.arange(301)
    line = 250 + 40 * np.cos(x / 80) + 0.1 * x
    found = flattening_rows(banded(line, height=496))
    assert found.shape == (301,)
    # The coarse columns are 5 columns wide, along which the line climbs 3 rows, and whole rows are found in them.
    assert np.abs(found - line).max() < 4
    assert np.abs(found - line)[20:-20].mean() < 1
    np.testing.assert_array_equal(found, flattening_rows(banded(line, height=496)))


def test_the_line_withstands_speckle_shadows_and_gaps() -> None:
    x = np.arange(301)
    line = 260 + 30 * np.sin(x / 90)
    rng = np.random.default_rng(0)
    image = banded(line, height=496) * np.clip(1 + 0.5 * rng.standard_normal((496, 301)), 0, None)
    image[:, 90:104] *= 0.05  # A vessel's shadow.
    image[330:345, 200:215] = 1.0  # A bright spot far below.
    found = flattening_rows(np.clip(image, 0, 1).astype(np.float32))
    assert np.abs(found - line).max() < 4


def test_the_spacing_says_how_thick_the_band_is() -> None:
    line = np.full(40, 120.0)
    tall = banded(line, height=180)
    spaced = flattening_rows(tall, axial_um=1920 / 496)
    np.testing.assert_allclose(spaced, 119.5, atol=1)
    assert np.abs(flattening_rows(tall) - spaced).max() > 1


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (2, 90), (90, 2)])
def test_scans_without_a_retina_still_have_a_line(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(flattening_rows(np.full(shape, 0.4)), np.full(shape[1], (shape[0] - 1) / 2))
    noise = np.random.default_rng(0).random(shape)
    found = flattening_rows(noise)
    assert found.shape == (shape[1],)
    assert np.isfinite(found).all()


def test_flattened_surfaces_lie_about_the_share_of_the_cut() -> None:
    example = make_scan_example(SCAN, size=(WIDTH, 128), crop_rows=128)
    line = flattening_rows(load_scan(SCAN), axial_um=SCAN.axial_um)
    above = SCAN.rows[-1] - line  # Of the lowest surface against the line.
    expected = 0.85 * 128 - 0.5 + above
    np.testing.assert_allclose(example.rows[-1].numpy(), expected, atol=1e-4)
    assert example.visible.all()
    assert example.frame.rows_per_input_row == 1
    assert example.rows[-1].std() < 0.5 * SCAN.rows[-1].std()


def test_all_rows_and_the_scan_as_it_is() -> None:
    plain = make_scan_example(SCAN, size=(WIDTH, HEIGHT), flatten=False)
    np.testing.assert_allclose(plain.image[0].numpy(), load_scan(SCAN), atol=1e-6)
    np.testing.assert_allclose(plain.rows.numpy(), SCAN.rows, atol=1e-4)
    whole = make_scan_example(SCAN, size=(WIDTH, HEIGHT))
    assert whole.frame.rows == HEIGHT
    line = flattening_rows(load_scan(SCAN), axial_um=SCAN.axial_um)
    np.testing.assert_allclose(whole.frame.top, line - line.mean(), atol=1e-9)
    np.testing.assert_allclose(whole.rows.numpy(), SCAN.rows - (line - line.mean()), atol=1e-4)


def test_shapes_types_and_sizes_of_the_papers() -> None:
    for size in ((128, 1024), (1024, 128)):
        example = make_scan_example(SCAN, size=size, crop_rows=128)
        assert example.image.shape == (1, size[1], size[0])
        assert example.image.dtype == example.rows.dtype == torch.float32
        assert example.visible.dtype == torch.bool
        assert example.rows.shape == example.visible.shape == (4, size[0])
        back = example.frame.rows_to_scan(example.rows.double().numpy())
        # Between input columns, and between scan columns, rows are linear: the surfaces are smooth.
        assert np.abs(back - SCAN.rows)[:, 2:-2].max() < 0.6


def test_a_line_found_before_is_taken() -> None:
    line = np.full(WIDTH, 100.0)
    example = make_scan_example(SCAN, size=(WIDTH, 64), crop_rows=64, reference=line)
    np.testing.assert_allclose(example.frame.top, 100.5 - 0.85 * 64)
    found = make_scan_example(SCAN, size=(WIDTH, 64), crop_rows=64)
    assert np.abs(found.frame.top - example.frame.top).max() > 1


def test_missing_columns_stay_missing() -> None:
    visible = np.ones_like(SCAN.visible)
    visible[1, 40:60] = False
    scan = replace(SCAN, visible=visible, rows=np.where(visible, SCAN.rows, 0.0))
    example = make_scan_example(scan, size=(48, 64), crop_rows=128)
    expected = np.ones(48, dtype=bool)
    expected[20:30] = False
    np.testing.assert_array_equal(example.visible[1].numpy(), expected)
    assert (example.rows[1, 20:30] == 0).all()
    assert example.visible[0].all()


def test_one_frame_holds_all_changes_and_takes_everything_back() -> None:
    augmentation = ScanAugmentation(flip=1, row_shift=0.1, tilt=0.1, bend=0.1, stretch=0.2, zoom=0.5)
    for seed in range(8):
        example = drawn(augmentation, seed, size=(2 * WIDTH, 256))
        assert example.frame.column_scale < 0
        back = example.frame.rows_to_scan(np.where(example.visible, example.rows, np.nan).astype(np.float64))
        kept = np.isfinite(back) & example.frame.shown
        assert kept.mean() > 0.4
        np.testing.assert_allclose(back[kept], SCAN.rows[kept], atol=0.35)


@pytest.mark.parametrize("name", NAMES)
def test_every_range_matters_alone(name: str) -> None:
    changed = drawn(replace(STILL, **{name: 1.0 if name in ("flip", "shadow") else 0.3}))
    still = drawn(STILL)
    assert not torch.equal(changed.image, still.image)
    moves = name in ("flip", "row_shift", "tilt", "bend", "stretch", "zoom")
    assert torch.equal(changed.rows, still.rows) != moves
    assert float(changed.image.min()) >= 0
    assert float(changed.image.max()) <= 1


def test_switching_one_change_off_leaves_the_others() -> None:
    every = ScanAugmentation(flip=1, shadow=0)
    without = replace(every, tilt=0.0)
    frames = [
        augment_scan_frame(ScanFrame.whole((WIDTH, HEIGHT), (48, 64)), a, np.random.default_rng(5))
        for a in (every, without)
    ]
    assert frames[0].column_offset == frames[1].column_offset
    assert frames[0].rows == frames[1].rows
    slope = np.diff(frames[0].top - frames[1].top)
    np.testing.assert_allclose(slope, slope[0], atol=1e-12)
    assert abs(slope[0]) > 0


def test_ranges_are_kept() -> None:
    augmentation = ScanAugmentation(flip=0, row_shift=0.1, tilt=0, bend=0, stretch=0, zoom=0.5)
    whole = ScanFrame.whole((WIDTH, HEIGHT), (48, 60))
    rng = np.random.default_rng(0)
    shifts, zooms, inside = [], [], True
    for _ in range(200):
        frame = augment_scan_frame(whole, augmentation, rng)
        shifts.append(frame.top[0] / HEIGHT)
        zooms.append(frame.column_scale / whole.column_scale)
        inside &= bool(frame.shown.sum() >= WIDTH / 1.5 - 2)
        # The input never reaches beyond the scan: its outermost columns stand for columns that there are.
        ends = (np.array([-0.5, 47.5]) - frame.column_offset) / frame.column_scale
        inside &= ends[0] >= -0.5 - 1e-9 and ends[1] <= WIDTH - 0.5 + 1e-9
    assert inside
    assert 0.09 < max(shifts) <= 0.1
    assert -0.1 <= min(shifts) < -0.09
    assert 1 <= min(zooms) < 1.02
    assert 1.48 < max(zooms) <= 1.5


def test_intensity_follows_its_definitions() -> None:
    image = np.random.default_rng(1).random((40, 30), dtype=np.float32) * 0.6 + 0.2
    rng = np.random.default_rng(7)
    brightness, contrast, gamma = np.random.default_rng(7).uniform(-1, 1, 3)
    found = scan_intensity(image, replace(STILL, brightness=0.1, contrast=0.3, gamma=0.4), rng)
    factor = 1 + 0.3 * contrast
    expected = np.clip(factor * (image - image.mean()) + image.mean() + 0.1 * brightness, 0, 1) ** np.exp(0.4 * gamma)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(scan_intensity(image, STILL, np.random.default_rng(7)), image)
    shaded = scan_intensity(image, replace(STILL, shadow=1), np.random.default_rng(7)) / image
    assert 0.15 < shaded.min() < 0.85
    np.testing.assert_allclose(shaded.std(axis=0), 0, atol=1e-5)


def test_the_same_seed_gives_the_same_example() -> None:
    first, again, other = (drawn(ScanAugmentation(), seed) for seed in (3, 3, 4))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.rows, again.rows)
    assert not torch.equal(first.image, other.image)


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), np.round(load_scan(SCAN) * 255).astype(np.uint8))
    example = make_scan_example(replace(SCAN, image=path), size=(48, 64), crop_rows=128)
    same = make_scan_example(SCAN, size=(48, 64), crop_rows=128, reference=_line(example))
    assert (example.image - same.image).abs().max() < 1 / 255
    with pytest.raises(FileNotFoundError, match="load_scan: image must be an existing file"):
        make_scan_example(replace(SCAN, image=tmp_path / "none.png"), size=(48, 64))
    narrow = replace(SCAN, rows=SCAN.rows[:, :40], visible=SCAN.visible[:, :40], image=path)
    text = f"make_scan_example: the image of {SCAN.key} must have the 40 columns that its rows are given in, got 96"
    with pytest.raises(ValueError, match=re.escape(text)):
        make_scan_example(narrow, size=(48, 64))


def _line(example: ScanExample) -> FloatArray:
    return example.frame.top - 0.5 + 0.85 * example.frame.rows


def test_errors() -> None:
    for name in NAMES:
        for bad in (-0.1, 1.1):
            with pytest.raises(ValueError, match=f"ScanAugmentation: {name} must be from 0 to 1, got {bad}"):
                ScanAugmentation(**{name: bad})
    with pytest.raises(ValueError, match="ScanAugmentation: stretch must be below 1, got 1"):
        ScanAugmentation(stretch=1)
    for crop_rows, flatten in ((-1, True), (64, False)):
        with pytest.raises(ValueError, match=f"make_scan_example: crop_rows must be at least 0, .* got {crop_rows}"):
            make_scan_example(SCAN, size=(48, 64), flatten=flatten, crop_rows=crop_rows)
    with pytest.raises(
        ValueError, match="make_scan_example: rng must be given with an augmentation, got None. Give a numpy"
    ):
        make_scan_example(SCAN, size=(48, 64), augmentation=STILL)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="flattening_rows: image must be finite, got NaN or infinity"):
            flattening_rows(np.where(np.eye(40, 9) > 0, value, 0.5))
    with pytest.raises(
        ValueError, match=r"flattening_rows: image must be \(H, W\) with at least one pixel, got \(4, 5, 3\)"
    ):
        flattening_rows(np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="flattening_rows: axial_um must be greater than 0, got 0"):
        flattening_rows(np.zeros((4, 5)), axial_um=0)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_line_of_real_scans(data_root: Path, split: str) -> None:
    """What the docstring says of irdlayers, on some scans of each split; all of them are in the slow test below."""
    folder = data_root / "oct" / "irdlayers"
    if not folder.exists():
        pytest.skip("irdlayers is absent: put it into HEATPOINT_DATA/oct/irdlayers")
    check_lines(list(SCANS["irdlayers"](data_root, split).samples[::9]))


@pytest.mark.slow
def test_the_line_of_all_real_scans(data_root: Path) -> None:
    folder = data_root / "oct" / "irdlayers"
    if not folder.exists():
        pytest.skip("irdlayers is absent: put it into HEATPOINT_DATA/oct/irdlayers")
    differences = check_lines(
        [scan for split in ("train", "test") for scan in SCANS["irdlayers"](data_root, split).samples]
    )
    assert np.median(differences) == pytest.approx(-2.7, abs=0.1)
    assert differences.std() == pytest.approx(3.2, abs=0.1)


def check_lines(scans: list[Scan]) -> FloatArray:
    """Differences of the lowest boundary from the line; every visible boundary lies in the cut of 128 rows."""
    differences = []
    for scan in scans:
        line = flattening_rows(load_scan(scan), axial_um=scan.axial_um)
        away = (scan.rows - line)[scan.visible]
        assert away.min() > -0.85 * 128, scan.key
        assert away.max() < 0.15 * 128, scan.key
        differences.append((scan.rows - line)[-1][scan.visible[-1]])
    found = np.concatenate(differences)
    assert np.abs(found + 2.7).max() < 12
    return found
