"""Errors in space: published numbers, an oracle written as loops, invariances, degenerate poses, gradients, error texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heatpoint.metrics.pose3d import (
    axis_errors,
    mpjpe,
    n_mpjpe,
    pa_mpjpe,
    root_relative,
    scale_aligned,
    similarity_aligned,
)

Goldens = Callable[[str], dict[str, np.ndarray]]
NUM, POINTS = 5, 7


def poses(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(NUM, POINTS, 3, generator=generator, dtype=torch.float64) * 300
    pred = 1.3 * target.flip(-1) + 80 * torch.randn(NUM, POINTS, 3, generator=generator, dtype=torch.float64) + 500
    visible = torch.rand(NUM, POINTS, generator=generator) < 0.7
    visible[:, :3] = True
    return pred, target, visible


def rotations(seed: int, num: int, dimension: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(num, dimension, dimension, generator=generator, dtype=torch.float64))[0]
    q[:, :, 0] *= torch.linalg.det(q).sign()[:, None]
    return q


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def close(actual: Tensor, expected: Tensor, relative: float = 1e-8) -> None:
    torch.testing.assert_close(
        actual.double(), expected.double(), rtol=relative, atol=relative * float(expected.abs().max())
    )


def test_the_published_alignments(goldens: Goldens) -> None:
    golden = tensors(goldens("06_mpjpe"))
    pred, target = golden["pred"], golden["gt"]
    aligned = similarity_aligned(pred, target)
    close(aligned, golden["sa_aligned"])
    close(aligned[:1], similarity_aligned(pred[:1], target[:1]))
    close(aligned[0], golden["sa_aligned_single"])
    close(similarity_aligned(pred, target, scale=False), golden["sa_rigid_align_noscale"])
    close(torch.linalg.vector_norm(aligned - target, dim=-1), golden["sa_pa_error_per_joint"])
    close(pa_mpjpe(pred, target).mean(), golden["sa_pa_mpjpe"])
    single = similarity_aligned(golden["pred_f32"], target.float())
    assert single.dtype == torch.float32
    # Inputs of single precision: points of a metre have steps of 6e-5 mm.
    close(single, golden["sa_aligned_f32in"], 1e-6)


@pytest.mark.parametrize(
    ("key", "align"),
    [("none", lambda p, t: p), ("procrustes", similarity_aligned), ("scale", scale_aligned)],
)
def test_the_published_means_over_visible_points(goldens: Goldens, key: str, align: Any) -> None:
    golden = tensors(goldens("06_mpjpe"))
    pred, target, visible = golden["pred"], golden["gt"], golden["mask"]
    moved = align(pred, target)
    close(mpjpe(moved, target).mean(), golden[f"mpjpe_{key}_allvisible"])
    # mmpose aligns over all points and averages over all visible points of the set.
    count = visible.sum(-1)
    pooled = (mpjpe(moved, target, visible=visible) * count).sum() / count.sum()
    close(pooled, golden[f"mpjpe_{key}"])


def test_human36m_is_scored_as_published(goldens: Goldens) -> None:
    golden = tensors(goldens("08_h36m"))
    pred, target = golden["eval_pred_cam_rootrel_17"], root_relative(golden["cam"], 0)[:, :17]
    close(mpjpe(pred, target).mean(), golden["eval_mpjpe"], 1e-6)
    close(pa_mpjpe(pred, target).mean(), golden["eval_pa_mpjpe_printed"], 1e-6)
    close(similarity_aligned(pred, target), golden["eval_pa_aligned_17"], 1e-6)
    # The published line gives y with two decimals.
    printed = axis_errors(pred, target).mean(0)
    close(printed[[0, 2]], golden["eval_xyz_printed"][[0, 2]], 1e-6)
    assert abs(printed[1] - golden["eval_xyz_printed"][1]) <= 0.005


def test_errors_are_means_over_visible_points_written_as_loops() -> None:
    pred, target, visible = poses()
    for seen in (None, visible):
        expected, per_axis = [], []
        for n in range(NUM):
            kept = [k for k in range(POINTS) if seen is None or seen[n, k]]
            differences = np.array([(pred[n, k] - target[n, k]).numpy() for k in kept])
            expected.append(np.mean([np.sqrt((row**2).sum()) for row in differences]))
            per_axis.append(np.abs(differences).mean(0))
        np.testing.assert_allclose(mpjpe(pred, target, visible=seen), expected, rtol=1e-13)
        np.testing.assert_allclose(axis_errors(pred, target, visible=seen), per_axis, rtol=1e-13)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("scale", [True, False])
def test_no_small_turn_scale_or_shift_improves_on_the_alignment(dimension: int, scale: bool) -> None:
    pred, target, visible = poses()
    pred, target = pred[..., :dimension], target[..., :dimension]

    def squares(points: Tensor) -> Tensor:
        return ((points - target).square().sum(-1) * visible).sum(-1)

    aligned = similarity_aligned(pred, target, visible=visible, scale=scale)
    best = squares(aligned)
    generator = torch.Generator().manual_seed(4)
    for size in (1e-3, 0.1, 2.0):
        for _ in range(20):
            skew = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64) * size
            turn = torch.linalg.matrix_exp(skew - skew.mT)
            factor = 1 + size * float(torch.randn((), generator=generator)) if scale else 1.0
            moved = factor * aligned @ turn + 100 * size * torch.randn(
                dimension, generator=generator, dtype=torch.float64
            )
            assert bool((squares(moved) >= best - 1e-6).all())


@pytest.mark.parametrize("dimension", [2, 3])
def test_alignment_undoes_rotation_scale_and_shift_of_visible_points(dimension: int) -> None:
    _, target, visible = poses(1)
    target = target[..., :dimension]
    factor = torch.tensor([0.2, 0.7, 1.0, 3.0, 11.0], dtype=torch.float64)[:, None, None]
    turned = target @ rotations(2, NUM, dimension) - 77
    spoiled = torch.where(visible[..., None], factor * turned, torch.nan)
    # Float64 keeps 16 digits of points of up to 1e4.
    assert float(pa_mpjpe(spoiled, target, visible=visible).max()) < 1e-9
    assert float(pa_mpjpe(turned, target, scale=False).max()) < 1e-9
    assert float(pa_mpjpe(factor * turned, target, scale=False)[0]) > 50
    assert (
        float(n_mpjpe(torch.where(visible[..., None], factor * target, torch.inf), target, visible=visible).max())
        < 1e-9
    )
    # All points of a sample are moved, those that had no say too.
    torch.testing.assert_close(
        similarity_aligned(factor * turned, target, visible=visible), target, rtol=1e-10, atol=1e-9
    )
    torch.testing.assert_close(scale_aligned(factor * target, target, visible=visible), target, rtol=1e-10, atol=1e-9)


def test_a_mirrored_pose_is_not_mirrored_back() -> None:
    _, target, _ = poses(3)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    aligned = similarity_aligned(mirrored, target)
    assert float(pa_mpjpe(mirrored, target).min()) > 20
    # A flat pose, turned about its plane, is its own mirror image in space.
    flat = target * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    assert float(pa_mpjpe(flat * torch.tensor([-1.0, 1.0, 1.0]), flat).max()) < 1e-9
    # The signed volume of the first four points keeps its sign under a rotation.
    for before, after in zip(mirrored, aligned, strict=True):
        signs = [torch.linalg.det(points[1:4] - points[0]).sign() for points in (before, after)]
        assert signs[0] == signs[1]


def degenerate() -> dict[str, tuple[Tensor, Tensor]]:
    pred, target, _ = poses(5)
    line = torch.linspace(-1, 1, POINTS, dtype=torch.float64)[:, None]
    direction, other = torch.tensor([[1.0, 2.0, -3.0]]).double(), torch.tensor([[0.0, 1.0, 1.0]]).double()
    return {
        "one point": (pred[:, :1], target[:, :1]),
        "two points": (pred[:, :2], target[:, :2]),
        "equal predictions": (torch.full_like(pred, 7.0), target),
        "equal targets": (pred, torch.full_like(pred, 7.0)),
        "all equal": (torch.full_like(pred, 7.0), torch.full_like(pred, -7.0)),
        "all zero": (torch.zeros_like(pred), torch.zeros_like(pred)),
        "on a line": ((line * direction + 4)[None], (2 * line * other - 5)[None]),
        "huge": (pred * 1e100, target),
    }


@pytest.mark.parametrize("kind", degenerate())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_degenerate_poses_have_finite_errors_and_gradients(kind: str, dtype: torch.dtype) -> None:
    pred, target = (points.to(dtype) for points in degenerate()[kind])
    if kind == "huge" and dtype == torch.float32:
        pred = degenerate()["huge"][0].mul(1e-90).to(dtype)
    for score in (mpjpe, pa_mpjpe, n_mpjpe):
        leaf = pred.clone().requires_grad_()
        error = score(leaf, target)
        error.sum().backward()
        assert error.shape == pred.shape[:1]
        assert error.dtype == dtype
        assert leaf.grad is not None
        assert bool(error.isfinite().all())
        assert bool(leaf.grad.isfinite().all())


def test_what_is_made_of_degenerate_poses() -> None:
    cases = degenerate()
    for kind in ("one point", "on a line"):
        assert float(pa_mpjpe(*cases[kind]).max()) < 1e-9
    pred, target = cases["two points"]
    length = [torch.linalg.vector_norm(p[:, 0] - p[:, 1], dim=-1) for p in (pred, target)]
    # Without a scale each end of the shorter lies half the difference in length from its aim.
    torch.testing.assert_close(pa_mpjpe(pred, target, scale=False), (length[0] - length[1]).abs() / 2)
    pred, target = cases["equal predictions"]
    torch.testing.assert_close(similarity_aligned(pred, target), target.mean(1, keepdim=True).expand_as(target))
    assert bool((scale_aligned(torch.zeros_like(target), target) == 0).all())


def test_a_sample_without_a_visible_point_and_one_that_diverged_have_no_error() -> None:
    pred, target, visible = poses()
    visible[1] = False
    pred[2, 0, 1] = torch.nan
    pred[3, 1, 1] = torch.inf
    for score in (mpjpe, pa_mpjpe, n_mpjpe):
        finite = score(pred, target, visible=visible).isfinite().tolist()
        assert finite == [True, False, False, False, True], score.__name__
    assert axis_errors(pred, target, visible=visible).isfinite().all(-1).tolist() == [True, False, False, False, True]


def test_hidden_points_touch_neither_value_nor_gradient() -> None:
    pred, target, visible = poses()
    for score in (mpjpe, pa_mpjpe, n_mpjpe):
        leaf = torch.where(visible[..., None], pred, torch.nan).requires_grad_()
        score(leaf, torch.where(visible[..., None], target, torch.inf), visible=visible).sum().backward()
        assert leaf.grad is not None
        assert bool(leaf.grad.isfinite().all())
        assert bool((leaf.grad[~visible] == 0).all())
        assert bool((leaf.grad[visible] != 0).any(-1).all())


def test_gradients_of_the_plain_error() -> None:
    pred, target, visible = poses()
    assert torch.autograd.gradcheck(
        lambda p, t: mpjpe(p, t, visible=visible), (pred.requires_grad_(), target.requires_grad_())
    )


def test_rotation_and_scale_are_constants_for_gradients() -> None:
    pred, target, _ = poses()
    leaf = pred.clone().requires_grad_()
    # The mean of what is aligned is the target's, whatever the prediction.
    similarity_aligned(leaf, target).sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) < 1e-12
    leaf = pred.clone().requires_grad_()
    scale_aligned(leaf, target).sum().backward()
    factor = (pred * target).sum((1, 2)) / pred.square().sum((1, 2))
    torch.testing.assert_close(leaf.grad, factor[:, None, None].expand_as(pred))


def test_half_precision_is_measured_in_single() -> None:
    pred, target, _ = (t.half() if t.is_floating_point() else t for t in poses())
    for score in (mpjpe, pa_mpjpe, n_mpjpe):
        error = score(pred, target)
        assert error.dtype == torch.float32
        torch.testing.assert_close(error, score(pred.double(), target.double()).float(), rtol=1e-6, atol=0)


FLAT = torch.zeros(2, 3)
GOOD = torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mpjpe(FLAT, FLAT), "mpjpe: pred must be (N, K, D), as the target, (2, 3), got (2, 3)."),
        (
            lambda: pa_mpjpe(GOOD, GOOD[:, 1:]),
            "pa_mpjpe: pred must be (N, K, D), as the target, (2, 4, 3), got (2, 5, 3).",
        ),
        (
            lambda: n_mpjpe(GOOD, GOOD, visible=torch.ones(2, 4)),
            "n_mpjpe: visible must be (2, 5), one flag per point, got (2, 4).",
        ),
        (
            lambda: similarity_aligned(GOOD, GOOD, visible=torch.ones(2)),
            "similarity_aligned: visible must be (2, 5), one flag per point, got (2,).",
        ),
        (
            lambda: scale_aligned(FLAT, FLAT),
            "scale_aligned: pred must be (N, K, D), as the target, (2, 3), got (2, 3).",
        ),
        (lambda: axis_errors(FLAT, FLAT), "axis_errors: pred must be (N, K, D), as the target, (2, 3), got (2, 3)."),
        (lambda: root_relative(GOOD, 5), "root_relative: root must be the index of a point, got 5 of (2, 5, 3)."),
    ],
)
def test_error_texts(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value) == text
