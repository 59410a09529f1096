"""Errors of points and the lengths to divide them by: closed forms, published figures, every argument and error text."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heatpoint.metrics.functional import (
    Normalizer,
    nme,
    normalizer_distance,
    pearson_correlation,
    point_errors,
)
from oracles_metrics import mean_distances

Goldens = Callable[[str], dict[str, np.ndarray]]
PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)


def faces(num: int = 5, points: int = 7, dims: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(num, points, dims)) * 40
    return torch.tensor(target + rng.normal(size=target.shape)), torch.tensor(target)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_point_errors_and_nme_match_loops(dims: int) -> None:
    pred, target = faces(dims=dims)
    visible = torch.tensor(np.random.default_rng(1).random(pred.shape[:2]) < 0.6)
    visible[:, 3] = True
    normalizer = torch.arange(1.0, 6.0, dtype=torch.float64)
    per_face, per_point = mean_distances(pred.numpy(), target.numpy(), visible.numpy())
    # float64 sums of at most 7 terms: a few ulp.
    torch.testing.assert_close(
        point_errors(pred, target), torch.tensor(per_point, dtype=torch.float64), rtol=1e-14, atol=0
    )
    got = nme(pred, target, normalizer, visible=visible)
    torch.testing.assert_close(got, torch.tensor(per_face, dtype=torch.float64) / normalizer, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        nme(pred, target, normalizer), point_errors(pred, target).mean(-1) / normalizer, rtol=1e-14, atol=0
    )


def test_errors_have_exact_gradients_and_stay_finite_in_half_precision() -> None:
    pred, target = faces(num=2, points=3)
    pred.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: nme(p, target, torch.ones(2, dtype=torch.float64)), (pred,))
    # 300 px squared overflows float16: the distance must be taken in float32.
    far = torch.full((1, 1, 2), 300.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = point_errors(far, torch.zeros_like(far))
    torch.testing.assert_close(got, torch.full((1, 1), 300 * math.sqrt(2)))


def test_an_exact_prediction_has_a_finite_gradient() -> None:
    pred = torch.zeros(2, 3, 2, requires_grad=True)
    point_errors(pred, torch.zeros(2, 3, 2)).sum().backward()
    assert pred.grad is not None
    assert bool(torch.isfinite(pred.grad).all())


def test_nme_is_the_same_at_every_scale() -> None:
    pred, target = faces()
    definition = ((0, 1), (4,))
    small = nme(pred, target, normalizer_distance(target, definition))
    large = nme(pred * 8, target * 8, normalizer_distance(target * 8, definition))
    torch.testing.assert_close(small, large, rtol=0, atol=0)  # a power of two is exact


def test_a_hidden_point_may_hold_nan_and_a_hidden_face_has_no_error() -> None:
    pred, target = faces(num=2, points=3)
    pred[:, 1] = math.nan
    visible = torch.tensor([[True, False, True], [False, False, False]])
    got = nme(pred, target, torch.ones(2, dtype=torch.float64), visible=visible)
    assert math.isfinite(got[0])
    assert math.isnan(got[1])


def test_normalizer_distance_counts_visible_points_only() -> None:
    """Unlabelled points stand at (0, 0), or anywhere: they must not touch a length."""
    nan = math.nan
    faces = torch.tensor(
        [
            [[3.0, 4.0], [11.0, 4.0], [0.0, 0.0], [5.0, 6.0]],
            [[0.0, 0.0], [nan, nan], [8.0, 8.0], [0.0, 0.0]],
            [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]],
        ]
    )
    visible = torch.tensor([[True, True, False, True], [False, False, True, False], [False] * 4])
    size = normalizer_distance(faces, "box", visible=visible)
    assert size.tolist()[:2] == [4.0, 0.0]
    assert size[2].isnan()
    assert normalizer_distance(faces, "box_max", visible=visible).tolist()[:2] == [8.0, 0.0]
    assert normalizer_distance(faces, "box_diagonal", visible=visible)[2].isnan()
    # A box that is given needs no point.
    boxes = torch.tensor([[0.0, 0.0, 9.0, 4.0], [1.0, 1.0, 5.0, 10.0], [0.0, 0.0, 4.0, 16.0]])
    assert normalizer_distance(faces, "box", box=boxes, visible=visible).tolist() == [6.0, 6.0, 8.0]
    assert normalizer_distance(faces, ((0,), (1,)), visible=visible).isnan().tolist() == [False, True, True]
    assert normalizer_distance(faces, ((0, 3), (1,)), visible=visible)[0] == pytest.approx(math.hypot(7, 1), rel=2e-7)
    assert normalizer_distance(faces, ((0, 2), (1,)), visible=visible).isnan().all()


@pytest.mark.parametrize("definition", ["box", "box_max", "box_diagonal", ((0, 1), (2,))])
def test_normalizer_distance_with_all_points_visible_is_the_same_number(definition: Normalizer) -> None:
    faces = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    expected = normalizer_distance(faces, definition)
    assert torch.equal(normalizer_distance(faces, definition, visible=torch.ones(5, 3, dtype=torch.bool)), expected)


def test_normalizer_distance_of_groups_and_boxes() -> None:
    face = torch.tensor([[[0.0, 1.0], [2.0, 1.0], [7.0, 1.0], [5.0, 9.0]]])
    assert normalizer_distance(face, ((0,), (2,))).tolist() == [7.0]
    # Float32 against float64 roots of small whole numbers: an ulp is 6e-8 of the value.
    assert normalizer_distance(face, ((0, 1), (2, 3))).item() == pytest.approx(math.sqrt(25 + 16), rel=2e-7)
    assert normalizer_distance(face, "box").item() == pytest.approx(math.sqrt(7 * 8), rel=2e-7)
    assert normalizer_distance(face, "box_max").tolist() == [8.0]
    assert normalizer_distance(face, "box_diagonal").item() == pytest.approx(math.sqrt(7 * 7 + 8 * 8), rel=2e-7)
    box = torch.tensor([[10.0, 20.0, 14.0, 45.0]])
    assert normalizer_distance(face, "box", box=box).tolist() == [10.0]
    assert normalizer_distance(face, "box_max", box=box).tolist() == [25.0]
    assert normalizer_distance(face, "box_diagonal", box=box).item() == pytest.approx(math.sqrt(16 + 625), rel=2e-7)


def test_lengths_of_a_box_are_ordered_and_scale_with_it() -> None:
    faces = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    root, most, diagonal = (normalizer_distance(faces, kind) for kind in ("box", "box_max", "box_diagonal"))
    assert bool((root <= most).all() & (most <= diagonal).all() & (diagonal <= math.sqrt(2) * most).all())
    for kind, length in (("box", root), ("box_max", most), ("box_diagonal", diagonal)):
        assert torch.equal(normalizer_distance(faces * 4, kind), length * 4)  # a power of two is exact


def test_a_box_the_wrong_way_round_measures_nothing() -> None:
    face = torch.zeros(3, 2, 2)
    boxes = torch.tensor([[0.0, 0.0, -4.0, -9.0], [0.0, 0.0, -4.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    for kind in ("box", "box_max", "box_diagonal"):
        assert normalizer_distance(face, kind, box=boxes).isnan().tolist() == [True, True, False]


def test_a_given_length_is_taken_as_it_is() -> None:
    given = torch.tensor([3.0, math.nan])
    got = normalizer_distance(torch.zeros(2, 4, 2), "given", given=given, visible=torch.zeros(2, 4, dtype=torch.bool))
    assert got[0] == 3.0
    assert got[1].isnan()
    assert normalizer_distance(torch.zeros(2, 4, 3), "given", given=given.half()).dtype == torch.float32


@PROPERTY
@given(st.integers(0, 2**31), st.floats(-5, 5).filter(lambda s: abs(s) > 0.01), st.floats(-100, 100))
def test_correlation_matches_numpy_and_ignores_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    a, b = torch.tensor(np.random.default_rng(seed).normal(size=(2, 3, 4)))
    expected = float(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])
    assert pearson_correlation(a, b).item() == pytest.approx(expected, abs=1e-12)
    # A shift of 100 costs two decimal digits of float64, a scale of 0.01 two more.
    moved = pearson_correlation(a * scale + shift, b).item()
    assert moved == pytest.approx(math.copysign(1, scale) * expected, abs=1e-10)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_correlation_with_a_constant_is_zero_with_a_finite_gradient(constant: float) -> None:
    a = torch.full((7,), constant, requires_grad=True)
    b = torch.arange(7.0, requires_grad=True)
    value = pearson_correlation(a, b)
    value.backward()
    assert value.item() == 0.0
    assert a.grad is not None
    assert b.grad is not None
    assert bool(torch.isfinite(a.grad).all() & torch.isfinite(b.grad).all())


def test_correlation_has_an_exact_gradient() -> None:
    a, b = torch.tensor(np.random.default_rng(3).normal(size=(2, 5)))
    assert torch.autograd.gradcheck(pearson_correlation, (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("name", ["wflw", "f300w", "cofw"])
def test_face_nme_goldens(goldens: Goldens, name: str) -> None:
    golden = goldens("06_nme_faces")
    pred, target = (torch.tensor(golden[f"{name}_{which}"]).double() for which in ("pred", "gt"))
    left, right = golden[f"{name}_outer_eye_corner_idx"].tolist()
    groups = golden[f"{name}_pupil_idx_left"].tolist(), golden[f"{name}_pupil_idx_right"].tolist()
    # The goldens state 1e-6 (relative here: the values are about 0.1).
    for definition, kind in ((((left,), (right,)), "interocular"), (groups, "interpupil")):
        per_face = nme(pred, target, normalizer_distance(target, definition))
        np.testing.assert_allclose(per_face, golden[f"{name}_star_nme_{kind}_per_face"], rtol=1e-6)
        if kind == "interocular":
            assert per_face.mean().item() == pytest.approx(float(golden[f"{name}_mmpose_nme_interocular"]), rel=1e-6)


@pytest.mark.parametrize(("kind", "golden_name"), [("box", "sqrt_wh"), ("box_max", "max_wh")])
def test_box_nme_goldens(goldens: Goldens, kind: Normalizer, golden_name: str) -> None:
    golden = goldens("06_nme_faces")
    pred, target, visible, box = (torch.tensor(golden[f"aflw_{k}"]) for k in ("pred", "gt", "visible", "bbox_xyxy"))
    distance = normalizer_distance(target, kind, box=box)
    every = nme(pred, target, distance).mean()
    assert every.item() == pytest.approx(float(golden[f"aflw_mmpose_nme_{golden_name}_allpoints"]), rel=1e-6)
    # mmpose averages over points, not faces: weight each face by its visible points.
    count = (visible > 0).sum(-1)
    per_point = (nme(pred, target, distance, visible=visible > 0) * count).sum() / count.sum()
    assert per_point.item() == pytest.approx(float(golden[f"aflw_mmpose_nme_{golden_name}_visible"]), rel=1e-6)


@pytest.mark.parametrize(("name", "first_pixel"), [("wflw", 0), ("f300w", 1)])
def test_goldens_of_the_published_scripts(goldens: Goldens, name: str, first_pixel: int) -> None:
    """The script for 300-W moves the points, which count from 1; lengths do not notice."""
    golden = goldens("06_nme_faces")
    pred, target = (torch.tensor(golden[f"{name}_{which}"]).double() for which in ("pred", "gt"))
    left, right = golden[f"{name}_outer_eye_corner_idx"].tolist()
    moved = target - first_pixel
    per_face = nme(pred, moved, normalizer_distance(target, ((left,), (right,))))
    assert per_face.mean().item() == pytest.approx(float(golden[f"{name}_h3r_script_nme"]), rel=1e-6)
    assert torch.equal(
        normalizer_distance(moved, "box_max"),
        normalizer_distance(moved, "box_max", box=torch.tensor(golden[f"{name}_h3r_script_p1_boxes"]).double()),
    )


def test_functional_needs_no_torchmetrics() -> None:
    code = "import sys, heatpoint.metrics.functional, heatpoint.metrics.faces; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ONE = torch.zeros(2, 3, 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: point_errors(torch.zeros(2, 3, 3), ONE),
            "point_errors: pred must have the target's shape (2, 3, 2), (…, K, D), got (2, 3, 3).",
        ),
        (
            lambda: normalizer_distance(ONE[0], "box"),
            "normalizer_distance: target must be (N, K, D), got (3, 2).",
        ),
        (
            lambda: normalizer_distance(ONE, "box", box=torch.zeros(2, 3)),
            "normalizer_distance: box must be (2, 4): x1, y1, x2, y2 of each face, got (2, 3).",
        ),
        (
            lambda: normalizer_distance(ONE, "box", visible=torch.ones(2, 4)),
            "normalizer_distance: visible must be (2, 3), one flag per point, got (2, 4).",
        ),
        (
            lambda: normalizer_distance(ONE, ((0,), (3,))),
            "normalizer_distance: definition must be 'box', 'box_max', 'box_diagonal', 'given' or two groups of point "
            "indices from 0 to 2, got ((0,), (3,)).",
        ),
        (
            lambda: normalizer_distance(ONE, "eyes"),
            "normalizer_distance: definition must be 'box', 'box_max', 'box_diagonal', 'given' or two groups of point "
            "indices from 0 to 2, got 'eyes'.",
        ),
        (
            lambda: normalizer_distance(ONE, "given"),
            "normalizer_distance: given must be (2,), one length per face, got None.",
        ),
        (
            lambda: normalizer_distance(ONE, "given", given=torch.ones(3)),
            "normalizer_distance: given must be (2,), one length per face, got (3,).",
        ),
        (lambda: nme(ONE[0], ONE[0], torch.ones(3)), "nme: pred must be (N, K, D), got (3, 2)."),
        (lambda: nme(ONE, ONE, torch.ones(3)), "nme: normalizer must be (2,), one length per face, got (3,)."),
        (
            lambda: nme(ONE, ONE, torch.tensor([1.0, 0.0])),
            "nme: normalizer must be greater than 0, got 0.0. The points or box that define it coincide: leave the face "
            "out.",
        ),
        (
            lambda: nme(ONE, ONE, torch.ones(2), visible=torch.ones(3, 2)),
            "nme: visible must be (2, 3), one flag per point, got (3, 2).",
        ),
        (
            lambda: pearson_correlation(torch.zeros(3), torch.zeros(2)),
            "pearson_correlation: a must have the shape of b, (2,), and at least two entries, got (3,).",
        ),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
