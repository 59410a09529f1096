"""NR206: surfaces between the colours of a label image."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_scan, read_nr206
from heatpoint.datasets.nr206 import (
    GET,
    LAYERS,
    REMEDY,
    SURFACES,
    layers_of_colors,
    open_nr206,
    surfaces_of_layers,
)

HEIGHT, WIDTH = 23, 9
COLORS = np.array([0, *LAYERS.values()])


def layers(*, thickness: int = 2) -> np.ndarray:
    """Eight layers of equal thickness from row 3 on, black above and below."""
    column = np.concatenate([np.zeros(3, int), np.repeat(np.arange(1, 9), thickness), np.zeros(HEIGHT, int)])[:HEIGHT]
    return np.repeat(column[:, None], WIDTH, axis=1)


def painted(numbers: np.ndarray) -> np.ndarray:
    """(H, W, 4) in the order that OpenCV writes: blue, green, red, opaque."""
    codes = COLORS[numbers]
    return np.stack([codes & 255, codes >> 8 & 255, codes >> 16, np.full_like(codes, 255)], axis=-1).astype(np.uint8)


def write(root: Path, split: str, name: str, numbers: np.ndarray) -> tuple[Path, Path]:
    paths = root / split / f"{name}.png", root / f"{split}_labels" / f"{name}.png"
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(paths[0]), np.full((HEIGHT, WIDTH), 51, np.uint8))
    cv2.imwrite(str(paths[1]), painted(numbers))
    return paths


def loop_rows(column: np.ndarray) -> list[float] | None:
    """The nine surfaces of a column by walking down it; None where labels are not in order."""
    inside = [row for row, label in enumerate(column) if label]
    if not inside or inside != list(range(inside[0], inside[-1] + 1)):
        return None
    if any(column[a] > column[b] for a, b in itertools.pairwise(inside)):
        return None
    surfaces = []
    for layer in range(9):
        later = [row for row in inside if column[row] > layer]
        surfaces.append((later[0] if later else inside[-1] + 1) - 0.5)
    return surfaces


def test_surfaces_lie_between_the_colours(tmp_path: Path) -> None:
    image, _ = write(tmp_path, "val", "NORMAL7", layers())
    found = read_nr206(tmp_path, "val")
    (scan,) = found.samples
    assert (scan.key, scan.group, scan.axial_um, scan.lateral_um) == ("val/NORMAL7", "", None, None)
    assert (found.name, found.split, found.skeleton) == ("nr206", "val", SURFACES)
    assert scan.image == image
    assert (load_scan(scan) == np.float32(0.2)).all()
    assert scan.visible.all()
    np.testing.assert_array_equal(scan.rows, np.repeat(2.5 + 2 * np.arange(9)[:, None], WIDTH, axis=1))
    assert found.protocol["columns left out"] == 0


def test_rows_are_those_of_a_walk_down_each_column() -> None:
    generator = np.random.default_rng(8)
    numbers = np.zeros((HEIGHT, 40), dtype=int)
    for column in range(38):
        tissue = np.sort(generator.integers(1, 9, generator.integers(1, 15)))
        top = int(generator.integers(0, HEIGHT - len(tissue) + 1))
        if column % 5 == 4:
            generator.shuffle(tissue)
        numbers[top : top + len(tissue), column] = tissue
    numbers[4:7, 38], numbers[9, 38] = 1, 8  # Something else between; column 39 is empty.
    rows, visible = surfaces_of_layers(numbers)
    expected = [loop_rows(column) for column in numbers.T]
    assert [row is not None for row in expected] == visible[0].tolist()
    assert (visible == visible[0]).all()
    assert 3 < (~visible[0]).sum() < 12
    for column, wanted in enumerate(expected):
        np.testing.assert_array_equal(rows[:, column], wanted if wanted is not None else np.zeros(9))


def test_a_missing_layer_has_no_thickness() -> None:
    numbers = layers()
    numbers[numbers == 3] = 2
    rows, visible = surfaces_of_layers(numbers)
    assert visible.all()
    assert rows[:, 0].tolist() == [2.5, 4.5, 8.5, 8.5, 10.5, 12.5, 14.5, 16.5, 18.5]


def test_columns_with_broken_labels_are_counted_and_named(tmp_path: Path) -> None:
    numbers = layers()
    numbers[5, 2] = 0  # A hole.
    numbers[8, 4] = 1  # The first layer below the second.
    numbers[:, 6] = 0  # Nothing.
    _, label = write(tmp_path, "train", "NORMAL1", numbers)
    found = read_nr206(tmp_path, "train")
    (scan,) = found.samples
    assert np.flatnonzero(~scan.visible[0]).tolist() == [2, 4, 6]
    assert (scan.rows[~scan.visible] == 0).all()
    assert found.protocol["columns left out"] == 3
    problems: list[str] = []
    assert len(read_nr206(tmp_path, "train", problems=problems)) == 1
    assert problems == [f"{label} has no layers in order in 3 columns (the first is column 2); they are not used"]


def test_broken_files_come_in_one_report(tmp_path: Path) -> None:
    paths = {name: write(tmp_path, "test", name, layers()) for name in ("a", "b", "c", "d", "e")}
    paths["a"][0].unlink()
    paths["b"][1].unlink()
    cv2.imwrite(str(paths["c"][1]), painted(layers())[:, 1:])
    strange = painted(layers())
    strange[4, 3:5, :3] = (16, 32, 48)
    cv2.imwrite(str(paths["d"][1]), strange)
    paths["e"][1].write_bytes(paths["e"][1].read_bytes()[:60])
    write(tmp_path, "test", "good", layers())
    text = [
        f"{paths['a'][0]} is missing",
        f"{paths['b'][1]} is missing",
        f"{paths['c'][1]} must be as large as its scan (9 x 23), got 8 x 23",
        f"{paths['d'][1]} has 2 pixels in none of the nine colours of the labels (the first: #302010 in row 4, column 3)",
        f"load_image: image must be a complete file, got {paths['e'][1]}, which is truncated",
    ]
    with pytest.raises(ValueError) as caught:
        read_nr206(tmp_path, "test")
    assert str(caught.value) == f"nr206: {'; '.join(text)}. {REMEDY}"
    problems: list[str] = []
    assert [scan.key for scan in read_nr206(tmp_path, "test", problems=problems).samples] == ["test/good"]
    assert problems == text


def test_colours_are_exact() -> None:
    pixels = painted(np.arange(9)[None])[..., 2::-1]
    assert layers_of_colors(pixels).tolist() == [list(range(9))]
    pixels = pixels.copy()
    pixels[0, 5, 1] -= 1
    with pytest.raises(ValueError, match=r"has 1 pixels in none of the nine colours .*#00fe00 in row 0, column 5"):
        layers_of_colors(pixels)


def test_missing_folders_and_unknown_splits(tmp_path: Path) -> None:
    (tmp_path / "oct").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        open_nr206(tmp_path, "test")
    folder = tmp_path / "oct" / "nr206"
    remedy = f"Set HEATPOINT_DATA or --data-root to the folder that holds nr206/. {GET}"
    assert str(caught.value) == f"nr206: data root must hold the folder {folder}, got no such folder. {remedy}"
    for name in ("val", "val_labels"):
        (folder / name).mkdir(parents=True)
    with pytest.raises(ValueError) as empty:
        open_nr206(tmp_path, "val")
    assert str(empty.value) == f"nr206: {folder / 'val'} holds no .png files. {REMEDY}"
    with pytest.raises(ValueError, match="nr206: split must be one of test, train, val, got 'vall'. Did you mean val"):
        read_nr206(tmp_path, "vall")


def test_the_example_is_read_where_the_whole_set_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "oct" / "nr206_sample", "test", "example", layers())
    assert open_nr206(tmp_path, "test").samples[0].key == "test/example"
    write(tmp_path / "oct" / "nr206", "test", "whole", layers())
    assert open_nr206(tmp_path, "test").samples[0].key == "test/whole"


def test_real_scans(data_root: Path) -> None:
    """The authors' example: six scans whose bright bands lie where the surfaces say, above the device's icon."""
    root = data_root / "oct" / "nr206_sample"
    if not root.is_dir():
        pytest.skip("the sample scans are absent")
    sets = {split: read_nr206(root, split) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in sets.items()} == {"train": 2, "val": 2, "test": 2}
    assert [found.protocol["columns left out"] for found in sets.values()] == [4, 0, 0]
    first = sets["train"].samples[0]
    assert np.flatnonzero(~first.visible[0]).tolist() == [1, 7, 444, 452]
    for scan in (scan for found in sets.values() for scan in found.samples):
        pixels = load_scan(scan)
        assert pixels.shape == (500, 750)
        seen = scan.visible[0]
        rows = scan.rows[:, seen]
        assert np.diff(rows, axis=0).min() >= 0
        assert rows.max() < 300  # The icon begins in row 380.
        assert pixels[380:490, 20:125].max() > 0.9
        # Mean grey just above and below: dark to bright at the ILM and at the ellipsoid zone, bright to dark at the choroid.
        columns = np.flatnonzero(seen)
        for name, sign in (("ILM", 1), ("IS-OS", 1), ("RPE-choroid", -1)):
            below = np.ceil(rows[SURFACES.names.index(name)]).astype(int)
            step = pixels[below + 1, columns].mean() - pixels[below - 2, columns].mean()
            assert sign * step > 0.1, name
