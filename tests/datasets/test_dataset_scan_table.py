"""Scans of one's own in the three forms of files, and what may be wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.datasets import load_scan, read_scan_table
from heatpoint.datasets.scan_table import REMEDY
from pages import page

HEIGHT, WIDTH = 12, 4
ROWS = {
    "left": np.array([[1.0, 2.25, np.nan, 3.5], [4.0, 5.0, 6.5, 7.75]]),
    "right": np.array([[0.5, 0.5, 1.0, 1.0], [np.nan, 2.0, 2.0, 9.0]]),
}
NAMES = ("top", "base")


def images(folder: Path, names: tuple[str, ...] = ("left", "right")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.full((HEIGHT, WIDTH), 51, np.uint8))


def long_form(path: Path, *, order: str = "image,surface,column,row", first: int = 0, shift: float = 0.0) -> Path:
    lines = [order]
    for image, rows in ROWS.items():
        for name, row in zip(NAMES, rows, strict=True):
            for column, value in enumerate(row):
                number = "" if np.isnan(value) else f"{value + shift}"
                cells = {"image": f"{image}.png", "surface": name, "column": column + first, "row": number}
                cells |= {"subject": f"person {image}", "note": "x"}
                lines.append(",".join(str(cells[key]) for key in order.split(",")))
    path.write_text("\n".join(lines) + "\n")
    return path


def wide_form(folder: Path, *, header: bool = False) -> Path:
    images(folder)
    for image, rows in ROWS.items():
        lines = ["surface,0,1,2,3"] if header else []
        lines += [f"{name}," + ",".join(str(v) for v in row) for name, row in zip(NAMES, rows, strict=True)]
        (folder / f"{image}.csv").write_text("\n".join(lines) + "\n")
    return folder


def arrays(path: Path, **changes: Any) -> Path:
    images(path.parent)
    contents: dict[str, Any] = {"surfaces": np.array(NAMES)} | ROWS | changes
    np.savez(path, **contents)
    return path


def check(found: Any, keys: tuple[str, str]) -> None:
    assert found.skeleton.names == NAMES
    assert tuple(scan.key for scan in found.samples) == keys
    for scan, rows in zip(found.samples, ROWS.values(), strict=True):
        assert np.array_equal(scan.visible, ~np.isnan(rows))
        assert np.array_equal(scan.rows, np.nan_to_num(rows))
        assert load_scan(scan).shape == (HEIGHT, WIDTH)
        assert scan.rows.dtype == np.float64


def test_long_form(tmp_path: Path) -> None:
    images(tmp_path)
    found = read_scan_table(long_form(tmp_path / "rows.csv"))
    check(found, ("left.png", "right.png"))
    assert (found.name, found.split) == ("scan_table", "all")
    assert [scan.group for scan in found.samples] == ["", ""]
    assert (found.samples[0].axial_um, found.samples[0].lateral_um) == (None, None)


def test_long_form_in_another_order_with_subjects(tmp_path: Path) -> None:
    images(tmp_path / "pictures")
    path = long_form(tmp_path / "rows.CSV", order="row,note,column,surface,subject,image", first=1, shift=1.0)
    options: dict[str, Any] = {"image_root": tmp_path / "pictures", "first_column": 1, "row_offset": -1.0}
    found = read_scan_table(path, **options, axial_um=3.9, lateral_um=11.0, split="test", name="mine")
    check(found, ("left.png", "right.png"))
    assert [scan.group for scan in found.samples] == ["person left", "person right"]
    assert (found.samples[0].axial_um, found.samples[1].lateral_um) == (3.9, 11.0)
    assert (found.name, found.split) == ("mine", "test")
    assert found.protocol == {"scans": 2, "coordinates": "rows of the file -1", "axial_um": 3.9}


def test_what_no_line_names_is_not_visible(tmp_path: Path) -> None:
    images(tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text("image,surface,column,row\nleft.png,base,3,7\n\nright.png,top,0,2\n")
    found = read_scan_table(path, surfaces=("top", "middle", "base"))
    assert found.samples[0].visible.astype(int).tolist() == [[0] * 4, [0] * 4, [0, 0, 0, 1]]
    assert found.samples[0].rows[2].tolist() == [0, 0, 0, 7]
    assert found.samples[1].visible.sum() == 1
    assert read_scan_table(path, problems=[]).skeleton.names == ("base", "top")


@pytest.mark.parametrize("header", [False, True])
def test_a_file_per_image(tmp_path: Path, header: bool) -> None:
    found = read_scan_table(wide_form(tmp_path, header=header), subject=lambda key: key[:1])
    check(found, ("left", "right"))
    assert [scan.group for scan in found.samples] == ["l", "r"]


def test_arrays(tmp_path: Path) -> None:
    check(read_scan_table(arrays(tmp_path / "rows.npz")), ("left", "right"))
    swapped = read_scan_table(arrays(tmp_path / "rows.npz"), surfaces=("top", "middle", "base"))
    assert swapped.skeleton.names == ("top", "middle", "base")
    assert np.array_equal(swapped.samples[0].rows[2], ROWS["left"][1])
    whole = np.array([[2, -1, 3, 3], [5, 5, -1, 5]], dtype=np.int16)
    np.savez(tmp_path / "whole.npz", left=whole)
    found = read_scan_table(tmp_path / "whole.npz", surfaces=NAMES, missing=-1, row_offset=-0.5).samples[0]
    assert np.array_equal(found.visible, whole >= 0)
    assert np.array_equal(found.rows, np.where(whole >= 0, whole - 0.5, 0))


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    example = re.findall(r"```text\n(image,surface.*?)```", page("docs/datasets.md"), flags=re.DOTALL)[0]
    images(tmp_path / "eye1", ("scan01",))
    (tmp_path / "rows.csv").write_text(example.replace("104.", "4."))  # these images have 12 rows
    (found,) = read_scan_table(tmp_path / "rows.csv").samples
    assert (found.key, found.group) == ("eye1/scan01.png", "eye1")
    assert found.rows[0, :2].tolist() == [4.25, 4.5]
    assert found.visible.tolist() == [[True, True, False, False]]


def faults(path: Path, **options: Any) -> list[str]:
    """What a list gets; the same is raised, in one line, without one."""
    problems: list[str] = []
    read_scan_table(path, problems=problems, **options)
    with pytest.raises(ValueError) as caught:
        read_scan_table(path, **options)
    assert str(caught.value).startswith(f"scan_table: {problems[0]}")
    assert str(caught.value).endswith(REMEDY)
    assert "\n" not in str(caught.value)
    return problems


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("left.png,top,0", "line 3 must have 4 cells, got 3"),
        ("left.png,top,1.5,3", "line 3 must hold a whole column number, got '1.5'"),
        ("left.png,top,-1,3", "line 3 must hold a whole column number, got '-1'"),
        ("left.png,top,1,three", "line 3 must hold a number as row, got 'three'"),
        ("left.png,top,0,3", "line 3 must not repeat a column of its surface, got 0 again"),
        ("left.png,top,9999999999,3", "line 3 must hold a whole column number, got '9999999999'"),
        (",top,1,3", "line 3 must name an image and a surface, got '' and 'top'"),
        ("left.png, ,1,3", "line 3 must name an image and a surface, got 'left.png' and ''"),
        ("left.png,top,4,3", "left.png surface 'top' must lie in the 4 columns of the image, from 0, got column 4"),
        ("left.png,top,2,inf", "left.png surface 'top' must hold finite rows, got infinity"),
        ("left.png,top,2,12", "left.png surface 'top' leaves the scan of 12 rows in 1 columns (row 12 in column 2)"),
        (
            "left.png,base,0,1",
            "left.png surface 'base' lies above 'top' in 1 of 4 columns (the first is column 0)",
        ),
        ("left.png,bas,0,9", "left.png names the unknown surface 'bas', not one of top, base. Did you mean base?"),
        ("left.png,qqqq,0,9", "left.png names the unknown surface 'qqqq', not one of top, base."),
    ],
)
def test_faults_of_lines(tmp_path: Path, line: str, fault: str) -> None:
    images(tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text(f"image,surface,column,row\nleft.png,top,0,2\n{line}\nright.png,top,0,2\n")
    assert faults(path, surfaces=NAMES) == [f"{path} {fault}"]


def test_faults_of_images_and_subjects(tmp_path: Path) -> None:
    images(tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text("image,surface,column,row,subject\nnone.png,top,0,2,a\nleft.png,top,0,2,b\nleft.png,top,1,2,c\n")
    found = faults(path)
    assert found[0] == f"{path} line 4 must name one subject of left.png, got c after b"
    assert found[1].startswith(f"{path} none.png has no scan: load_image: image must be an existing file, got ")
    path.write_text("image,surface,column,row\nleft.png,top,4,2\nright.png,top,0,2\n")
    rule = "left.png surface 'top' must lie in the 4 columns of the image, from 1, got column"
    assert faults(path, first_column=1) == [
        f"{path} {rule.replace('left', 'right')} 0",
    ]
    path.write_text("image,surface,column,row\nleft.png,top,5,2\n")
    assert faults(path, first_column=1) == [f"{path} {rule} 5"]


def test_what_the_lines_of_an_error_end_with(tmp_path: Path) -> None:
    images(tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text("image,surface,column,row\nleft.png,bas,0,9\n")
    with pytest.raises(ValueError, match=r"Did you mean base\? Correct what is named"):
        read_scan_table(path, surfaces=NAMES)
    path.write_text("image,surface,column,row\nnone.png,top,0,9\n")
    with pytest.raises(ValueError, match=r"Check the data folder\. Correct what is named"):
        read_scan_table(path, surfaces=NAMES)


def test_faults_of_headers_and_encodings(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for content, got in (
        ("", "nothing, without image, surface, column, row"),
        ("image,row\n", "image, row, without s"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError) as header:
            read_scan_table(path)
        text = f"read_scan_table: {path} must begin with the header image,surface,column,row, got {got}"
        assert str(header.value).startswith(text)
    path.write_text("image,surface,column,row,Row\nleft.png,top,0,1,2\n")
    with pytest.raises(ValueError, match=r"rows\.csv must name each column once, got row twice"):
        read_scan_table(path)
    path.write_bytes(b"image,surface,column,row\n\xff\xfe,top,0,1\n")
    with pytest.raises(ValueError, match=r"rows\.csv must be a CSV file in UTF-8, got 'utf-8' codec"):
        read_scan_table(path)
    path.write_text("image,surface,column,row\n")
    with pytest.raises(ValueError) as empty:
        read_scan_table(path)
    assert str(empty.value) == f"read_scan_table: {path} must name at least one surface, got none."
    with pytest.raises(ValueError, match=r"^scan_table: .*rows\.csv holds no scan\. "):
        read_scan_table(path, surfaces=NAMES)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("top,1,2,3,4\nbase,5,5,5\n", " surface 'base' must have 4 rows, one per column of the image, got 3"),
        ("top,1,2,3,4\nbase,5,5,5,x\n", " line 2 must hold the name of a surface, each once, and numbers, got 'x'"),
        (
            "top,1,2,3,4\ntop,5,5,5,5\n",
            " line 2 must hold the name of a surface, each once, and numbers, got 'top' at its beginning",
        ),
        (
            "1,2,3,4\n5,5,5,5\n",
            " line 1 must hold the name of a surface, each once, and numbers, got '1' at its beginning",
        ),
    ],
)
def test_faults_of_a_file_per_image(tmp_path: Path, content: str, fault: str) -> None:
    folder = wide_form(tmp_path)
    (folder / "left.csv").write_text(content)
    assert faults(folder) == [f"{folder / 'left.csv'}{fault}"]


def test_files_without_an_image_or_in_another_encoding(tmp_path: Path) -> None:
    folder = wide_form(tmp_path)
    (folder / "left.png").unlink()
    (folder / "right.csv").write_bytes(b"\xff\xfe")
    found = faults(folder, surfaces=NAMES)
    assert found[0] == f"{folder / 'left.csv'} has no image of the same stem in {folder}"
    assert found[1].startswith(f"read_scan_table: {folder / 'right.csv'} must be a CSV file in UTF-8")


def test_faults_of_arrays(tmp_path: Path) -> None:
    path = arrays(tmp_path / "rows.npz", left=np.zeros((3, WIDTH)), right=np.zeros((2, 5)), other=np.zeros((2, 4)))
    found = faults(path)
    assert found[0] == f"{path} left must be numbers, 2 surfaces x columns, got float64 (3, 4)"
    assert found[1].startswith(f"{path} other has no image of this name in {tmp_path} (.jpg, ")
    assert found[2] == f"{path} right surface 'top' must have 4 rows, one per column of the image, got 5"
    np.savez(path, left=ROWS["left"])
    with pytest.raises(ValueError) as names:
        read_scan_table(path)
    remedy = "Give surfaces=(…), or store the names in the entry 'surfaces'."
    assert str(names.value) == f"read_scan_table: {path} must name its surfaces, got no names. {remedy}"
    np.savez(path, left=ROWS["left"], surfaces=np.array(["top", "top"]))
    with pytest.raises(ValueError, match=r"rows\.npz must name each surface once, got top, top"):
        read_scan_table(path)
    np.savez(path, left=ROWS["left"], surfaces=np.array([b"top", b"base"]))
    assert read_scan_table(path).skeleton.names == NAMES
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"rows\.npz must be an \.npz file of plain arrays"):
        read_scan_table(path)


def test_faults_of_arguments(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="read_scan_table: path must be an existing file or folder, got "):
        read_scan_table(tmp_path / "none.csv")
    (tmp_path / "rows.txt").write_text("")
    with pytest.raises(ValueError, match=r"read_scan_table: path must be a folder, a \.csv or an \.npz file, got "):
        read_scan_table(tmp_path / "rows.txt")
    with pytest.raises(ValueError, match="read_scan_table: first_column must be 0 or 1, got 2"):
        read_scan_table(tmp_path, first_column=2)
