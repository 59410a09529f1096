"""COCO's greedy matching of detections to persons, for all images, thresholds and ranges of area at once.

Every number is that of COCO's evaluator to the last bit: the same operations in the same order, sums over the same points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from heatpoint.metrics._coco_records import Annotated, Detected, Flags, Floats, Whole

PAIRS_AT_ONCE = 8192  # What fits a processor's cache.
Matches = tuple[Flags, Flags]


@dataclass(frozen=True)
class Pairs:
    """Persons and detections of the same image and category, P of them, those of one detection together.

    Attributes:
        detection: (P,) index.
        person: (P,) index.
        similarity: (P,) OKS.
    """

    detection: Whole
    person: Whole
    similarity: Floats


def ranks(group: Whole, score: Floats) -> tuple[Whole, Whole]:
    """The order by group, then score from high to low, then place, and each ordered one's rank in its group."""
    order = np.lexsort((-score, group))
    ordered = group[order]
    is_first = np.ones(len(ordered), dtype=np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    places = np.arange(len(ordered))
    return order, places - np.maximum.accumulate(np.where(is_first, places, 0))


def pairs_of(true: Annotated, found: Detected, true_group: Whole, group: Whole, sigmas: Floats) -> Pairs:
    """Every pair of a detection and a person of one group, in the detections' order and the persons'."""
    by_group = np.argsort(true_group, kind="stable")
    ordered = true_group[by_group]
    first = np.searchsorted(ordered, group, side="left")
    count = np.searchsorted(ordered, group, side="right") - first
    detection = np.repeat(np.arange(len(group)), count)
    before = np.cumsum(count) - count
    person = by_group[np.repeat(first - before, count) + np.arange(len(detection))]
    similarity = np.empty(len(detection))
    num_labelled = true.labelled.sum(axis=1)[person]
    # A distance beyond what a float can square is as good as any: its similarity is 0.
    with np.errstate(over="ignore"):
        for chosen, number in _alike(num_labelled):
            at, to = detection[chosen], person[chosen]
            similarity[chosen] = _similarities(true, found, at, to, int(number), sigmas)
    return Pairs(detection, person, similarity)


def _alike(num_labelled: Whole) -> Iterator[tuple[Whole, int]]:
    """The pairs in portions of the same number of labelled points."""
    for number in np.unique(num_labelled):
        chosen = np.flatnonzero(num_labelled == number)
        for start in range(0, len(chosen), PAIRS_AT_ONCE):
            yield chosen[start : start + PAIRS_AT_ONCE], int(number)


def _similarities(true: Annotated, found: Detected, at: Whole, to: Whole, number: int, sigmas: Floats) -> Floats:
    """OKS of pairs whose persons all have `number` labelled points."""
    if number:
        dx, dy = found.x[at] - true.x[to], found.y[at] - true.y[to]
    else:
        # Nothing to compare with: how far each point lies outside the box, enlarged by its size on every side.
        x, y, width, height = true.box[to, :, None].transpose(1, 0, 2)
        dx = _outside(found.x[at], x - width, x + width * 2)
        dy = _outside(found.y[at], y - height, y + height * 2)
    exponent = (dx**2 + dy**2) / (sigmas * 2) ** 2 / (true.area[to] + np.spacing(1))[:, None] / 2
    if 0 < number < exponent.shape[1]:
        # numpy sums in an order that depends on how many there are, so the labelled points are packed together first.
        exponent = exponent[true.labelled[to]].reshape(-1, number)
    similarity: Floats = np.exp(-exponent).sum(axis=1) / exponent.shape[1]
    return similarity


def _outside(values: Floats, low: Floats, high: Floats) -> Floats:
    return np.maximum(0, low - values) + np.maximum(0, values - high)


def match(pairs: Pairs, rank: Whole, is_ignored: Flags, is_crowd: Flags, thresholds: Floats) -> Matches:
    """Lets each detection, from the best of an image to the worst, take a person.

    It takes the free one most similar to it, at least by the threshold; a person to be ignored only where no other is free;
    of equals the last. A crowd is always free.

    Args:
        pairs: Those of the detections that are scored.
        rank: (D,) of each detection in its image.
        is_ignored: (G, A), by range of area.
        is_crowd: (G,).
        thresholds: (T,), less than 1: COCO's evaluator would take less for 1.

    Returns:
        (D, A, T) whether a detection has a person, and whether that person is ignored.
    """
    shape = is_ignored.shape[1], len(thresholds)
    is_taken = np.zeros((len(is_crowd), *shape), dtype=np.bool_)
    matched = np.zeros((len(rank), *shape), dtype=np.bool_)
    ignored = np.zeros_like(matched)
    near = np.flatnonzero(pairs.similarity >= thresholds.min())
    detection, person, similarity = pairs.detection[near], pairs.person[near], pairs.similarity[near]
    # Places among equals go by the order of persons, which is that of the pairs.
    order = np.lexsort((np.arange(len(near)), similarity, detection, rank[detection]))
    detection, person, similarity = detection[order], person[order], similarity[order]
    bounds = np.searchsorted(rank[detection], np.arange(rank.max(initial=-1) + 2))
    for start, stop in pairwise(bounds.tolist()):
        if start == stop:
            continue
        at, to = detection[start:stop], person[start:stop]
        is_open = ~is_taken[to] | is_crowd[to, None, None]
        is_open &= similarity[start:stop, None, None] >= thresholds
        place = np.arange(stop - start)[:, None] + (stop - start) * ~is_ignored[to]
        segments = np.flatnonzero(np.diff(at, prepend=-1))
        best = np.maximum.reduceat(np.where(is_open, place[..., None], -1), segments, axis=0)
        which, ranges, levels = np.nonzero(best >= 0)
        taken = to[best[which, ranges, levels] % (stop - start)]
        is_taken[taken, ranges, levels] = True
        matched[at[segments[which]], ranges, levels] = True
        ignored[at[segments[which]], ranges, levels] = is_ignored[taken, ranges]
    return matched, ignored


def precision_at(
    is_right: Flags, is_wrong: Flags, score: Floats, num_persons: int, recalls: Floats
) -> tuple[Floats, float, NDArray[np.float64]]:
    """The precision envelope at each recall, the final recall, and the score at each recall, of detections best first.

    Args:
        is_right: (D,).
        is_wrong: (D,); a detection that is neither is ignored.
        score: (D,), descending.
        num_persons: At least 1.
        recalls: (R,).

    Returns:
        (R,), a number, (R,).
    """
    right, wrong = np.cumsum(is_right).astype(np.float64), np.cumsum(is_wrong).astype(np.float64)
    recall = right / num_persons
    precision = right / (wrong + right + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, recalls, side="left")
    reached = at[at < len(recall)]
    sampled, scores = np.zeros(len(recalls)), np.zeros(len(recalls))
    sampled[: len(reached)], scores[: len(reached)] = envelope[reached], score[reached]
    return sampled, float(recall[-1]) if len(recall) else 0.0, scores
