"""irdlayers: real scans, boundaries and the U-Net's masks; and every fault that files may have."""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.datasets import SCANS, load_scan, read_irdlayers, unet_rows
from heatpoint.datasets.irdlayers import GET, REMEDY, SURFACES, mask_rows, open_irdlayers
from pages import ROOT

HEIGHT, WIDTH = 20, 6
NAMES = ("healthy_valid3", "ird_valid60", "ird_valid7")


def write(root: Path, split: str = "train", names: tuple[str, ...] = NAMES, **changes: Any) -> Path:
    """A small set in the form of the real one; `changes` replace entries of the boundaries, None leaves one out."""
    (root / split).mkdir(parents=True)
    arrays: dict[str, Any] = {}
    for index, name in enumerate(names):
        arrays[name] = np.repeat(np.array([[3], [6], [9], [14]], dtype=np.int16) + index, WIDTH, axis=1)
        for ending in ("", "_unet"):
            picture = np.full((HEIGHT, WIDTH), index, np.uint8)
            cv2.imwrite(str(root / split / f"{name}{ending}.png"), picture)
    arrays = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(root / f"{split}_boundaries.npz", **arrays)
    lines = [f"{split},{name}" for name in names] + ["other,healthy_x1"]
    (root / "index.csv").write_text("split,name\n" + "\n".join(lines) + "\n")
    return root


def test_rows_lie_half_a_row_above_the_first_row_below(tmp_path: Path) -> None:
    boundaries = np.array([[4, -1, 0, 5, 5, 5], [5, -1, 0, 5, 5, -1], [6, -1, 7, 5, 9, 9], [9, -1, 20, 5, 9, 9]])
    root = write(tmp_path, ird_valid7=boundaries.astype(np.int16))
    found = read_irdlayers(root, "train")
    assert [s.key for s in found.samples] == ["healthy_valid3", "ird_valid7", "ird_valid60"]
    assert found.skeleton.names == SURFACES == ("ILM", "OPL/HFL-ONL", "ONL-BMEIS", "RPE-choroid")
    scan = found.samples[1]
    assert np.array_equal(scan.visible, boundaries >= 0)
    assert np.array_equal(scan.rows, np.where(boundaries >= 0, boundaries - 0.5, 0))
    assert scan.image == root / "train" / "ird_valid7.png"
    assert [s.tags for s in found.samples] == [{"healthy"}, {"ird"}, {"ird"}]
    # Volumes of 49 scans follow each other.
    assert [s.group for s in found.samples] == ["healthy_valid/volume0", "ird_valid/volume0", "ird_valid/volume1"]
    assert found.protocol["left out"] == "2 columns (-1 in the file)"
    assert found.protocol["scans"] == 3


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"ird_valid7": np.zeros((3, WIDTH), np.int16)},
            "ird_valid7 must be whole numbers, 4 boundaries x 6 columns of ird_valid7.png, got int16 (3, 6)",
        ),
        (
            {"ird_valid7": np.zeros((4, WIDTH + 1), np.int16)},
            "ird_valid7 must be whole numbers, 4 boundaries x 6 columns of ird_valid7.png, got int16 (4, 7)",
        ),
        (
            {"ird_valid7": np.full((4, WIDTH), np.nan)},
            "ird_valid7 must be whole numbers, 4 boundaries x 6 columns of ird_valid7.png, got float64 (4, 6)",
        ),
        (
            {"ird_valid7": np.full((4, WIDTH), -2)},
            "ird_valid7 must hold rows from 0, or -1 for a column left out, got -2",
        ),
        (
            {"ird_valid7": np.full((4, WIDTH), 21)},
            "ird_valid7 surface 'ILM' leaves the scan of 20 rows in 6 columns (row 20.5 in column 0)",
        ),
        (
            {"ird_valid7": np.array([[4] * 6, [5] * 6, [7, 4, 4, 7, 7, 7], [9] * 6])},
            "ird_valid7 surface 'ONL-BMEIS' lies above 'OPL/HFL-ONL' in 2 of 6 columns (the first is column 1)",
        ),
        ({"ird_valid7": None}, "has no entry ird_valid7, which index.csv lists"),
        ({"ird_valid8": np.zeros((4, WIDTH), np.int16)}, "ird_valid8 is not in index.csv"),
    ],
)
def test_faults_of_boundaries(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    root = write(tmp_path, **changes)
    text = f"{root / 'train_boundaries.npz'} {fault}"
    if fault.startswith("ird_valid7 surface 'ILM'"):
        text += "; "
    with pytest.raises(ValueError) as caught:
        read_irdlayers(root, "train")
    assert str(caught.value).startswith(f"irdlayers: {text}")
    assert str(caught.value).endswith(f". {REMEDY}")
    assert "\n" not in str(caught.value)
    problems: list[str] = []
    kept = read_irdlayers(root, "train", problems=problems)
    assert problems[0] == text.removesuffix("; ")
    assert {s.key for s in kept.samples} == set(NAMES) - ({"ird_valid7"} if "ird_valid7" in changes else set())


def test_faults_of_scans_and_names(tmp_path: Path) -> None:
    root = write(tmp_path, names=(*NAMES, "other4"))
    (root / "train" / "ird_valid7.png").unlink()
    (root / "train" / "ird_valid60.png").write_bytes(b"no image")
    problems: list[str] = []
    assert [s.key for s in read_irdlayers(root, "train", problems=problems).samples] == ["healthy_valid3"]
    file = root / "train_boundaries.npz"
    assert [text.split(": ")[0] for text in problems] == [
        f"{file} ird_valid7 has no scan",
        f"{file} ird_valid60 has no scan",
        f"{file} other4 must be named healthy_… or ird_… and a number",
    ]
    assert "must be an existing file" in problems[0]
    assert "must be a readable image" in problems[1]


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="irdlayers: split must be one of test, train, got 'valid'"):
        read_irdlayers(tmp_path, "valid")
    with pytest.raises(FileNotFoundError) as folder:
        read_irdlayers(tmp_path / "none", "train")
    assert str(folder.value).endswith(GET)
    root = write(tmp_path / "set")
    file, index = root / "train_boundaries.npz", root / "index.csv"
    stored = file.read_bytes()
    for content in (stored[:-30], b"", b"no archive at all"):
        file.write_bytes(content)
        with pytest.raises(ValueError) as broken:
            read_irdlayers(root, "train")
        assert str(broken.value).startswith(f"irdlayers: {file} must be an .npz file of plain arrays, got ")
    np.savez(file, healthy_valid3=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"must be an \.npz file of plain arrays, got Object arrays cannot be loaded"):
        read_irdlayers(root, "train")
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(ValueError, match=r"must be an \.npz file of plain arrays, got a single array \(\.npy\)"):
        read_irdlayers(root, "train")
    file.write_bytes(stored)
    listed = index.read_text()
    index.write_text(listed, encoding="utf-8-sig")
    assert len(read_irdlayers(root, "train")) == len(NAMES)
    index.write_text(listed + "train\ntrain,zz\n")
    with pytest.raises(ValueError) as short:
        read_irdlayers(root, "train")
    rule = "which index.csv lists"
    assert str(short.value) == f"irdlayers: {file} has no entry '', {rule}; {file} has no entry zz, {rule}. {REMEDY}"
    index.write_bytes(listed.encode() + b"train,caf\xe9\n")
    with pytest.raises(ValueError, match="has no entry caf�, which index.csv lists"):
        read_irdlayers(root, "train")
    index.write_text("name\nird_valid7\n")
    with pytest.raises(ValueError) as columns:
        read_irdlayers(root, "train")
    assert str(columns.value) == f"irdlayers: {index} must have the columns split and name, got others. {REMEDY}"
    index.unlink()
    with pytest.raises(FileNotFoundError) as missing:
        read_irdlayers(root, "train")
    assert str(missing.value).startswith(f"irdlayers: data root must hold {index}, got no such file or folder.")
    problems: list[str] = []
    assert len(read_irdlayers(root, "train", problems=problems)) == 0
    assert problems == [f"{index} is missing"]


def naive_rows(column: list[int]) -> tuple[list[float], list[bool]]:
    """The boundaries of one column of a mask, by searching it row by row."""
    first = {layer: next((row for row, got in enumerate(column) if got == layer), None) for layer in (1, 2, 3)}
    last = max((row for row, got in enumerate(column) if got == 3), default=None)
    second = first[2] if first[2] is not None else first[3]
    found = [first[1], second, first[3], None if last is None else last + 1]
    return [0.0 if row is None else row - 0.5 for row in found], [row is not None for row in found]


def test_masks_are_read_as_the_boundaries_were_made() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        mask = rng.choice(4, (7, 50), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8)
        rows, visible = mask_rows(mask)
        for column in range(mask.shape[1]):
            wanted = naive_rows(mask[:, column].tolist())
            assert (rows[:, column].tolist(), visible[:, column].tolist()) == wanted


def test_only_the_largest_piece_counts_if_asked() -> None:
    mask = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [2, 3, 2], [3, 3, 3], [0, 0, 0], [0, 0, 3]], dtype=np.uint8)
    assert mask_rows(mask)[0].tolist() == [[-0.5, 1.5, 1.5], [2.5, 2.5, 2.5], [3.5, 2.5, 3.5], [4.5, 4.5, 6.5]]
    largest = mask_rows(mask, largest_piece=True)[0]
    assert largest.tolist() == [[1.5, 1.5, 1.5], [2.5, 2.5, 2.5], [3.5, 2.5, 3.5], [4.5, 4.5, 4.5]]
    rows, visible = mask_rows(np.zeros((5, 3), np.uint8), largest_piece=True)
    assert not visible.any()
    assert not rows.any()


def test_faults_of_the_masks(tmp_path: Path) -> None:
    root = write(tmp_path, names=(*NAMES, "ird_valid9"))
    folder = root / "train"
    cv2.imwrite(str(folder / "healthy_valid3_unet.png"), np.full((HEIGHT, WIDTH), 4, np.uint8))
    cv2.imwrite(str(folder / "ird_valid60_unet.png"), np.full((HEIGHT, WIDTH + 1), 1, np.uint8))
    (folder / "ird_valid7_unet.png").unlink()
    problems: list[str] = []
    assert set(unet_rows(root, "train", problems=problems)) == {"ird_valid9"}
    rule = "must hold classes 0 to 3 in 6 columns, got"
    assert problems == [
        f"{folder / 'healthy_valid3_unet.png'} {rule} (20, 6) with classes up to 4",
        f"{folder / 'ird_valid60_unet.png'} {rule} (20, 7) with classes up to 1",
        f"load_scan: image must be an existing file, got {folder / 'ird_valid7_unet.png'}. Check the data folder.",
    ]
    np.savez(root / "train_boundaries.npz", **{name: np.array(0) for name in (*NAMES, "ird_valid9")})
    with pytest.raises(ValueError, match="ird_valid9_unet.png must hold classes 0 to 3 in no columns, got"):
        unet_rows(root, "train")
    with pytest.raises(ValueError, match="unet_rows: .*classes up to 4; "):
        unet_rows(root, "train")
    with pytest.raises(ValueError, match="unet_rows: split must be one of"):
        unet_rows(root, "valid")
    with pytest.raises(FileNotFoundError, match="unet_rows: data root must hold the folder"):
        unet_rows(tmp_path / "none", "train")


@pytest.fixture
def real(data_root: Path) -> Path:
    root = data_root / "oct" / "irdlayers"
    if not root.exists():
        pytest.skip("irdlayers is absent: HEATPOINT_DATA holds no oct/irdlayers")
    return data_root


@pytest.mark.parametrize(("split", "healthy", "ill", "left_out"), [("train", 33, 51, 815), ("test", 11, 16, 0)])
def test_real_scans(real: Path, split: str, healthy: int, ill: int, left_out: int) -> None:
    assert SCANS["irdlayers"] is open_irdlayers
    found = open_irdlayers(real, split)
    assert Counter(tag for scan in found.samples for tag in scan.tags) == {"healthy": healthy, "ird": ill}
    assert sum(int((~scan.visible).all(axis=0).sum()) for scan in found.samples) == left_out
    volumes = Counter(scan.group for scan in found.samples)
    assert sorted(volumes.values()) == ([1, 24, 26, 33] if split == "train" else [1, 11, 15])
    masks = real / "oct" / "irdlayers" / split
    row = np.arange(496)[:, None]
    for scan in found.samples[::9]:
        assert load_scan(scan).shape == (496, 512)
        # The boundaries give the published masks back.
        drawn = (row > scan.rows[0]).astype(int) + (row > scan.rows[1]) + (row > scan.rows[2])
        drawn[row > scan.rows[3]] = 0
        published = cv2.imread(str(masks / f"{scan.key}_gt.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(drawn[:, scan.visible[0]], published[:, scan.visible[0]])


def test_boundaries_lie_on_the_visible_interfaces(real: Path) -> None:
    for scan in open_irdlayers(real, "test").samples:
        pixels, columns = load_scan(scan), np.arange(512)
        top, bottom = (np.rint(scan.rows[i] + 0.5).astype(int) for i in (0, 3))
        inside = np.mean([pixels[top + i, columns] for i in range(4)])
        above = np.mean([pixels[top - 6 - i, columns] for i in range(4)])
        assert inside > 1.5 * above
        bright = np.mean([pixels[bottom - 3 - i, columns] for i in range(3)])
        assert bright > 1.2 * np.mean([pixels[bottom + 6 + i, columns] for i in range(3)])


def test_the_volumes_are_told_apart_by_their_pictures(real: Path) -> None:
    """Numbers 12, 23, 34 and 45 of a volume are its scans 2, 3, 4 and 6 and so lie far from the numbers beside them."""
    far, near = [], []
    for split in ("train", "test"):
        for before, after in pairwise(open_irdlayers(real, split).samples):
            numbers = [int(scan.key.removeprefix(scan.group.split("/")[0])) for scan in (before, after)]
            if before.group == after.group and numbers[1] == numbers[0] + 1:
                seen = before.visible[3] & after.visible[3]
                step = float(np.abs(before.rows[3] - after.rows[3])[seen].mean())
                is_far = bool({12, 23, 34, 45} & {number % 49 for number in numbers})
                (far if is_far else near).append(step)
    assert len(far) >= 4
    assert min(far) > 2 * float(np.median(near))


def test_the_unet_of_the_authors(real: Path) -> None:
    root = real / "oct" / "irdlayers"
    scans = {scan.key: scan for scan in read_irdlayers(root, "test").samples}
    found = unet_rows(root, "test")
    assert set(found) == set(scans)
    assert all(visible.all() for _, visible in found.values())
    errors = np.concatenate([np.abs(rows - scans[key].rows) for key, (rows, _) in found.items()], axis=1)
    # As docs/datasets.md gives them; the folder's README has other figures, by another rule for stray pixels.
    assert np.round(errors.mean(axis=1), 2).tolist() == [0.42, 1.41, 0.39, 0.51]
    assert round(float(errors.mean()), 2) == 0.68
    assert np.abs(errors.mean(axis=1) - [0.23, 1.47, 0.43, 0.54]).max() < 0.2
    largest = unet_rows(root, "test", largest_piece=True)
    cleaned = np.concatenate([np.abs(rows - scans[key].rows) for key, (rows, _) in largest.items()], axis=1)
    assert np.round(cleaned.mean(axis=1), 2).tolist() == [0.20, 1.41, 0.39, 0.51]
    assert round(float(cleaned.mean()), 2) == 0.63
    assert cleaned[0].max() == 2
    assert errors[0].max() == 210


def test_the_benchmark_prints_the_same(real: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["irdlayers_unet.py", "--data-root", str(real)])
    runpy.run_path(str(ROOT / "benchmarks" / "irdlayers_unet.py"), run_name="__main__")
    printed = capsys.readouterr().out
    alls = [line.split()[1:] for line in printed.splitlines() if line.startswith("all ")]
    assert [numbers[0] for numbers in alls] == ["0.684", "0.629"]
    assert "rows scored: 55296 of 55296 annotated; 0 have no boundary of the U-Net" in printed
    assert "columns without class 2, taken as an ONL of no thickness: 44 of 13824" in printed
