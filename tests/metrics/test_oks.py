"""OKS against loops and golden numbers; suppression and rescoring as published; every argument, every error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint.metrics.functional import pearson_correlation
from heatpoint.metrics.oks import (
    oks,
    oks_matrix,
    oks_nms,
    peak_oks_correlation,
    pose_nms,
    rescored,
    soft_oks_nms,
)
from heatpoint.skeleton import load_skeleton

NUM, POINTS = 5, 7
RNG = np.random.default_rng(3)
TARGET = torch.tensor(RNG.uniform(0, 90, size=(NUM, POINTS, 2)))
PRED = TARGET + torch.tensor(RNG.normal(size=(NUM, POINTS, 2)) * 4)
AREA = torch.tensor(RNG.uniform(500, 4000, size=NUM))
SIGMAS = RNG.uniform(0.03, 0.1, size=POINTS).tolist()
VISIBLE = torch.tensor(RNG.random((NUM, POINTS)) < 0.6)
CONFIDENCE = torch.tensor(RNG.random((NUM, POINTS)))
SCORES = torch.tensor([0.3, 0.9, 0.5, 0.8, 0.1], dtype=torch.float64)
COCO = load_skeleton("coco17").sigmas
LONE = torch.zeros(2, 3, 2)
ONES = torch.ones(2)
Golden = Callable[[str], dict[str, np.ndarray]]


def oks_by_loops(pred: Any, target: Any, area: Any, visible: Any) -> list[float]:
    found = []
    for one in range(len(pred)):
        terms = []
        for k, sigma in enumerate(SIGMAS):
            if visible[one][k]:
                dx, dy = pred[one][k][0] - target[one][k][0], pred[one][k][1] - target[one][k][1]
                terms.append(math.exp(-(dx * dx + dy * dy) / (2 * (2 * sigma) ** 2 * (area[one] + 2.2e-16))))
        found.append(sum(terms) / len(terms))
    return found


@pytest.mark.parametrize("visible", [None, VISIBLE])
def test_oks_is_the_mean_over_visible_points(visible: Tensor | None) -> None:
    assert bool(VISIBLE.any(dim=1).all())
    flags = torch.ones(NUM, POINTS) if visible is None else visible
    expected = oks_by_loops(PRED.tolist(), TARGET.tolist(), AREA.tolist(), flags.tolist())
    found = oks(PRED, TARGET, area=AREA, sigmas=SIGMAS, visible=visible)
    # Seven float64 terms, each good to a few ulp.
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)
    assert oks(TARGET, TARGET, area=AREA, sigmas=SIGMAS, visible=visible).tolist() == [1.0] * NUM


def test_oks_ignores_what_hidden_points_hold_and_has_none_without_points() -> None:
    broken = torch.where(VISIBLE[..., None], TARGET, torch.nan).requires_grad_()
    pred = PRED.clone().requires_grad_()
    found = oks(pred, broken, area=AREA, sigmas=SIGMAS, visible=VISIBLE)
    assert torch.equal(found, oks(PRED, TARGET, area=AREA, sigmas=SIGMAS, visible=VISIBLE))
    found.sum().backward()
    assert pred.grad is not None
    assert bool(pred.grad.isfinite().all())
    assert bool((pred.grad[~VISIBLE] == 0).all())
    none = VISIBLE.clone()
    none[2] = False
    assert oks(PRED, TARGET, area=AREA, sigmas=SIGMAS, visible=none).isnan().tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_oks_of_an_empty_area_is_finite_and_the_precision_is_kept() -> None:
    nothing = torch.zeros(NUM, dtype=torch.float64)
    assert oks(PRED, TARGET, area=nothing, sigmas=SIGMAS).tolist() == [0.0] * NUM
    assert oks(TARGET, TARGET, area=nothing, sigmas=SIGMAS).tolist() == [1.0] * NUM
    # Half precision holds neither the area of a person nor a coordinate to the pixel.
    wide = oks(PRED.half(), TARGET.half(), area=AREA.float(), sigmas=torch.tensor(SIGMAS))
    assert wide.dtype == torch.float32
    twice = oks(2 * PRED, 2 * TARGET, area=4 * AREA, sigmas=SIGMAS)
    torch.testing.assert_close(twice, oks(PRED, TARGET, area=AREA, sigmas=SIGMAS), rtol=1e-12, atol=0)


def test_goldens_matrix_and_suppression_under_both_rules(goldens: Golden) -> None:
    golden = goldens("06_oks_nms")
    triples = torch.tensor(golden["keypoints_xyv"]).reshape(30, 17, 3)
    points, confidence = triples[..., :2], triples[..., 2]
    areas, scores = torch.tensor(golden["areas"]), torch.tensor(golden["scores"])
    sure: dict[str, dict[str, Any]] = {
        "sa": {"confidence": confidence, "visibility_threshold": 0.2, "rule": "second"},
        "mm": {"confidence": confidence, "visibility_threshold": 0.2, "rule": "both"},
    }
    plain = oks_matrix(points, areas, sigmas=COCO).numpy()
    np.testing.assert_allclose(plain, golden["sa_oks_matrix"], rtol=0, atol=1e-12)
    for name, tolerance in (("sa", 1e-12), ("mm", 1e-6)):
        found = oks_matrix(points, areas, sigmas=COCO, **sure[name]).numpy()
        np.testing.assert_allclose(found, golden[f"{name}_oks_matrix_vis0p2"], rtol=0, atol=tolerance)
        for text in ("0p9", "0p7", "0p5"):
            given: dict[str, Any] = {"sigmas": COCO, "threshold": float(text.replace("p", "."))}
            hard = oks_nms(points, scores, areas, **given)
            assert hard.tolist() == golden[f"{name}_nms_thr{text}"].tolist()
            soft = soft_oks_nms(points, scores, areas, **given)
            assert soft.tolist() == golden[f"{name}_soft_thr{text}"].tolist()
            certain = oks_nms(points, scores, areas, **given, **sure[name])
            assert certain.tolist() == golden[f"{name}_nms_vis_thr{text}"].tolist()
            five = soft_oks_nms(points, scores, areas, **given, max_detections=5)
            assert five.tolist() == golden[f"sa_soft_max5_thr{text}"].tolist()
    kept = pose_nms(points, scores, areas, golden["image_ids"].tolist(), sigmas=COCO)
    assert kept.tolist() == golden["sa_pose_nms_kept_input_index_in_order"].tolist()


def test_the_two_rules_differ_where_confidences_do() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [900.0, 0.0]]])
    confidence = torch.tensor([[0.9, 0.1], [0.9, 0.9]])
    given: dict[str, Any] = {"sigmas": [0.05, 0.05], "confidence": confidence, "visibility_threshold": 0.2}
    assert oks_matrix(points, ONES, **given).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    # Seen from the first pose, both points of the second count; seen from the second, only one of the first.
    assert oks_matrix(points, ONES, **given, rule="second").tolist() == [[1.0, 0.5], [1.0, 1.0]]
    assert oks_nms(points, torch.tensor([0.9, 0.8]), ONES, **given, rule="second", threshold=0.7).tolist() == [0, 1]
    assert oks_nms(points, torch.tensor([0.9, 0.8]), ONES, **given, threshold=0.7).tolist() == [0]
    nobody = {**given, "visibility_threshold": 0.95}
    assert oks_matrix(points, ONES, **nobody).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert oks_nms(points, torch.tensor([0.8, 0.9]), ONES, **nobody).tolist() == [1, 0]


def test_soft_suppression_orders_by_decayed_scores_under_either_rule() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [900.0, 0.0]], [[5e3, 0.0], [5e3, 0.0]]])
    confidence = torch.tensor([[0.9, 0.1], [0.9, 0.9], [0.9, 0.9]])
    poses = points, torch.tensor([0.9, 0.85, 0.5]), torch.ones(3)
    given: dict[str, Any] = {"sigmas": [0.05, 0.05], "confidence": confidence}
    # The second pose decays to 0.85 exp(−1 / 0.9) = 0.28 where one point counts, to 0.85 exp(−0.25 / 0.9) = 0.64 where two do.
    assert soft_oks_nms(*poses, **given, visibility_threshold=0.2).tolist() == [0, 2, 1]
    assert soft_oks_nms(*poses, **given, visibility_threshold=0.2, rule="second").tolist() == [0, 1, 2]
    assert soft_oks_nms(*poses, **given, visibility_threshold=0.05).tolist() == [0, 1, 2]
    assert soft_oks_nms(*poses, **given, visibility_threshold=0.05, threshold=0.3).tolist() == [0, 2, 1]
    assert soft_oks_nms(*poses, **given, visibility_threshold=0.2, max_detections=2).tolist() == [0, 2]


def test_a_pose_of_exactly_the_threshold_stays_and_of_equal_scores_the_first_wins() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [9e3, 0.0]], [[0.0, 0.0], [0.0, 9e3]]])
    areas, scores = torch.ones(3), torch.tensor([0.5, 0.5, 0.5])
    assert oks_matrix(points, areas, sigmas=[0.1, 0.1])[0].tolist() == [1.0, 0.5, 0.5]
    assert oks_nms(points, scores, areas, sigmas=[0.1, 0.1], threshold=0.5).tolist() == [0, 1, 2]
    assert oks_nms(points, scores, areas, sigmas=[0.1, 0.1], threshold=0.49).tolist() == [0]
    assert oks_nms(points[:0], scores[:0], areas[:0], sigmas=[0.1, 0.1]).tolist() == []
    assert soft_oks_nms(points[:0], scores[:0], areas[:0], sigmas=[0.1, 0.1]).tolist() == []


def test_suppression_of_a_set_is_that_of_its_images() -> None:
    points = torch.cat([TARGET, TARGET + 0.5])
    scores, areas = torch.cat([SCORES, SCORES / 2]), torch.cat([AREA, AREA])
    images = [8, "a", 8, "a", 5] * 2
    assert pose_nms(points, scores, areas, images, sigmas=SIGMAS).tolist() == [2, 0, 1, 3, 4]
    assert pose_nms(points, scores, areas, images, sigmas=SIGMAS, threshold=0.9999).tolist() == [
        2, 0, 7, 5, 1, 3, 6, 8, 4, 9,
    ]  # fmt: skip
    soft = pose_nms(points, scores, areas, images, sigmas=SIGMAS, soft=True, max_detections=3)
    assert soft.tolist() == [2, 0, 7, 1, 3, 6, 4, 9]
    numbers = torch.tensor([1, 2, 1, 2, 3] * 2)
    assert pose_nms(points, scores, areas, numbers, sigmas=SIGMAS).tolist() == [2, 0, 1, 3, 4]
    assert pose_nms(points[:0], scores[:0], areas[:0], [], sigmas=SIGMAS).tolist() == []


def test_rescoring_as_published() -> None:
    box = torch.tensor([0.5, 0.8])
    confidence = torch.tensor([[0.2, 0.6, 0.7], [0.1, 0.2, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        rescored(box, confidence), torch.tensor([1.7, 1.1], dtype=torch.float64), rtol=1e-7, atol=0
    )
    torch.testing.assert_close(rescored(None, confidence), torch.tensor([1.2, 0.3], dtype=torch.float64))
    # 0.2 itself is not greater than the threshold; a pose without a confident point has score 0.
    found = rescored(box, confidence, rule="hrnet")
    torch.testing.assert_close(found, torch.tensor([0.325, 0.0], dtype=torch.float64), rtol=1e-7, atol=0)
    found = rescored(None, confidence, rule="hrnet", threshold=0.15)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.2], dtype=torch.float64))
    assert torch.equal(rescored(box, confidence, rule="box"), box)


def test_correlation_of_peaks_with_oks_leaves_out_poses_without_points() -> None:
    similarity = oks(PRED, TARGET, area=AREA, sigmas=SIGMAS)
    peaks = CONFIDENCE.mean(dim=1)
    found = peak_oks_correlation(CONFIDENCE, PRED, TARGET, area=AREA, sigmas=SIGMAS)
    assert float(found) == pytest.approx(np.corrcoef(peaks.numpy(), similarity.numpy())[0, 1], rel=1e-12)
    none = VISIBLE.clone()
    none[1] = False
    kept = [0, 2, 3, 4]
    similarity = oks(PRED[kept], TARGET[kept], area=AREA[kept], sigmas=SIGMAS, visible=none[kept])
    found = peak_oks_correlation(CONFIDENCE, PRED, TARGET, area=AREA, sigmas=SIGMAS, visible=none)
    assert torch.equal(found, pearson_correlation(peaks[kept], similarity))


@pytest.mark.parametrize("suppress", [oks_nms, soft_oks_nms])
@pytest.mark.parametrize("spoilt", ["points", "scores", "areas"])
def test_a_broken_pose_comes_last_and_drops_none(suppress: Any, spoilt: str) -> None:
    poses = {
        "points": torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[30.0, 0.0]], [[0.0, 0.0]]]),
        "scores": torch.tensor([0.95, 0.9, 0.8, 0.7]),
        "areas": torch.full((4,), 1250.0),
    }
    poses[spoilt][0] = torch.nan
    # Without the first the last is that like the second that it is dropped, or decays to the end.
    others = suppress(*(column[1:] for column in poses.values()), sigmas=[0.05]) + 1
    assert suppress(*poses.values(), sigmas=[0.05]).tolist() == [*others.tolist(), 0]


def nms(suppress: Any, **changes: Any) -> Any:
    return suppress(LONE, ONES, ONES, **({"sigmas": [0.1] * 3} | changes))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: oks([[1.0]], LONE, area=ONES, sigmas=[0.1] * 3),
            TypeError,
            "oks: pred must be a torch.Tensor, got list. Make it one with torch.as_tensor.",
        ),
        (
            lambda: oks(LONE[:1], LONE, area=ONES, sigmas=[0.1] * 3),
            ValueError,
            "oks: pred must have the target's shape (2, 3, 2), (N, K, 2), got (1, 3, 2).",
        ),
        (
            lambda: oks(LONE, LONE, area=torch.ones(3), sigmas=[0.1] * 3),
            ValueError,
            "oks: area must be (2,), one per pose, got (3,).",
        ),
        (
            lambda: oks(LONE, LONE, area=-ONES, sigmas=[0.1] * 3),
            ValueError,
            "oks: area must be at least 0, got -1.0.",
        ),
        (
            lambda: oks(LONE, LONE, area=ONES, sigmas=[0.1] * 3, visible=torch.ones(2, 4)),
            ValueError,
            "oks: visible must be (2, 3), one flag per point, got (2, 4).",
        ),
        (
            lambda: oks(LONE, LONE, area=ONES, sigmas=[0.1] * 2),
            ValueError,
            "oks: sigmas must be (3,), one per point, got (2,).",
        ),
        (
            lambda: oks(LONE, LONE, area=ONES, sigmas=[0.5, 0.5, 0.0]),
            ValueError,
            "oks: sigmas must be greater than 0, got 0.0.",
        ),
        (
            lambda: peak_oks_correlation(torch.ones(2, 4), LONE, LONE, area=ONES, sigmas=[0.1] * 3),
            ValueError,
            "peak_oks_correlation: peaks must be (2, 3), one peak per point, got (2, 4).",
        ),
        (
            lambda: oks_matrix(LONE[0], ONES, sigmas=[0.1] * 3),
            ValueError,
            "oks_matrix: points must be (N, K, 2), got (3, 2).",
        ),
        (
            lambda: oks_matrix(LONE, ONES, sigmas=[0.1] * 3, rule="boths"),
            ValueError,
            "oks_matrix: rule must be one of both, second, got 'boths'. Did you mean both?",
        ),
        (
            lambda: oks_matrix(LONE, ONES, sigmas=[0.1] * 3, visibility_threshold=0.2),
            ValueError,
            "oks_matrix: confidence must come together with visibility_threshold, got the threshold alone. Give both, or "
            "neither to compare all points.",
        ),
        (
            lambda: oks_matrix(LONE, ONES, sigmas=[0.1] * 3, confidence=torch.ones(2, 3)),
            ValueError,
            "oks_matrix: confidence must come together with visibility_threshold, got confidence alone. Give both, or "
            "neither to compare all points.",
        ),
        (
            lambda: oks_matrix(LONE, ONES, sigmas=[0.1] * 3, confidence=ONES, visibility_threshold=0.2),
            ValueError,
            "oks_matrix: confidence must be (2, 3), one per point, got (2,).",
        ),
        (
            lambda: nms(oks_nms, threshold=math.nan),
            ValueError,
            "oks_nms: threshold must be a finite number, got nan.",
        ),
        (
            lambda: nms(soft_oks_nms, threshold=0),
            ValueError,
            "soft_oks_nms: threshold must be greater than 0, got 0.",
        ),
        (
            lambda: nms(soft_oks_nms, max_detections=0),
            ValueError,
            "soft_oks_nms: max_detections must be at least 1, got 0.",
        ),
        (
            lambda: pose_nms(LONE, torch.ones(3), ONES, [1, 2], sigmas=[0.1] * 3),
            ValueError,
            "pose_nms: scores must be (2,), one per pose, got (3,).",
        ),
        (
            lambda: pose_nms(LONE, ONES, ONES, [1], sigmas=[0.1] * 3),
            ValueError,
            "pose_nms: image_ids must hold 2 ids, one per pose, got 1.",
        ),
        (
            lambda: rescored(ONES, torch.ones(2, 3), rule="mmpose"),
            ValueError,
            "rescored: rule must be one of box, hrnet, sampling_argmax, got 'mmpose'.",
        ),
        (lambda: rescored(ONES, ONES), ValueError, "rescored: confidence must be (N, K), got (2,)."),
        (
            lambda: rescored(torch.ones(3), torch.ones(2, 3)),
            ValueError,
            "rescored: box_score must be (2,), got (3,).",
        ),
        (
            lambda: rescored(None, torch.ones(2, 3), rule="box"),
            ValueError,
            "rescored: box_score must be given for the rule 'box', got None. Give the detector's scores, or take another "
            "rule for true boxes.",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised:
        call()
    assert str(raised.value) == text
