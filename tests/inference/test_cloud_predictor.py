"""From a cloud to keypoints in its own coordinates: closed forms, clouds of any number of points, skeletons, error texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.cloud_frame import CloudFrame, turn_about
from heatpoint.datasets.cloud import Cloud
from heatpoint.inference.clouds import CloudPrediction, CloudPredictor
from heatpoint.localizers import make_localizer
from heatpoint.recipes.cloud_config import CloudDataConfig, CloudModelConfig, SkeletonDataConfig, SkeletonModelConfig
from heatpoint.recipes.config import Recipe, kind_of
from heatpoint.report import cloud_view
from heatpoint.skeleton import Skeleton
from heatpoint.support import Points
from heatpoint.training.weights import Trained, build_model, make_header, save_weights

NUM_POINTS = 60
SKELETON = Skeleton(("tip", "seat", "back", "foot"), edges=((0, 1), (1, 3)))
# Where the network looks, in the unit sphere; the spread of its maps there.
PLACES = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.4, 0.1], [-0.3, -0.3, 0.0], [0.1, 0.0, -0.6]])
SPREAD = 0.2
BASIS = {"name": "gaussian", "sigma": 0.01}
RNG = np.random.default_rng(6)
NEAR = np.where(np.arange(NUM_POINTS)[:, None] == 3, np.nextafter(1e3, 2e3), 1e3) * np.ones(3)
XYZ = RNG.normal(size=(NUM_POINTS, 3)) * [0.4, 0.2, 0.1] + [3.0, -1.0, 0.5]


class Places(nn.Module):
    """Logits −‖x − place‖² / 2σ²: soft-argmax is the mean of a cloud weighted by a Gaussian around each place."""

    def __init__(self, spread: float = SPREAD) -> None:
        super().__init__()
        self.places = nn.Parameter(PLACES.clone())
        self.spread = spread

    def forward(self, xyz: Tensor) -> Tensor:
        return -(xyz[:, None] - self.places[:, None]).square().sum(dim=-1) / (2 * self.spread**2)

    def encode(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        return self(xyz), torch.linspace(0, 1, 6).expand(len(xyz), -1)


def predictor(
    localizer: str = "soft_argmax", *, spread: float = SPREAD, unnamed: bool = False, **options: Any
) -> CloudPredictor:
    augmentation = kind_of("cloud").augmentation()
    data: Any = (SkeletonDataConfig if unnamed else CloudDataConfig)(num_points=NUM_POINTS)
    model: Any = SkeletonModelConfig(num_keypoints=4) if unnamed else CloudModelConfig()
    recipe = Recipe("places", localizer, data=data, model=model, augmentation=augmentation)
    made = make_localizer(localizer, Points(torch.zeros(16, 3)), **options)
    skeleton = Skeleton(("a", "b")) if unnamed else SKELETON
    return CloudPredictor(Trained(Places(spread).eval(), made, recipe, skeleton, {}))


def by_loops(xyz: np.ndarray, rows: list[int], *, sigma: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, covariances and maps of the network's keypoints over rows of a cloud, in the cloud's coordinates."""
    center = sum(xyz) / len(xyz)
    radius = max(float(np.linalg.norm(point - center)) for point in xyz)
    points, covariances, maps = [], [], []
    for place in PLACES.double().numpy():
        cells = [(xyz[row] - center) / radius for row in rows]
        weight = [float(np.exp(-((cell - place) ** 2).sum() / (2 * SPREAD**2))) for cell in cells]
        share = [w / sum(weight) for w in weight]
        mean = sum(s * xyz[row] for s, row in zip(share, rows, strict=True))
        away = [xyz[row] - mean for row in rows]
        spread = sum(s * np.outer(a, a) for s, a in zip(share, away, strict=True))
        points.append(mean)
        covariances.append(spread + (sigma * radius) ** 2 * np.eye(3))
        maps.append(share)
    return np.array(points), np.array(covariances), np.array(maps)


@pytest.mark.parametrize(("localizer", "options"), [("soft_argmax", {}), ("sampling_argmax", {"basis": BASIS})])
def test_keypoints_come_back_in_the_clouds_own_coordinates(localizer: str, options: dict[str, Any]) -> None:
    found = predictor(localizer, **options)(XYZ)
    points, covariance, maps = by_loops(XYZ, list(range(NUM_POINTS)), sigma=0.01 if options else 0.0)
    # The network and its maps are float32.
    np.testing.assert_allclose(found.points, points, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.probabilities, maps, rtol=0, atol=2e-6)
    assert found.rows.tolist() == list(range(NUM_POINTS))
    assert found.names == SKELETON.names
    assert found.xyz is XYZ
    assert found.source == ""
    assert found.strengths is None
    assert found.points.dtype == found.probabilities.dtype == np.float64


def test_a_cloud_that_is_moved_and_scaled_has_keypoints_that_are() -> None:
    locate = predictor()
    here = locate(XYZ)
    there = locate(250.0 * XYZ + [1e3, 0.0, -400.0])
    np.testing.assert_allclose(there.points, 250 * here.points + [1e3, 0.0, -400.0], atol=1e-3)
    np.testing.assert_allclose(there.covariance, 250**2 * here.covariance, atol=0.2)
    np.testing.assert_allclose(there.confidence, here.confidence, atol=1e-6)


@pytest.mark.parametrize("localizer", ["soft_argmax", "discrete_expectation", "log_score", "energy_score", "crps"])
def test_a_sharp_map_is_a_row_of_the_cloud(localizer: str) -> None:
    options = {"basis": {"name": "gaussian", "sigma": 1e-4}} if localizer in ("log_score", "crps") else {}
    found = predictor(localizer, spread=1e-3, **options)(XYZ)
    frame = CloudFrame.unit_sphere(XYZ)
    cells = frame.to_input(XYZ)
    nearest = [min(range(NUM_POINTS), key=lambda row: float(((cells[row] - p) ** 2).sum())) for p in PLACES.numpy()]
    np.testing.assert_allclose(found.points, XYZ[nearest], atol=1e-3)
    assert found.probabilities.argmax(axis=1).tolist() == nearest
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-12)


def test_of_a_larger_cloud_as_many_rows_are_read_as_in_training() -> None:
    larger = np.concatenate([XYZ, RNG.normal(size=(37, 3)) * 0.2 + XYZ.mean(axis=0)])
    found, again = predictor()(larger), predictor()(larger)
    assert len(found.rows) == NUM_POINTS
    assert found.probabilities.shape == (4, NUM_POINTS)
    assert (np.diff(found.rows) > 0).all()
    assert (found.rows[0] >= 0, found.rows[-1] < len(larger)) == (True, True)
    assert not (found.rows < NUM_POINTS).all()
    np.testing.assert_array_equal(found.points, again.points)
    # The frame is that of the whole cloud, the maps those over the rows.
    points, covariance, maps = by_loops(larger, found.rows.tolist())
    np.testing.assert_allclose(found.points, points, atol=2e-6)
    np.testing.assert_allclose(found.covariance, covariance, atol=2e-6)
    np.testing.assert_allclose(found.probabilities, maps, atol=2e-6)


def test_a_smaller_cloud_is_filled_up_with_its_own_rows() -> None:
    smaller = XYZ[:23]
    found = predictor()(smaller)
    assert found.rows.tolist() == list(range(23))
    assert found.probabilities.shape == (4, 23)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-12)
    # A row that was shown several times has several cells of one map: whole multiples of what it has once.
    times = found.probabilities / by_loops(smaller, list(range(23)))[2]
    times /= times.min(axis=1, keepdims=True)
    np.testing.assert_allclose(times, np.rint(times), atol=1e-3)
    assert np.rint(times[0]).sum() == NUM_POINTS
    # The located points are the means of these maps.
    np.testing.assert_allclose(found.points, found.probabilities @ smaller, atol=2e-6)


def test_unnamed_keypoints_are_numbered_and_joined_by_edges_with_strengths() -> None:
    found = predictor("soft_argmax", unnamed=True)(XYZ)
    assert found.names == ("0", "1", "2", "3")
    # By the later keypoint, then by the earlier one, as the loss joins them.
    assert found.skeleton.edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert found.strengths is not None
    np.testing.assert_allclose(found.strengths, np.linspace(0, 1, 6), atol=1e-7)
    np.testing.assert_allclose(found.points, by_loops(XYZ, list(range(NUM_POINTS)))[0], atol=2e-6)
    values = found.to_dict()
    assert values["edges"][2] == [1, 2]
    assert values["strengths"][-1] == 1


def test_a_prediction_as_plain_values() -> None:
    found = predictor()(Cloud(XYZ[:50], np.zeros((4, 3)), np.zeros(4, dtype=bool), "chair/7"))
    values = json.loads(json.dumps(found.to_dict()))
    assert set(values) == {
        "source", "names", "points", "confidence", "covariance", "points_in_cloud", "points_read",
    }  # fmt: skip
    assert (values["source"], values["names"]) == ("chair/7", list(SKELETON.names))
    assert (values["points_in_cloud"], values["points_read"]) == (50, 50)
    np.testing.assert_array_equal(values["points"], found.points)
    np.testing.assert_array_equal(values["covariance"], found.covariance)
    np.testing.assert_array_equal(values["confidence"], found.confidence)


def shown(found: CloudPrediction, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The scene that a view would draw, and what else it is told."""
    seen: list[Any] = []
    monkeypatch.setattr(cloud_view, "write_cloud_view", lambda path, scene, **more: seen.append((scene, more)) or path)
    found.view("page.html", **options)
    (one,) = seen
    return one


def test_the_view_shows_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    larger = np.concatenate([XYZ, XYZ + 0.01])
    found = replace(predictor()(larger), source="folder/one.pcd")
    truth, visible = XYZ[:4], np.array([True, False, True, True])
    scene, more = shown(found, monkeypatch, truth=truth, visible=visible, level=0.5, up="z")
    np.testing.assert_array_equal(scene.xyz, larger[found.rows])
    assert scene.points is found.points
    assert scene.covariance is found.covariance
    assert scene.rows is found.rows
    assert (scene.names, scene.truth_names, scene.edges) == (SKELETON.names, SKELETON.names, SKELETON.edges)
    assert np.isnan(scene.truth[1]).all()
    np.testing.assert_array_equal(scene.truth[visible], truth[visible])
    assert more == {"title": "one.pcd", "level": 0.5, "up": "z"}

    scene, _ = shown(predictor(unnamed=True)(XYZ), monkeypatch, truth=XYZ[:4])
    assert scene.truth_names == ()
    assert len(scene.strengths) == 6
    scene, _ = shown(found, monkeypatch)
    assert scene.truth is None


def test_the_view_is_a_file(tmp_path: Path) -> None:
    path = predictor()(XYZ).view(tmp_path / "a.html", truth=XYZ[:4])
    assert path == tmp_path / "a.html"
    assert b"90 % ellipsoids" in path.read_bytes()


def test_it_says_what_it_depends_on() -> None:
    locate = predictor()
    assert repr(locate) == "CloudPredictor('places', num_points=60)"
    told = json.loads(json.dumps(locate.describe()))
    assert (told["recipe"], told["seed"], told["num_points"]) == ("places", 0, 60)
    assert "own coordinates" in told["conventions"]["points"]


@pytest.mark.parametrize("unnamed", [False, True])
def test_trained_weights_are_loaded_by_their_kind(tmp_path: Path, unnamed: bool) -> None:
    recipe = predictor("soft_argmax", unnamed=unnamed).trained.recipe
    recipe = replace(recipe, model=replace(recipe.model, width=0.1, grouping="single"))
    torch.manual_seed(1)
    model, support = build_model(recipe, SKELETON.num_points)
    localizer = make_localizer("soft_argmax", support)
    header = make_header(recipe, SKELETON, localizer, support)
    save_weights(tmp_path / "model.safetensors", model.state_dict(), header)
    locate = CloudPredictor.load(tmp_path / "model.safetensors")
    points = tmp_path / "one.npy"
    np.save(points, XYZ)
    found = locate(points)
    assert found.source == str(points)
    assert found.names == (("0", "1", "2", "3") if unnamed else SKELETON.names)
    assert found.points.shape == (4, 3)
    np.testing.assert_allclose(found.points, found.probabilities @ XYZ, atol=1e-5)
    assert (found.points > XYZ.min(axis=0)).all()
    assert (found.points < XYZ.max(axis=0)).all()
    if unnamed:
        assert found.strengths is not None
        assert ((found.strengths > 0) & (found.strengths < 1)).all()
    # No noise of training is left: a second look is the first.
    np.testing.assert_array_equal(locate(points).points, found.points)


def test_a_real_cloud(data_root: Path) -> None:
    folder = data_root / "pointcloud_keypointnet" / "pcds"
    if not folder.is_dir():
        pytest.skip("KeypointNet's clouds are absent: pointcloud_keypointnet/pcds in HEATPOINT_DATA")
    path = sorted(folder.glob("*/*.pcd"))[0]
    locate = predictor()
    found = locate(path)
    assert (len(found.xyz), len(found.rows), found.source) == (2048, NUM_POINTS, str(path))
    np.testing.assert_allclose(found.points, by_loops(found.xyz, found.rows.tolist())[0], atol=2e-6)


def test_error_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locate = predictor()
    np.save(tmp_path / "few.npy", XYZ[:3])
    np.save(tmp_path / "heap.npy", np.ones((70, 3)))
    np.save(tmp_path / "bad.npy", np.where(np.arange(60)[:, None] == 7, np.nan, XYZ))
    cases: list[tuple[Any, str]] = [
        (
            tmp_path / "few.npy",
            f"CloudPredictor: cloud must have at least as many points as the 4 keypoints, got 3 in {tmp_path}/few.npy. "
            "Sample the shape more densely.",
        ),
        (
            XYZ[:2],
            "CloudPredictor: cloud must have at least as many points as the 4 keypoints, got 2 in an array. "
            "Sample the shape more densely.",
        ),
        (
            str(tmp_path / "heap.npy"),
            "CloudPredictor: cloud must hold finite points at two places or more, "
            f"got 70 that do not in {tmp_path}/heap.npy.",
        ),
        (
            # Not the same number: a rounding error apart, which no sphere can be laid about.
            NEAR,
            "CloudPredictor: cloud must hold finite points at two places or more, got 60 that do not in an array.",
        ),
    ]
    for source, text in cases:
        with pytest.raises(ValueError) as caught:
            locate(source)
        assert str(caught.value) == text
    with pytest.raises(ValueError, match=r"bad\.npy, first in row 7"):
        locate(tmp_path / "bad.npy")
    with pytest.raises(FileNotFoundError, match=r"absent\.pcd"):
        locate(tmp_path / "absent.pcd")

    monkeypatch.setenv("HEATPOINT_CHECK", "0")  # Otherwise the localizer refuses the maps first.
    with torch.no_grad():
        locate.trained.model.places[:] = torch.nan  # type: ignore[operator,union-attr]
    with pytest.raises(
        ValueError, match=r"CloudPredictor: the weights must give finite points, got NaN or infinity\. "
    ):
        locate(XYZ)
    with pytest.raises(ValueError) as caught:
        predictor()(XYZ).view(tmp_path / "a.html", truth=XYZ[:4], visible=np.ones(3, dtype=bool))
    expected = "CloudPrediction.view: visible must be (4,), one flag per keypoint, got (3,)."
    assert str(caught.value) == expected
    images = Trained(Places(), locate.trained.localizer, Recipe("faces", "soft_argmax"), SKELETON, {})
    with pytest.raises(ValueError) as caught:
        CloudPredictor(images)
    remedy = "heatpoint.inference has a predictor for each kind of data."
    assert str(caught.value) == f"CloudPredictor: trained must read point clouds, got faces. {remedy}"


def test_up_is_an_axis_of_the_cloud() -> None:
    # The frame does not turn clouds: what is up in the file is up in the input.
    turned = XYZ @ turn_about("y", 90)[:, :3].T
    assert np.abs(predictor()(turned).points - predictor()(XYZ).points @ turn_about("y", 90)[:, :3].T).max() > 0.01
