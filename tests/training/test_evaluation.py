"""Scores: by hand where points are given, the protocol beside them, several readouts of the same maps, the flip test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.datasets import PointSet, Sample, synthetic_faces
from heatpoint.frames import flip_points
from heatpoint.localizers import make_localizer
from heatpoint.metrics.functional import pearson_correlation
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid
from heatpoint.training import evaluate, load_weights
from heatpoint.training.evaluation import OWN, localizers_for
from heatpoint.training.locating import locate, to_image
from heatpoint.training.scoring import Found, scores_of

EYES = Skeleton(
    ("left", "right", "nose"),
    swap_pairs=((0, 1),),
    normalizers={"eyes": ((0,), (1,)), "box": "box"},
)


def hand_made() -> PointSet:
    """Two faces with eyes 10 and 20 apart; the nose of the second is hidden."""
    points = np.array([[[0, 0], [10, 0], [5, 8]], [[0, 0], [20, 0], [7, 7]]], dtype=np.float64)
    visible = np.array([[True, True, True], [True, True, False]])
    pixels = np.zeros((30, 30, 3), dtype=np.uint8)
    samples = tuple(Sample(pixels, points[i], visible[i], None, str(i)) for i in range(2))
    return PointSet("hand", "test", EYES, samples)


def test_scores_by_hand() -> None:
    faces = hand_made()
    truth = torch.stack([torch.from_numpy(sample.points) for sample in faces.samples])
    moved = truth.clone()
    moved[0, 0, 0] += 3.0  # 0.3 of the eyes' distance
    moved[1, 1, 1] += 1.0  # 0.05
    moved[1, 2] += 100.0  # hidden: must not count
    confidence = torch.tensor([[0.1, 0.9, 0.8], [0.7, 0.6, 0.0]], dtype=torch.float64)
    peaks = 1 - confidence
    scores = scores_of(Found(moved, confidence), faces, peaks=peaks)
    assert scores["nme"]["eyes"] == pytest.approx((0.1 + 0.025) / 2)
    # Tight boxes of the visible points: 10 x 8, and 20 x 0, which measures nothing.
    assert scores["nme"]["box"] == pytest.approx(1 / np.sqrt(80))
    assert scores["left_out"] == {"eyes": 0, "box": 1}
    assert scores["failure_rate"] == 0.0
    assert scores["area_under_curve"] == pytest.approx((0.0 + 0.75) / 2)
    errors = torch.tensor([0.3, 0.0, 0.0, 0.0, 0.05])
    shown = confidence.flatten()[[0, 1, 2, 3, 4]]
    expected = np.corrcoef(shown.numpy(), -errors.numpy())[0, 1]
    assert scores["correlation"]["confidence"]["point"] == pytest.approx(expected)
    assert scores["correlation"]["peak"]["point"] == pytest.approx(-expected)
    assert scores["correlation"]["confidence"]["face"] == pytest.approx(1.0)
    assert "mtfl" not in scores


def test_failures_count_beyond_a_tenth() -> None:
    faces = hand_made()
    truth = torch.stack([torch.from_numpy(sample.points) for sample in faces.samples])
    moved = truth.clone()
    moved[0] += torch.tensor([3.0, 0.0])
    ones = torch.ones(2, 3, dtype=torch.float64)
    scores = scores_of(Found(moved, ones), faces, peaks=ones)
    assert scores["failure_rate"] == 0.5
    assert scores["correlation"]["confidence"]["point"] == 0.0


def test_mtfl_errors_are_in_original_pixels() -> None:
    skeleton = replace(EYES, names=("left", "right", "nose", "mouth_left", "mouth_right"), swap_pairs=((0, 1), (3, 4)))
    points = np.array([[0, 0], [10, 0], [5, 5], [2, 8], [8, 8]], dtype=np.float64)
    pixels = np.zeros((9, 9, 3), dtype=np.uint8)
    samples = tuple(Sample(pixels, points, np.ones(5, bool), None, str(i), pixel_scale=2.0 + i) for i in range(2))
    faces = PointSet("mtfl", "test", skeleton, samples)
    found = torch.from_numpy(np.stack([points, points])) + torch.tensor([3.0, 4.0])
    ones = torch.ones(2, 5, dtype=torch.float64)
    scores = scores_of(Found(found, ones), faces, peaks=ones)
    assert scores["mtfl"] == {"absolute_px": pytest.approx(12.5), "relative_percent": pytest.approx(50.0)}


def test_evaluate_agrees_with_a_loop_over_images(model_path: Path) -> None:
    scores = evaluate(model_path, flip_test=False, batch_size=3, limit=7)["scores"][OWN]
    trained = load_weights(model_path)
    faces = synthetic_faces(7, split="test")
    size, padding = trained.recipe.data.input, trained.recipe.data.padding
    errors, confidences = [], []
    from heatpoint.transforms import make_example

    for sample in faces.samples:
        example = make_example(sample, size=size, padding=padding)
        with torch.no_grad():
            located = trained.localizer.locate(trained.model(example.image[None]))
        found = example.frame.to_image(located.points[0].double().numpy())
        first, second = faces.skeleton.normalizers[faces.skeleton.default_normalizer]
        length = np.linalg.norm(sample.points[list(first)].mean(0) - sample.points[list(second)].mean(0))
        errors.append(np.linalg.norm(found - sample.points, axis=1) / length)
        confidences.append(located.confidence[0].numpy())
    # The network's float32 sums depend on the batch size: about 1e-6 of a few pixels.
    assert scores["nme"][faces.skeleton.default_normalizer] == pytest.approx(np.mean(errors), rel=1e-4)
    correlation = pearson_correlation(torch.tensor(np.array(confidences)).double(), -torch.tensor(np.array(errors)))
    assert scores["correlation"]["confidence"]["point"] == pytest.approx(float(correlation), abs=1e-3)


def test_the_protocol_stands_beside_the_score(model_path: Path) -> None:
    found = evaluate(model_path, limit=5, flip_test=True)
    assert (found["recipe"], found["split"], found["num_images"], found["num_points"]) == (
        *("synthetic-soft_argmax", "test", 5),
        18,
    )
    assert (found["seed"], found["epoch"] in (1, 2)) == (5, True)
    protocol = found["protocol"]
    assert (protocol["box_policy"], protocol["padding"], protocol["input"]) == ("P1", 1.25, 32)
    assert (protocol["flip_test"], protocol["offset"]) == (True, 0.0)
    assert protocol["normalizer"] in found["scores"][OWN]["nme"]
    assert protocol["limit"] == 5
    assert found["decoders"] == {OWN: "make_localizer('soft_argmax', Grid((8, 8), stride=4, offset=0))"}


def test_several_readouts_of_the_same_maps(model_path: Path) -> None:
    found = evaluate(model_path, readouts=["argmax", "top_k:k=64,weighting=logits"], limit=5)
    assert list(found["scores"]) == [OWN, "argmax", "top_k:k=64,weighting=logits"]
    own, argmax, all_cells = (scores["nme"] for scores in found["scores"].values())
    # The mean over the 64 likeliest of 64 cells is the soft-argmax.
    assert all_cells == pytest.approx(own, rel=1e-4)
    assert argmax != pytest.approx(own, rel=1e-2)


@pytest.mark.parametrize(
    ("readout", "text"),
    [
        ("topk", r"must be one of .*, got 'topk'\. Did you mean top_k"),
        ("top_k:kk=3", r"option of readout top_k must be one of .*'kk'"),
        ("top_k:k", r"evaluate: --readout must be KEY=VALUE, got 'k'"),
    ],
)
def test_unknown_readouts(model_path: Path, readout: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        localizers_for(load_weights(model_path), [readout])


def test_evaluate_refuses_what_is_missing(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        evaluate(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="split must be one of"):
        evaluate(model_path, split="nope")


class Blobs(nn.Module):
    """Three maps per image, one per colour: where the colour is. Mirrored images give mirrored maps, exactly."""

    def forward(self, images: Tensor) -> Tensor:
        return 5 * nn.functional.avg_pool2d(images, 2)


@pytest.mark.parametrize("name", ["soft_argmax", "randomized_rounding", "gaussian_heatmap"])
def test_the_flip_test_is_exact_in_coordinates(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 12, 20, generator=generator)
    localizer = make_localizer(name, Grid((6, 10), stride=2))
    swap = (1, 0, 2)
    plain = locate(Blobs(), {"a": localizer}, images)["a"]
    both = locate(Blobs(), {"a": localizer}, images, swap=swap)["a"]
    # The mirrored maps say the same, of the points with exchanged names: means of a point and of its partner.
    partner = [1, 0, 2]
    torch.testing.assert_close(both.points, (plain.points + plain.points[:, partner]) / 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(both.confidence, (plain.confidence + plain.confidence[:, partner]) / 2)
    torch.testing.assert_close(both.covariance, (plain.covariance + plain.covariance[:, partner]) / 2)


def test_the_flip_test_of_a_network_that_is_not_symmetric() -> None:
    class Ramp(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            maps = nn.functional.avg_pool2d(images, 2)
            return maps + torch.linspace(0, 3, maps.shape[-1])

    images = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    localizer = make_localizer("soft_argmax", Grid((6, 10), stride=2))
    swap = (1, 0, 2)
    one = locate(Ramp(), {"a": localizer}, images)["a"]
    two = locate(Ramp(), {"a": localizer}, images.flip(-1))["a"]
    both = locate(Ramp(), {"a": localizer}, images, swap=swap)["a"]
    back = flip_points(two.points, width=20, swap=swap)
    torch.testing.assert_close(both.points, (one.points + back) / 2)
    mirror = torch.diag(torch.tensor([-1.0, 1.0]))
    expected = (one.covariance + mirror @ two.covariance[:, list(swap)] @ mirror) / 2
    torch.testing.assert_close(both.covariance, expected)
    assert not torch.allclose(both.covariance, one.covariance)


def test_to_image_inverts_the_frames_matrices() -> None:
    generator = torch.Generator().manual_seed(2)
    matrices = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator)
    points = torch.randn(4, 5, 2, dtype=torch.float64, generator=generator)
    there = points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    torch.testing.assert_close(to_image(there, matrices), points)


def test_locating_keeps_no_graph(model_path: Path) -> None:
    trained = load_weights(model_path)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found: Any = locate(trained.model, {"a": trained.localizer}, images, swap=trained.skeleton.swap)["a"]
    assert not found.points.requires_grad
    assert found.covariance.shape == (2, 18, 2, 2)


def test_testing_may_change_what_the_weights_leave_free_only(model_path: Path) -> None:
    shown = evaluate(model_path, changes={"data.box_policy": "image", "data.padding": 1.5})
    assert (shown["protocol"]["box_policy"], shown["protocol"]["padding"]) == ("image", 1.5)
    assert shown["scores"] != evaluate(model_path)["scores"]
    with pytest.raises(
        ValueError, match=r"evaluate: changes must be one of data\.box_policy, .*got 'data\.depth_range_mm'"
    ):
        evaluate(model_path, changes={"data.depth_range_mm": 2000.0})
