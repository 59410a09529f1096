"""Samples, images and splits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from heatpoint.datasets import (
    DATASETS,
    PointSet,
    Sample,
    grouped_split,
    load_image,
    require_folder,
    resolve_data_root,
)
from heatpoint.skeleton import Skeleton


def sample(key: str = "a", group: str = "", num: int = 2) -> Sample:
    return Sample(np.zeros((4, 5, 3), np.uint8), np.zeros((num, 2)), np.ones(num, bool), None, key, group=group)


@pytest.fixture
def picture() -> np.ndarray:
    smooth = np.random.default_rng(0).uniform(0, 255, (6, 7, 3)).astype(np.float32)
    return cv2.resize(smooth, (70, 60), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("ending", "tolerance"), [("png", 0), ("jpg", 5), ("ppm", 0)])
def test_load_image_is_rgb(ending: str, tolerance: int, picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    cv2.imwrite(str(path), picture[..., ::-1])
    for source in (path, str(path), Sample(path, np.zeros((1, 2)), np.ones(1, bool), None, "a")):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        assert loaded.shape == (60, 70, 3)
        # JPEG keeps colours at half the resolution: exact it is not, but red and blue exchanged would be 50 off.
        assert np.abs(loaded.astype(int) - picture).mean() <= tolerance


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_truncated_image_is_refused_by_name(
    ending: str, share: float, picture: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"x.{ending}"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError) as caught:
        load_image(path)
    text = (
        f"load_image: image must be a complete file, got {path}, which is truncated. Copy or download the file again."
    )
    assert str(caught.value) == text
    assert capfd.readouterr().err == ""


def test_truncated_jpeg_with_a_complete_thumbnail_is_refused(picture: np.ndarray, tmp_path: Path) -> None:
    thumbnail = cv2.imencode(".jpg", picture[:16, :16])[1].tobytes()
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    header = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "x.jpg"
    path.write_bytes(data[:2] + header + data[2:] + b"trailing bytes")
    assert load_image(path).shape == picture.shape
    path.write_bytes(data[:2] + header + data[2:-20])
    with pytest.raises(ValueError, match="truncated"):
        load_image(path)


def test_bytes_behind_a_whole_png_do_no_harm(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    path.write_bytes(data + bytes(40))
    assert (load_image(path) == picture[..., ::-1]).all()
    # A cut within the last chunk, and one that leaves the marker's name somewhere else.
    for cut in (data[:-1], data[:-12] + b"IEND"):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="truncated"):
            load_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff"])
def test_other_files_are_no_images(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"load_image: image must be a (readable image|complete file), got .*x\.jpg"):
        load_image(path)


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load_image: image must be an existing file, got .*none\.jpg"):
        load_image(tmp_path / "none.jpg")


@pytest.mark.parametrize(("room", "package"), [("datasets", "cv2"), ("transforms", "cv2"), ("recipes", "tyro")])
def test_rooms_name_the_package_they_miss(room: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import heatpoint.{room}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: heatpoint.{room} needs the package {package!r}, which is not installed. "
        "Run: pip install 'heatpoint[train]', or in a checkout: pip install -e '.[all]'"
    )


def test_array_that_is_no_image() -> None:
    with pytest.raises(ValueError, match=r"be \(H, W, 3\) uint8 in RGB order, got float32 \(4, 5\)"):
        load_image(np.zeros((4, 5), np.float32))


@pytest.mark.parametrize(
    ("points", "visible", "text"),
    [
        (np.zeros((2, 3)), np.ones(2, bool), "Sample: points must be (K, 2), got (2, 3)."),
        (np.zeros((2, 2)), np.ones(3, bool), "Sample: visible must be bool (2,), got bool (3,)."),
        (np.zeros((2, 2)), np.ones(2), "Sample: visible must be bool (2,), got float64 (2,)."),
        (np.full((2, 2), np.nan), np.ones(2, bool), "Give a missing point as 0, 0 with visible False."),
    ],
)
def test_sample_checks(points: np.ndarray, visible: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Sample(np.zeros((4, 5, 3), np.uint8), points, visible, None, "a")
    assert text in str(caught.value)


def test_point_set_checks_and_describes_itself() -> None:
    skeleton = Skeleton(("a", "b"))
    points = PointSet("set", "train", skeleton, (sample("p"), sample("q")))
    assert len(points) == 2
    assert repr(points) == "PointSet('set', 'train', 2 samples of 2 points)"
    with pytest.raises(ValueError, match="have the skeleton's 2 points, got another number in q"):
        PointSet("set", "train", skeleton, (sample("p"), sample("q", num=3)))


def test_grouped_split_keeps_photographs_together_whatever_the_order() -> None:
    samples = [sample(f"{i}", group=f"photo{i // 3}") for i in range(60)]
    kept, held = grouped_split(samples, fraction=0.2, seed=3)
    assert len(kept) + len(held) == 60
    # 12 are wanted, groups hold 3: exactly 4 groups reach the share.
    assert len(held) == 12
    assert not {s.group for s in kept} & {s.group for s in held}
    again = grouped_split(samples[::-1], fraction=0.2, seed=3)[1]
    assert {s.key for s in again} == {s.key for s in held}
    other = grouped_split(samples, fraction=0.2, seed=4)[1]
    assert {s.key for s in other} != {s.key for s in held}


def test_grouped_split_of_nothing_and_of_a_wrong_share() -> None:
    samples = [sample(str(i)) for i in range(5)]
    assert grouped_split(samples, fraction=0.0) == (tuple(samples), ())
    with pytest.raises(ValueError, match="grouped_split: fraction must be from 0 to below 1, got 1"):
        grouped_split(samples, fraction=1.0)


def test_data_root_is_the_argument_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATPOINT_DATA", str(tmp_path))
    assert resolve_data_root() == tmp_path
    (tmp_path / "sub").mkdir()
    assert resolve_data_root(tmp_path / "sub") == tmp_path / "sub"
    assert require_folder("x", tmp_path) == tmp_path


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"synthetic_faces", "synthetic_bodies"}))
def test_missing_data_root_says_what_to_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATPOINT_DATA", raising=False)
    remedy = "Set HEATPOINT_DATA or --data-root to the folder that holds "
    for root, got in ((None, "got none."), (tmp_path / "absent", f"got {tmp_path / 'absent'}.")):
        with pytest.raises(FileNotFoundError) as caught:
            DATASETS[name](root, "test")
        text = f"datasets: data root must be an existing folder, {got} {remedy}faces300w/, mtfl/, …"
        assert str(caught.value) == text
    with pytest.raises(FileNotFoundError) as caught:
        DATASETS[name](tmp_path, "test")
    reader = {"lspet_upright": "lspet", "faces300wlp": "aflw2000"}.get(name, name)
    assert str(caught.value).startswith(f"{reader}: data root must hold the folder {tmp_path}")
    # What to set; and of sets that are not ours to give, where they can be had and how their folder must look.
    assert remedy in str(caught.value)
    ours = name.endswith("mouse")
    assert ours or re.search(
        r"(Get|is given out) .*\b(must hold|holds|unpack it to|is a folder|annotations/)", str(caught.value)
    )


@pytest.mark.parametrize("name", ["faces300w", "mtfl", "mirror_mouse", "openfield_mouse"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_image_of_the_first_and_last_samples_loads_and_holds_its_points(
    name: str, split: str, data_root: Path, tmp_path: Path
) -> None:
    points: Any = DATASETS[name](data_root, split)
    for s in points.samples[:3] + points.samples[-3:]:
        height, width = load_image(s).shape[:2]
        inside = (s.points[s.visible] >= -0.5).all() and (s.points[s.visible] <= [width - 0.5, height - 0.5]).all()
        assert inside or name == "mtfl"


def test_unknown_split_lists_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split must be one of test, train, got 'trian'. Did you mean train"):
        DATASETS["faces300w"](tmp_path, "trian")
