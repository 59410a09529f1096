"""Shares of correct points: published numbers, thresholds that are met exactly, an oracle as loops, classes, error texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import heatpoint.metrics
from heatpoint.metrics.correct_points import PCK, EndPointError, PCKAreaUnderCurve, PCKh
from heatpoint.metrics.pck import (
    AUC_THRESHOLDS,
    MPII_ROWS,
    epe,
    mean_share,
    pck,
    pck_auc,
    pckh,
    pckh_rows,
    relative_distances,
    share_correct,
)
from heatpoint.metrics.pose3d import mpjpe, n_mpjpe, pa_mpjpe, root_relative
from heatpoint.metrics.pose_error import MPJPE

Goldens = Callable[[str], dict[str, np.ndarray]]
NUM, POINTS = 11, 5
RNG = np.random.default_rng(7)
TARGET = torch.tensor(RNG.normal(size=(NUM, POINTS, 3)) * 50)
PRED = TARGET + torch.tensor(RNG.normal(size=(NUM, POINTS, 3)) * 9)
LENGTHS = torch.tensor(RNG.uniform(10, 60, NUM))
VISIBLE = torch.tensor(RNG.random((NUM, POINTS)) < 0.7)
VISIBLE[2] = False
BODY = torch.tensor(RNG.normal(size=(NUM, 16, 2)) * 50)
BODY_PRED = BODY + torch.tensor(RNG.normal(size=(NUM, 16, 2)) * 9)
BODY_VISIBLE = torch.tensor(RNG.random((NUM, 16)) < 0.7)


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


@pytest.mark.parametrize(("norm", "prefix"), [("norm", "pck"), ("norm_aniso", "pck_aniso")])
def test_pck_is_as_published(goldens: Goldens, norm: str, prefix: str) -> None:
    golden = tensors(goldens("06_pck"))
    for number, threshold in enumerate(golden["thrs"].tolist()):
        shares = pck(golden["pred"], golden["gt"], golden[norm], visible=golden["mask"], threshold=threshold)
        expected = golden[f"{prefix}{number}_per_joint"]
        torch.testing.assert_close(torch.nan_to_num(shares, nan=-1.0), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(shares.nanmean(), golden[f"{prefix}{number}_mean"], rtol=0, atol=1e-6)
        assert int((~shares.isnan()).sum()) == int(golden[f"{prefix}{number}_count"])


def test_distances_area_and_end_point_error_are_as_published(goldens: Goldens) -> None:
    golden = tensors(goldens("06_pck"))
    pred, target, visible = golden["pred"], golden["gt"], golden["mask"]
    # The published array is transposed, and marks what is left out with −1.
    distances = torch.nan_to_num(relative_distances(pred, target, golden["norm"], visible=visible), nan=-1.0).T.float()
    torch.testing.assert_close(distances, golden["distances_norm"], rtol=1e-6, atol=1e-6)
    lengths = torch.full((len(pred),), float(golden["auc_norm_factor"]))
    for steps in (20, 7):
        thresholds = [step / steps for step in range(steps)]
        area = pck_auc(pred, target, lengths, visible=visible, thresholds=thresholds)
        torch.testing.assert_close(area, golden[f"auc_{steps}"], rtol=0, atol=1e-6)
    torch.testing.assert_close(pck_auc(pred, target, lengths, visible=visible), golden["auc_20"], rtol=0, atol=1e-6)
    torch.testing.assert_close(epe(pred, target, visible=visible).float(), golden["epe"], rtol=1e-6, atol=0)


def test_pck_of_boxes_and_of_maps_is_as_published(goldens: Goldens) -> None:
    golden = tensors(goldens("06_pck"))
    sides = golden["bboxes_xyxy"][:, 2:] - golden["bboxes_xyxy"][:, :2]
    for threshold in (0.05, 0.2):
        shares = pck(golden["pred"], golden["gt"], sides.amax(-1), visible=golden["mask"], threshold=threshold)
        expected = golden[f"class_pck_bbox_thr0p{str(threshold)[2:]}"]
        torch.testing.assert_close(shares.nanmean(), expected, rtol=0, atol=1e-6)
    maps = [golden[f"hm_{name}"] for name in ("output", "target")]
    height, width = maps[0].shape[-2:]
    peaks = []
    for values in maps:
        index = values.flatten(-2).argmax(-1)
        points = torch.stack([index % width, index // width], dim=-1).double()
        peaks.append(torch.where(values.amax((-2, -1))[..., None] > 0, points, -1.0))
    # mmpose's own default divides x by the height and y by the width.
    cases = (
        ("pose_pck0", [height, width], 0.05),
        ("pose_pck1", [height, width], 0.1),
        ("pose_pck_wh", [width, height], 0.05),
    )
    for key, size, threshold in cases:
        lengths = torch.tensor(size).double().expand(len(peaks[0]), 2)
        shares = pck(*peaks, lengths, visible=golden["hm_mask"], threshold=threshold)
        expected = golden[f"{key}_per_joint"]
        torch.testing.assert_close(torch.nan_to_num(shares, nan=-1.0), expected, rtol=0, atol=1e-6)


def test_the_edge_is_strict_unless_inclusive(goldens: Goldens) -> None:
    # Distances that binary numbers hold exactly: 3, 4 and 5.
    pred, target = torch.tensor([[[3.0, 4.0], [4.0, 3.0]], [[0.0, 5.0], [5.0, 1.0]]]), torch.zeros(2, 2, 2)
    lengths = torch.tensor([10.0, 10.0])
    assert pck(pred, target, lengths, threshold=0.5).tolist() == [0, 0]
    assert pck(pred, target, lengths, threshold=0.5, inclusive=True).tolist() == [1, 0.5]
    area = {
        inclusive: pck_auc(pred, target, lengths, thresholds=(0.5,), inclusive=inclusive) for inclusive in (True, False)
    }
    assert area == {True: torch.tensor(0.75), False: torch.tensor(0.0)}
    edge = tensors(goldens("06_pck"))["edge_per_joint_thr_0p05_norm100"]
    assert (
        edge.tolist()
        == pck(
            torch.tensor([[[5.0, 0.0], [4.9, 0.0]]]), torch.zeros(1, 2, 2), torch.tensor([100.0]), threshold=0.05
        ).tolist()
    )


@pytest.mark.parametrize("reading", ["hrnet", "mmpose"])
def test_pckh_is_as_published_in_both_readings(goldens: Goldens, reading: str) -> None:
    golden = tensors(goldens("06_mpii_pckh"))
    pred, target, visible = golden["pred_0based"] + 1, golden["gt_1based"], golden["missing"] == 0
    box = golden["headbox_xyxy"]
    lengths = 0.6 * torch.linalg.vector_norm(box[:, 2:] - box[:, :2], dim=-1)
    torch.testing.assert_close(lengths, golden["head_size"])
    inputs = pred, target, lengths
    scores = pckh(*inputs, visible=visible, reading=reading)
    tenth = pckh(*inputs, visible=visible, reading=reading, at="0.1")
    names = {name: f"hrnet_{name}" if reading == "hrnet" else f"mmpose_thr0p5_{name}_pck" for name in MPII_ROWS}
    names["mean"] = "hrnet_mean" if reading == "hrnet" else "mmpose_thr0p5_pck"
    assert scores.keys() == names.keys()
    for name, key in names.items():
        torch.testing.assert_close(100 * scores[name], golden[key], rtol=1e-9, atol=0)
    if reading == "hrnet":
        torch.testing.assert_close(100 * tenth["mean"], golden["hrnet_mean_at_0p1"], rtol=1e-9, atol=0)
        return
    torch.testing.assert_close(100 * tenth["mean"], golden["mmpose_thr0p5_pck_at_0p1"], rtol=1e-6, atol=0)
    for name in MPII_ROWS:
        torch.testing.assert_close(100 * tenth[name], golden[f"mmpose_thr0p1_{name}_pck"], rtol=1e-6, atol=0)
    distances = relative_distances(*inputs, visible=visible)
    for row, threshold in enumerate((0.10, 0.11, 0.50)):
        expected = golden["mmpose_per_joint_0p10_0p11_0p50"][row]
        torch.testing.assert_close(100 * share_correct(distances, threshold), expected, rtol=1e-9, atol=0)


def test_the_mean_of_pckh_leaves_out_pelvis_and_thorax_and_counts_the_neck() -> None:
    distances = torch.zeros(3, 16)
    for point, changes in ((6, False), (7, False), (8, True), (9, True)):
        spoiled = distances.clone()
        spoiled[:, point] = 2.0
        mean = pckh_rows(spoiled, threshold=0.5, inclusive=True)["mean"]
        assert float(mean) == pytest.approx(13 / 14 if changes else 1)
    # Counts weigh: one of three samples shows the head.
    distances[:, 9] = torch.tensor([2.0, torch.nan, torch.nan])
    rows = pckh_rows(distances, threshold=0.5, inclusive=True)
    assert float(rows["mean"]) == pytest.approx(39 / 40)
    assert float(rows["head"]) == 0
    distances[:, 9] = torch.nan
    rows = pckh_rows(distances, threshold=0.5, inclusive=True)
    assert (float(rows["mean"]), bool(rows["head"].isnan())) == (1, True)


def test_left_and_right_weigh_alike_however_often_they_are_seen() -> None:
    distances = torch.zeros(4, 16)
    distances[:, 10] = 2.0
    distances[1:, 10] = torch.nan
    assert float(pckh_rows(distances, threshold=0.5, inclusive=True)["wrist"]) == 0.5


@pytest.mark.parametrize("inclusive", [True, False])
def test_pck_and_epe_written_as_loops(inclusive: bool) -> None:
    expected, every = [], []
    for k in range(POINTS):
        hits = []
        for n in range(NUM):
            if VISIBLE[n, k]:
                distance = np.sqrt(((PRED[n, k] - TARGET[n, k]).numpy() ** 2).sum())
                every.append(distance)
                share = distance / float(LENGTHS[n])
                hits.append(share <= 0.4 if inclusive else share < 0.4)
        expected.append(np.mean(hits))
    actual = pck(PRED, TARGET, LENGTHS, visible=VISIBLE, threshold=0.4, inclusive=inclusive)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    np.testing.assert_allclose(epe(PRED, TARGET, visible=VISIBLE), np.mean(every), rtol=1e-12)


def test_what_is_left_out_and_what_is_wrong() -> None:
    pred, lengths = PRED.clone(), LENGTHS.clone()
    pred[0, 0], pred[1, 1] = torch.nan, torch.inf
    lengths[3], lengths[4], lengths[5] = 0, -1, torch.nan
    distances = relative_distances(pred, TARGET, lengths, visible=VISIBLE)
    left_out = ~VISIBLE
    left_out[3:6] = True
    assert torch.equal(distances.isnan(), left_out)
    # A diverged prediction is a wrong point, not a hidden one.
    shown = relative_distances(pred, TARGET, lengths)
    assert shown[0, 0] == shown[1, 1] == torch.inf
    assert float(pck(pred[:1], TARGET[:1], lengths[:1], threshold=1e9)[0]) == 0
    # What hidden points hold does not matter.
    hidden = torch.where(VISIBLE[..., None], PRED, torch.nan)
    for score in (
        lambda p: pck(p, TARGET, LENGTHS, visible=VISIBLE, threshold=0.4),
        lambda p: epe(p, TARGET, visible=VISIBLE),
    ):
        assert torch.equal(score(hidden), score(PRED))
    nothing = torch.zeros(NUM, POINTS, dtype=torch.bool)
    for value in (
        pck(PRED, TARGET, LENGTHS, visible=nothing, threshold=0.4).nanmean(),
        pck_auc(PRED, TARGET, LENGTHS, visible=nothing),
        epe(PRED, TARGET, visible=nothing),
    ):
        assert bool(value.isnan())


def test_one_length_per_axis() -> None:
    pred = torch.tensor([[[6.0, 0.0], [0.0, 6.0]]])
    shares = pck(pred, torch.zeros(1, 2, 2), torch.tensor([[10.0, 100.0]]), threshold=0.5)
    assert shares.tolist() == [0, 1]


ROOTED = root_relative(PRED, 1), root_relative(TARGET, 1)
SEEN = VISIBLE.any(-1)
CASES: list[tuple[Callable[[], Any], tuple[Tensor, ...], Tensor, bool]] = [
    (lambda: PCK(threshold=0.4), (PRED, TARGET, LENGTHS), pck(PRED, TARGET, LENGTHS, threshold=0.4).mean(), True),
    (
        PCK,
        (PRED, TARGET, LENGTHS, VISIBLE),
        pck(PRED, TARGET, LENGTHS, visible=VISIBLE, threshold=0.2).nanmean(),
        True,
    ),
    (
        lambda: PCK(threshold=0, inclusive=True),
        (TARGET, TARGET, LENGTHS),
        torch.tensor(1.0, dtype=torch.float64),
        True,
    ),
    (
        PCKh,
        (BODY_PRED, BODY, LENGTHS, BODY_VISIBLE),
        pckh(BODY_PRED, BODY, LENGTHS, visible=BODY_VISIBLE)["mean"],
        True,
    ),
    (
        lambda: PCKh(reading="mmpose", at="0.1"),
        (BODY_PRED, BODY, LENGTHS),
        pckh(BODY_PRED, BODY, LENGTHS, reading="mmpose", at="0.1")["mean"],
        True,
    ),
    (
        PCKAreaUnderCurve,
        (PRED, TARGET, LENGTHS, VISIBLE),
        pck_auc(PRED, TARGET, LENGTHS, visible=VISIBLE, thresholds=AUC_THRESHOLDS),
        True,
    ),
    (
        lambda: PCKAreaUnderCurve(thresholds=(0.0, 0.3), inclusive=True),
        (TARGET, TARGET, LENGTHS),
        torch.tensor(1.0, dtype=torch.float64),
        True,
    ),
    (EndPointError, (PRED, TARGET, VISIBLE), epe(PRED, TARGET, visible=VISIBLE), False),
    (MPJPE, (PRED, TARGET, VISIBLE), mpjpe(PRED, TARGET, visible=VISIBLE)[SEEN].mean(), False),
    (lambda: MPJPE(root=1), (PRED, TARGET), mpjpe(*ROOTED).mean(), False),
    (lambda: MPJPE(alignment="scale", root=1), (PRED, TARGET), n_mpjpe(*ROOTED).mean(), False),
    (
        lambda: MPJPE(alignment="similarity"),
        (PRED, TARGET, VISIBLE),
        pa_mpjpe(PRED, TARGET, visible=VISIBLE)[SEEN].mean(),
        False,
    ),
    (lambda: MPJPE(alignment="rotation"), (PRED, TARGET), pa_mpjpe(PRED, TARGET, scale=False).mean(), False),
]


@pytest.mark.parametrize(("make", "inputs", "expected", "higher"), CASES)
def test_classes_depend_neither_on_batches_nor_on_processes(
    make: Callable[[], Any], inputs: tuple[Tensor, ...], expected: Tensor, higher: bool
) -> None:
    metric = make()
    assert metric.higher_is_better is higher
    for batch in zip(*(t.split([4, 1, 6]) for t in inputs), strict=True):
        metric.update(*batch)
    torch.testing.assert_close(metric.compute(), expected, rtol=1e-13, atol=0)
    # Two processes, as torchmetrics joins them: the states gathered and concatenated.
    first, second = make(), make()
    first.update(*(t[:4] for t in inputs))
    second.update(*(t[4:] for t in inputs))
    for name, reduce in first._reductions.items():
        gathered = [torch.cat(getattr(m, name)) for m in (first, second)]
        setattr(first, name, [reduce(gathered)])
    torch.testing.assert_close(first.compute(), expected, rtol=1e-13, atol=0)
    assert getattr(heatpoint.metrics, type(metric).__name__) is type(metric)


def test_pckh_gives_its_rows() -> None:
    metric = PCKh()
    metric.update(BODY_PRED, BODY, LENGTHS, BODY_VISIBLE)
    expected = pckh(BODY_PRED, BODY, LENGTHS, visible=BODY_VISIBLE)
    assert {name: float(value) for name, value in metric.rows().items()} == {n: float(v) for n, v in expected.items()}


GOOD = torch.zeros(2, 5, 3)
ONES = torch.ones(2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: pck(GOOD, GOOD[:, 1:], ONES, threshold=1),
            "relative_distances: pred must be (N, K, D), as the target, (2, 4, 3), got (2, 5, 3).",
        ),
        (
            lambda: pck(GOOD, GOOD, torch.ones(2, 2), threshold=1),
            "relative_distances: lengths must be (2,) or (2, 3), one length per sample, got (2, 2).",
        ),
        (
            lambda: pck(GOOD, GOOD, ONES, visible=ONES, threshold=1),
            "relative_distances: visible must be (2, 5), one flag per point, got (2,).",
        ),
        (
            lambda: pck(GOOD, GOOD, ONES, threshold=float("nan")),
            "pck: threshold must be a finite number, got nan.",
        ),
        (lambda: share_correct(ONES, 1), "share_correct: distances must be (N, K), got (2,)."),
        (lambda: epe(GOOD[:0], GOOD[:0]), "epe: pred must hold at least one sample, got (0, 5, 3)."),
        (lambda: epe(ONES, ONES), "epe: pred must be (N, K, D), as the target, (2,), got (2,)."),
        (
            lambda: mean_share(torch.zeros(2, 3), thresholds=(), inclusive=True),
            "pck_auc: thresholds must hold at least one number, got [].",
        ),
        (lambda: pckh(GOOD, GOOD, ONES), "pckh: pred must be (N, 16, 2), MPII's points, got (2, 5)."),
        (
            lambda: pckh(BODY, BODY, LENGTHS, reading="hrnett"),
            "pckh: reading must be one of hrnet, mmpose, got 'hrnett'. Did you mean hrnet?",
        ),
        (lambda: PCKh(at="0.2"), "PCKh: at must be one of 0.1, 0.5, got '0.2'. Did you mean 0.5 or 0.1?"),
        (lambda: PCK(threshold=float("inf")), "PCK: threshold must be a finite number, got inf."),
        (
            lambda: MPJPE(alignment="similar"),
            "MPJPE: alignment must be one of none, rotation, scale, similarity, got 'similar'. Did you mean similarity?",
        ),
        (lambda: MPJPE(root=-1), "MPJPE: root must be the index of a point, got -1."),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
