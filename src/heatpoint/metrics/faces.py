"""What is read from the errors of many faces: failures, curves, subsets, and the two numbers of MTFL; plain functions.

Errors are fractions here (0.05), never percentages, unless the name says percent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from heatpoint._checks import check_real, check_whole, message
from heatpoint._numerics import full_precision
from heatpoint.metrics.functional import normalizer_distance, point_errors


def failure_rate(nme: Tensor, threshold: float = 0.1) -> Tensor:
    """Share of faces whose normalised mean error is greater than the threshold.

    Args:
        nme: (N,) fractions. NaN, as a diverged prediction gives, is a failure.
        threshold: A fraction; 0.1 is usual.

    >>> failure_rate(torch.tensor([0.03, 0.1, 0.11, 0.2]))
    tensor(0.5000)
    """
    return 1 - cumulative_error(nme, torch.tensor([threshold], dtype=nme.dtype, device=nme.device))[0]


def cumulative_error(nme: Tensor, thresholds: Tensor) -> Tensor:
    """The cumulative error distribution (CED): for each threshold the share of faces with at most that error.

    Args:
        nme: (N,) fractions, N at least 1.
        thresholds: (T,).

    Returns:
        (T,).

    >>> cumulative_error(torch.tensor([0.03, 0.08, 0.2]), torch.tensor([0.0, 0.05, 0.1, 0.2]))
    tensor([0.0000, 0.3333, 0.6667, 1.0000])
    """
    _check_faces("cumulative_error", nme)
    return (nme <= thresholds.to(nme)[:, None]).to(nme.dtype).mean(dim=-1)


def area_under_curve(nme: Tensor, threshold: float = 0.1) -> Tensor:
    """Area under the cumulative error distribution up to the threshold, as a share of the whole: (1/t) ∫₀ᵗ CED(e) de.

    The curve is a staircase, so the integral is exactly mean(max(0, 1 − nme / t)). Published scripts sum Simpson's or the
    trapezoid rule over samples of the curve and differ by about their step.

    Args:
        nme: (N,) fractions, N at least 1. NaN counts as a failure.
        threshold: t, greater than 0.

    Raises:
        ValueError: If the threshold is not greater than 0.

    >>> area_under_curve(torch.tensor([0.0, 0.05, 0.1, 0.3]))
    tensor(0.3750)
    """
    _check_faces("area_under_curve", nme)
    if not threshold > 0:
        raise ValueError(message("area_under_curve", "threshold", "be greater than 0", threshold))
    return torch.nan_to_num(1 - nme / threshold, nan=0.0).clamp(min=0).mean()


def error_curve(nme: Tensor, *, limit: float = 0.1, num_thresholds: int = 101) -> tuple[Tensor, Tensor]:
    """The cumulative error distribution at evenly spaced thresholds from 0 to a limit: what a figure draws.

    Args:
        nme: (N,) fractions, N at least 1. NaN counts as a failure.
        limit: The last threshold, greater than 0.
        num_thresholds: T, at least 2.

    Returns:
        Thresholds (T,) and shares of faces (T,), both in the dtype of `nme`.

    Raises:
        ValueError: If the limit or the number of thresholds is too small.

    >>> error_curve(torch.tensor([0.03, 0.08, 0.2]), num_thresholds=3)
    (tensor([0.0000, 0.0500, 0.1000]), tensor([0.0000, 0.3333, 0.6667]))
    """
    check_real("error_curve", "limit", limit, "be greater than 0", above=0)
    check_whole("error_curve", "num_thresholds", num_thresholds, "be at least 2", least=2)
    thresholds = torch.linspace(0, limit, num_thresholds, dtype=nme.dtype, device=nme.device)
    return thresholds, cumulative_error(nme, thresholds)


def by_subset(
    errors: Tensor, tags: Sequence[frozenset[str]], *, score: Callable[[Tensor], Tensor] = torch.mean
) -> dict[str, float]:
    """A score of every subset of faces that a set names ("occlusion", "challenge"); a face may belong to several.

    Args:
        errors: (N,).
        tags: The subsets of each face, N of them, as in `Sample.tags`.
        score: What to take of a subset's errors: their mean, `failure_rate`, `area_under_curve` or any other.

    Returns:
        Score by name of the subset, in alphabetical order; empty where no face has a tag.

    Raises:
        ValueError: If the numbers of errors and tags differ.

    >>> tags = [frozenset({"blur"}), frozenset(), frozenset({"blur", "pose"})]
    >>> by_subset(torch.tensor([0.25, 0.5, 0.75]), tags)
    {'blur': 0.5, 'pose': 0.75}
    >>> by_subset(torch.tensor([0.05, 0.5, 0.75]), tags, score=failure_rate)
    {'blur': 0.5, 'pose': 1.0}
    """
    if errors.shape != (len(tags),):
        rule = f"be ({len(tags)},), one error for each face's tags"
        raise ValueError(message("by_subset", "errors", rule, tuple(errors.shape)))
    names = sorted(set().union(*tags))
    return {name: float(score(errors[subset_mask(tags, name).to(errors.device)])) for name in names}


def subset_mask(tags: Sequence[frozenset[str]], name: str) -> Tensor:
    """Which faces belong to a subset: (N,) bool.

    >>> subset_mask([frozenset({"blur"}), frozenset()], "blur")
    tensor([ True, False])
    """
    return torch.tensor([name in face for face in tags], dtype=torch.bool)


@full_precision
def mtfl_errors(
    pred: Tensor, target: Tensor, *, pixel_scale: Tensor | None = None, eyes: tuple[int, int] = (0, 1)
) -> tuple[Tensor, Tensor]:
    """Absolute and relative error of MTFL's five points (Sampling-Argmax, Appendix A, Table 8).

    Absolute: mean over faces of the mean point distance, in pixels. Relative: 100 times the mean over faces of that
    distance divided by the distance between the eyes. As in the published code, faces whose eyes are less than 0.001
    pixels apart are left out of both.

    Args:
        pred: (N, K, 2).
        target: (N, K, 2).
        pixel_scale: (N,) factor from these pixels to those of the original image; None is 1.
        eyes: Indices of the two eyes.

    Returns:
        Two scalars: pixels, and percent.

    Raises:
        ValueError: If a shape does not fit, or no face is left.

    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]]])
    >>> mtfl_errors(target + torch.tensor([3.0, 4.0]), target, pixel_scale=torch.tensor([2.0]))
    (tensor(10.), tensor(50.))
    """
    absolute, relative = mtfl_face_errors(pred, target, pixel_scale=pixel_scale, eyes=eyes)
    if not absolute.numel():
        raise ValueError(message("mtfl_errors", "target", "hold a face whose eyes are apart", tuple(target.shape)))
    return absolute.mean(), relative.mean()


@full_precision
def mtfl_face_errors(
    pred: Tensor, target: Tensor, *, pixel_scale: Tensor | None = None, eyes: tuple[int, int] = (0, 1)
) -> tuple[Tensor, Tensor]:
    """What `mtfl_errors` averages: pixels and percent of each face that counts, two tensors of one length.

    >>> target = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[7.0, 7.0], [7.0, 7.0]]])
    >>> mtfl_face_errors(target + 1.0, target)
    (tensor([1.4142]), tensor([14.1421]))
    """
    errors = point_errors(pred, target)
    if errors.ndim != 2:
        raise ValueError(message("mtfl_errors", "pred", "be (N, K, 2)", tuple(pred.shape)))
    scale = errors.new_ones(len(errors)) if pixel_scale is None else pixel_scale.to(errors)
    if scale.shape != errors.shape[:1]:
        rule = f"be ({len(errors)},), one factor per face"
        raise ValueError(message("mtfl_errors", "pixel_scale", rule, tuple(scale.shape)))
    distance = normalizer_distance(target, ((eyes[0],), (eyes[1],))) * scale
    absolute = errors.mean(dim=-1) * scale
    kept = distance >= 1e-3
    return absolute[kept], 100 * absolute[kept] / distance[kept]


def _check_faces(function: str, nme: Tensor) -> None:
    if nme.ndim != 1 or not nme.numel():
        raise ValueError(message(function, "nme", "be (N,) with at least one face", tuple(nme.shape)))
