"""MTFL lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import read_mtfl

NUMBERS = "10 30 20 12 28 11 13 22 33 34 1 2 2 3"


def write(root: Path, *lines: str) -> Path:
    path = root / "training.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_all_x_then_all_y_and_slashes_are_turned(tmp_path: Path) -> None:
    write(tmp_path, f"lfw\\A_1.jpg {NUMBERS}", "", f"net/B.jpg {NUMBERS} 300 200 150 100")
    for name in ("lfw/A_1.jpg", "net/B.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    first, second = read_mtfl(tmp_path, "train").samples
    assert first.points.tolist() == [[10, 11], [30, 13], [20, 22], [12, 33], [28, 34]]
    assert first.image == tmp_path / "lfw" / "A_1.jpg"
    assert (first.key, first.pixel_scale, first.box) == ("lfw/A_1.jpg", 1.0, None)
    assert second.pixel_scale == 2.0
    assert first.visible.all()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a.jpg 1 2 3", "must hold 14 or 18 numbers after the path, got 3"),
        (f"a.jpg {NUMBERS[:-1]}x", "must hold numbers after the path"),
        (f"a.jpg nan{NUMBERS[2:]}", "must hold finite numbers"),
        (f"a.jpg {NUMBERS} 300 200 0 100", "must end in widths and heights greater than 0"),
    ],
)
def test_broken_lines_are_counted(line: str, problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"ok.jpg {NUMBERS}", line, line)
    with pytest.raises(ValueError) as caught:
        read_mtfl(tmp_path, "train")
    assert str(caught.value).startswith(f"{path}: line 2 {problem}; line 3 {problem}. A line is: path, x1 … x5")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\n \n", "it names no face"), (b"\xffa.jpg 1", "it is not text in UTF-8 (")]
)
def test_lists_without_faces(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "training.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_mtfl(tmp_path, "train")
    assert str(caught.value).startswith(f"{path}: {problem}")


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mtfl: data root must hold the list .*testing\.txt, got no such file"):
        read_mtfl(tmp_path, "test")


def test_missing_images_are_listed_on_reading(tmp_path: Path) -> None:
    write(tmp_path, f"a.jpg {NUMBERS}", f"b.jpg {NUMBERS}")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(
        FileNotFoundError, match=r"mtfl: images must be existing files, got .*b\.jpg \(1 of 2 missing\)"
    ):
        read_mtfl(tmp_path, "train")
    found: list[str] = []
    assert [s.key for s in read_mtfl(tmp_path, "train", problems=found).samples] == ["a.jpg"]
    assert found == [f"image {tmp_path / 'b.jpg'} is missing"]


def test_real_set(data_root: Path) -> None:
    train, test = read_mtfl(data_root / "mtfl", "train"), read_mtfl(data_root / "mtfl", "test")
    assert (len(train), len(test)) == (10000, 1995)
    assert train.samples[0].pixel_scale == 250 / 152
    points = np.stack([s.points for s in train.samples])
    # Left is as seen in the image; profiles and tilted heads are few.
    assert np.mean(points[:, 0, 0] < points[:, 1, 0]) > 0.99
    assert np.mean(points[:, 3, 0] < points[:, 4, 0]) > 0.99
