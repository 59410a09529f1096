"""DeepLabCut CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets import DATASETS, grouped_split, read_deeplabcut
from heatpoint.skeleton import Skeleton

SKELETON = Skeleton(("nose", "tail"))
HEAD = "scorer,me,me,me,me\nbodyparts,tail,tail,nose,nose\ncoords,x,y,x,y\n"


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def place(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names_order_the_columns_and_empty_cells_are_not_visible(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "images/a.png,1.5,2,3,4\nimages/b.png,,,5,6\n\nimages/c.png,nan,2,7,8\n")
    place(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    first, second, third = read_deeplabcut(path, SKELETON).samples
    assert first.points.tolist() == [[3, 4], [1.5, 2]]
    assert second.points.tolist() == [[5, 6], [0, 0]]
    assert second.visible.tolist() == third.visible.tolist() == [True, False]
    assert first.image == tmp_path / "images/a.png"
    assert first.key == "images/a.png"


def test_three_path_columns(tmp_path: Path) -> None:
    head = "scorer,,,me,me,me,me\nbodyparts,,,nose,nose,tail,tail\ncoords,,,x,y,x,y\n"
    path = write(tmp_path, head + "labeled-data,video,a.png,1,2,3,4\n")
    place(tmp_path, "labeled-data/video/a.png")
    only = read_deeplabcut(path, SKELETON).samples[0]
    assert only.image == tmp_path / "labeled-data/video/a.png"
    assert only.points.tolist() == [[1, 2], [3, 4]]


def test_split_is_by_order(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "".join(f"{i}.png,1,2,3,4\n" for i in range(10)))
    place(tmp_path, *(f"{i}.png" for i in range(10)))
    keys = {
        s: [x.key for x in read_deeplabcut(path, SKELETON, split=s, test_fraction=0.3).samples]
        for s in ("train", "test", "all")
    }
    assert keys["train"] + keys["test"] == keys["all"]
    assert keys["test"] == ["7.png", "8.png", "9.png"]


def project(folder: Path, frames: int = 23) -> list[Path]:
    """A project as DeepLabCut keeps it: one file per video, paths from the project's folder, one of them of Windows."""
    for video, slash in (("v1", "/"), ("v2", "\\")):
        rows = "".join(f"labeled-data{slash}{video}{slash}{i:02}.png,1,2,3,4\n" for i in range(frames))
        rows += f"labeled-data{slash}{video}{slash}x.png,,,,\n"
        write(folder, HEAD + rows, f"labeled-data/{video}/CollectedData_me.csv")
        place(folder, *(f"labeled-data/{video}/{i:02}.png" for i in range(frames)))
    return sorted(folder.glob("labeled-data/*/CollectedData_*.csv"))


def test_project_of_several_videos(tmp_path: Path) -> None:
    files = project(tmp_path)
    points = read_deeplabcut(files, SKELETON, image_root=tmp_path)
    assert len(points) == 2 * 23
    assert points.samples[23].key == "labeled-data/v2/00.png"
    assert points.samples[23].image == tmp_path / "labeled-data" / "v2" / "00.png"
    # The picture of a frame without a label need not be there.
    assert points.protocol["left out"] == "2 frames without a label"
    test = read_deeplabcut(files, SKELETON, image_root=tmp_path, split="test", test_fraction=0.1)
    assert [s.key[13:] for s in test.samples] == ["v1/21.png", "v1/22.png", "v2/21.png", "v2/22.png"]


def test_hold_out_takes_blocks_of_frames_in_sequence(tmp_path: Path) -> None:
    samples = read_deeplabcut(project(tmp_path), SKELETON, image_root=tmp_path).samples
    kept, held = grouped_split(samples, fraction=0.1)
    assert not {s.group for s in kept} & {s.group for s in held}
    groups = {s.group: [t.key for t in samples if t.group == s.group] for s in held}
    order = [s.key for s in samples]
    for keys in groups.values():
        start = order.index(keys[0])
        assert order[start : start + len(keys)] == keys
        assert len(keys) == 3 or keys[-1].endswith("22.png")


def test_missing_images_are_listed_on_reading(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "".join(f"{i}.png,1,2,3,4\n" for i in range(9)))
    place(tmp_path, "3.png", "4.png")
    with pytest.raises(FileNotFoundError) as caught:
        read_deeplabcut(path, SKELETON)
    listed = ", ".join(str(tmp_path / f"{i}.png") for i in (0, 1, 2, 5, 6))
    assert str(caught.value) == (
        f"deeplabcut: images must be existing files, got {listed} and 2 more (7 of 9 missing). "
        "Give image_root, the folder in which the paths of the CSV file begin."
    )


def test_missing_images_are_not_counted_as_frames_without_a_label(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "a.png,1,2,3,4\nb.png,1,2,3,4\nc.png,,,,\n")
    place(tmp_path, "a.png")
    found: list[str] = []
    points = read_deeplabcut(path, SKELETON, problems=found)
    assert points.protocol["left out"] == "1 frames without a label"
    assert (len(points), found) == (1, [f"image {tmp_path / 'b.png'} is missing"])


def test_problems_of_several_files_come_in_one_report(tmp_path: Path) -> None:
    first, second = write(tmp_path, HEAD + "a.png,1,2,3,x\n"), write(tmp_path, "", "other.csv")
    third = tmp_path / "third.csv"
    third.write_bytes(b"scorer,\xff\n")
    with pytest.raises(ValueError) as caught:
        read_deeplabcut([first, second, third], SKELETON)
    text = str(caught.value)
    assert text.startswith(
        f"deeplabcut: {first} row a.png must hold numbers, got 3, x; {second} must begin with the rows"
    )
    assert f"; {third} is not a CSV file in UTF-8 (" in text


def test_rows_that_repeat_a_frame_are_named(tmp_path: Path) -> None:
    first = write(tmp_path, HEAD + "a.png,1,2,3,4\nb.png,1,2,3,4\na.png,5,6,7,8\n")
    place(tmp_path, "a.png", "b.png")
    with pytest.raises(ValueError) as caught:
        read_deeplabcut(first, SKELETON)
    assert str(caught.value).startswith(f"{first}: row a.png is of a frame that a row before it has. Correct the file")
    second = write(tmp_path, HEAD + "b.png,1,2,3,4\n", "other.csv")
    found: list[str] = []
    points = read_deeplabcut([first, second], SKELETON, problems=found)
    # The first of each stands.
    assert [s.points[0].tolist() for s in points.samples] == [[3, 4], [3, 4]]
    rule = "is of a frame that a row before it has"
    assert found == [f"{first} row a.png {rule}", f"{second} row b.png {rule}"]


def test_files_without_a_labelled_frame(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "a.png,,,,\n")
    with pytest.raises(ValueError, match=r"deeplabcut: labels must hold a labelled frame, got none in .*labels\.csv\."):
        read_deeplabcut(path, SKELETON)
    with pytest.raises(ValueError, match=r"read_deeplabcut: labels must name at least one CSV file, got none\."):
        read_deeplabcut([], SKELETON)


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
