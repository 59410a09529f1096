"""Scores of points in images, as a terminal shows them."""

from __future__ import annotations

from typing import Any

MTFL_COLUMNS = ("MTFL\npx", "MTFL\nrel %")
LEGEND = (
    "FR: share of faces whose error is above 10 % of the normaliser; AUC: up to there; "
    "r: correlation of confidence with correctness."
)


def legend(row: dict[str, Any]) -> str:
    """What the headings mean: the same for all rows."""
    return LEGEND


def columns(first_row: dict[str, Any]) -> list[str]:
    """Headers of the table: errors under every normaliser, what is read from their distribution, correlations."""
    headers = [f"NME %\n{name}" for name in first_row["nme"]]
    headers += ["\nFR %", "\nAUC", "r\npoint", "r\nface", "r peak\npoint"]
    return [*headers, *(MTFL_COLUMNS if "mtfl" in first_row else ())]


def numbers(row: dict[str, Any]) -> list[str]:
    """A decoder's line under these headers."""
    found = [f"{100 * value:.3f}" for value in row["nme"].values()]
    found += [f"{100 * row['failure_rate']:.2f}", f"{row['area_under_curve']:.4f}"]
    correlation = row["correlation"]
    found += [f"{correlation['confidence'][key]:.3f}" for key in ("point", "face")]
    found.append(f"{correlation['peak']['point']:.3f}")
    if "mtfl" in row:
        found += [f"{row['mtfl']['absolute_px']:.3f}", f"{row['mtfl']['relative_percent']:.3f}"]
    return found


def more(row: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The scores that only some sets have: bodies, bodies in space, subsets."""
    lines = []
    normalizer = found["protocol"]["normalizer"]
    if "coco" in row:
        lines.append("COCO " + ", ".join(f"{name} {value:.3f}" for name, value in row["coco"].items()))
    if "oks" in row:
        lines.append(
            f"OKS {row['oks']['mean']:.3f}, its correlation with the peak {row['oks']['peak_correlation']:.3f}"
        )
    for reading, shares in row.get("pckh", {}).items():
        lines.append(
            f"PCKh % ({reading}) " + ", ".join(f"@{at} {100 * part['mean']:.2f}" for at, part in shares.items())
        )
    if row.get("space"):
        names = {"MPJPE": "mpjpe_mm", "PA-MPJPE": "pa_mpjpe_mm", "N-MPJPE": "n_mpjpe_mm"}
        lines.append(", ".join(f"{name} {row['space'][key]:.1f} mm" for name, key in names.items()))
    if "subsets" in row:
        parts = (f"{tag} {100 * part['nme'][normalizer]:.3f}" for tag, part in row["subsets"].items())
        lines.append(f"NME % {normalizer} by subset: " + ", ".join(parts))
    return lines
