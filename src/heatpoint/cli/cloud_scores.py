"""Scores of point clouds as columns of a table, and the lines below it."""

from __future__ import annotations

from typing import Any

PCK_LEGEND = (
    "PCK@t: share of keypoints nearer than t, in the cloud's own unit; r: correlation of confidence with correctness."
)
DAS_LEGEND = (
    "DAS: mean of forward and backward agreement; keypoints that never move agree as well, see docs/results.md."
)


def legend(row: dict[str, Any]) -> str:
    """What the headings mean."""
    return DAS_LEGEND if "das" in row else PCK_LEGEND


def columns(row: dict[str, Any]) -> list[str]:
    """Headings for a row of scores: of named keypoints, or of the agreement of unnamed ones.

    >>> columns({"das": {"forward": 1.0, "backward": 0.5, "mean": 0.75}})
    ['DAS %', 'forward %', 'backward %']
    """
    if "das" in row:
        return ["DAS %", "forward %", "backward %"]
    shown = [f"PCK@{at} %\n{by}" for by, shares in row["pck"].items() for at in shares]
    return [*shown, "distance", "r\npoint"]


def numbers(row: dict[str, Any]) -> list[str]:
    """A row of scores, as `columns` heads it.

    >>> numbers({"das": {"forward": 1.0, "backward": 0.5, "mean": 0.75}})
    ['75.00', '100.00', '50.00']
    """
    if "das" in row:
        return [f"{100 * row['das'][key]:.2f}" for key in ("mean", "forward", "backward")]
    shares = [f"{100 * share:.2f}" for by in row["pck"].values() for share in by.values()]
    return [*shares, f"{row['distance']:.5f}", f"{row['correlation']['confidence']:.3f}"]


def more(row: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The curves of correct keypoints, the shares under the best of turned labels, and what was left out.

    >>> row = {"pck": {}, "curve": {"thresholds": []}, "left_out": 0, "pck_turned": {"euclidean": {"0.01": 0.5}}}
    >>> more(row, {})
    ['PCK % euclidean under the best turned labels @0.01 50.0']
    """
    if "das" in row:
        return []
    lines = []
    at = row["curve"]["thresholds"]
    for by in row["pck"]:
        values = ", ".join(f"@{t:g} {100 * share:.1f}" for t, share in zip(at, row["curve"][by], strict=True) if t)
        lines.append(f"PCK % {by} {values}")
    for by, shares in row.get("pck_turned", {}).items():
        values = ", ".join(f"@{t} {100 * share:.1f}" for t, share in shares.items())
        lines.append(f"PCK % {by} under the best turned labels {values}")
    if row["left_out"]:
        lines.append(f"{row['left_out']} of {found['num_images']} clouds have no keypoint and are left out")
    return lines
