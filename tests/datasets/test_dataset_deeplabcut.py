"""DeepLabCut CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, read_deeplabcut
from heatpoint.skeleton import Skeleton

SKELETON = Skeleton(("nose", "tail"))
HEAD = "scorer,me,me,me,me\nbodyparts,tail,tail,nose,nose\ncoords,x,y,x,y\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_names_order_the_columns_and_empty_cells_are_not_visible(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "images/a.png,1.5,2,3,4\nimages/b.png,,,5,6\n\nimages/c.png,nan,2,7,8\n")
    first, second, third = read_deeplabcut(path, SKELETON).samples
    assert first.points.tolist() == [[3, 4], [1.5, 2]]
    assert second.points.tolist() == [[5, 6], [0, 0]]
    assert second.visible.tolist() == third.visible.tolist() == [True, False]
    assert first.image == tmp_path / "images/a.png"
    assert first.key == "images/a.png"


def test_three_path_columns(tmp_path: Path) -> None:
    head = "scorer,,,me,me,me,me\nbodyparts,,,nose,nose,tail,tail\ncoords,,,x,y,x,y\n"
    path = write(tmp_path, head + "labeled-data,video,a.png,1,2,3,4\n")
    only = read_deeplabcut(path, SKELETON).samples[0]
    assert only.image == tmp_path / "labeled-data/video/a.png"
    assert only.points.tolist() == [[1, 2], [3, 4]]


def test_split_is_by_order(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "".join(f"{i}.png,1,2,3,4\n" for i in range(10)))
    keys = {
        s: [x.key for x in read_deeplabcut(path, SKELETON, split=s, test_fraction=0.3).samples]
        for s in ("train", "test", "all")
    }
    assert keys["train"] + keys["test"] == keys["all"]
    assert keys["test"] == ["7.png", "8.png", "9.png"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scorer,me\nindividuals,one\nbodyparts,nose\n", "must begin with the rows scorer, bodyparts, coords"),
        ("", "must begin with the rows scorer, bodyparts, coords"),
        ("scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\n", "has no columns x and y for tail (it names nose)"),
        (HEAD + "a.png,1,2,3,4\nb.png,1,2,3\n", "row b.png has too few columns"),
        (HEAD + "a.png,1,2,3,x\n", "row a.png must hold numbers, got 3, x"),
    ],
)
def test_broken_files(text: str, problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as caught:
        read_deeplabcut(path, SKELETON)
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert str(caught.value).endswith("Correct the file, or give the skeleton that names its points.")


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="labels must be an existing file"):
        read_deeplabcut(tmp_path / "none.csv", SKELETON)
    with pytest.raises(ValueError, match="split must be one of all, test, train"):
        read_deeplabcut(tmp_path / "none.csv", SKELETON, split="val")
    with pytest.raises(ValueError, match="test_fraction must be from 0 to 1, got 2"):
        read_deeplabcut(tmp_path / "none.csv", SKELETON, test_fraction=2)


@pytest.mark.parametrize(("name", "count"), [("openfield_mouse", 116), ("mirror_mouse", 90)])
def test_real_sets(name: str, count: int, data_root: Path) -> None:
    points = DATASETS[name](data_root, "all")
    assert len(points) == count
    assert len(DATASETS[name](data_root, "train")) + len(DATASETS[name](data_root, "test")) == count
    visible = np.stack([s.visible for s in points.samples])
    assert visible.mean() > 0.8
