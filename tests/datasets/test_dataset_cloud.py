"""Clouds, sets of clouds, and reading a cloud from anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatpoint.datasets import CLOUDS, Cloud, CloudSet, load_cloud
from heatpoint.skeleton import Skeleton

XYZ = np.random.default_rng(0).uniform(-1, 1, (7, 3))


def cloud(key: str = "a", **changes: Any) -> Cloud:
    values: dict[str, Any] = {"points": XYZ[[2, 0]] * [[1], [0]], "visible": np.array([True, False])}
    return Cloud(**({"xyz": XYZ, "key": key, "index": np.array([2, 0])} | values | changes))


def test_a_cloud_loads_from_rows_arrays_and_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, XYZ.astype(np.float32))
    for source in (path, str(path), cloud(xyz=path), XYZ.astype(np.float32)):
        found = load_cloud(source)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, XYZ.astype(np.float32))
    np.testing.assert_array_equal(load_cloud(cloud()), XYZ)
    assert load_cloud(np.arange(6).reshape(2, 3)).dtype == np.float64


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"points": np.zeros((2, 2))}, "Cloud: points must be (K, 3), got (2, 2)."),
        ({"visible": np.ones(2)}, "Cloud: visible must be bool (2,), got float64 (2,)."),
        ({"visible": np.ones(3, bool)}, "Cloud: visible must be bool (2,), got bool (3,)."),
        (
            {"points": np.full((2, 3), np.nan)},
            "Cloud: points must be finite, got NaN or infinity in a. Give a missing point as 0, 0, 0 with visible False.",
        ),
        ({"index": np.zeros(2)}, "Cloud: index must be int64 (2,), got float64 (2,)."),
        ({"index": np.zeros(3, np.int64)}, "Cloud: index must be int64 (2,), got int64 (3,)."),
        ({"index": np.array([7, 0])}, "Cloud: index must name rows from 0 to 6, got 7 in a."),
        ({"index": np.array([-1, 0])}, "Cloud: index must name rows from 0 to 6, got -1 in a."),
        ({"index": np.array([3, 0])}, "Cloud: index must name the rows at which the keypoints lie, got row 3 of a, which"),
        ({"xyz": XYZ[:, :2]}, "Cloud: cloud must be (N, 3) numbers, a row x, y, z for each point, got float64 (7, 2) in a."),
        ({"xyz": XYZ[:0]}, "Cloud: cloud must hold at least one point, got none in a."),
    ],
)  # fmt: skip
def test_cloud_checks(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        cloud(**changes)


def test_rows_of_points_that_are_not_visible_mean_nothing() -> None:
    assert cloud(index=np.array([2, 99])).index is not None
    assert cloud(index=None).index is None


def test_bad_clouds_are_refused_in_one_line(tmp_path: Path) -> None:
    bad = XYZ.copy()
    bad[[3, 5], 1] = np.nan, np.inf
    path = tmp_path / "bad.npy"
    np.save(path, bad)
    with pytest.raises(ValueError) as caught:
        load_cloud(path)
    assert str(caught.value) == (
        f"load_cloud: cloud must be finite, got NaN or infinity in 2 of 7 points of {path}, first in row 3. "
        "Leave such points out of the file."
    )
    np.save(path, np.zeros((0, 3)))
    with pytest.raises(ValueError) as caught:
        load_cloud(path)
    assert str(caught.value) == f"load_cloud: cloud must hold at least one point, got none in {path}."
    with pytest.raises(ValueError, match=r"a row x, y, z for each point, got bool \(2, 3\) in an array\."):
        load_cloud(np.ones((2, 3), bool))
    with pytest.raises(TypeError) as wrong:
        load_cloud([[0.0, 0.0, 0.0]])  # type: ignore[arg-type]
    rule = "load_cloud: cloud must be a path, an array or a sample, got list. Make numbers an array with numpy.asarray."
    assert str(wrong.value) == rule
    with pytest.raises(FileNotFoundError, match=r"load_cloud: cloud must be an existing file, got .*none\.ply"):
        load_cloud(tmp_path / "none.ply")


def test_cloud_set_checks_and_describes_itself() -> None:
    skeleton = Skeleton(("p", "q"))
    found = CloudSet("set", "train", skeleton, (cloud("a"), cloud("b")))
    assert len(found) == 2
    assert repr(found) == "CloudSet('set', 'train', 2 clouds with 2 keypoints)"
    one = cloud("c", points=XYZ[:1], visible=np.ones(1, bool), index=np.zeros(1, np.int64))
    with pytest.raises(ValueError) as caught:
        CloudSet("set", "train", skeleton, (cloud("a"), one))
    text = "CloudSet: samples must have the skeleton's 2 keypoints, got another number in c."
    assert str(caught.value) == text


def test_sets_are_named_by_category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(CLOUDS) == 19
    monkeypatch.delenv("HEATPOINT_DATA", raising=False)
    for name, reader in CLOUDS.items():
        if name.startswith("synthetic"):
            continue
        with pytest.raises(FileNotFoundError, match=r"keypointnet: data root must hold the folder .*/keypointnet, got"):
            reader(tmp_path, "train")
        with pytest.raises(FileNotFoundError, match="datasets: data root must be an existing folder, got none"):
            reader(None, "train")
