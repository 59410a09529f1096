"""Scores of surfaces as columns of a table, and what stands below it."""

from __future__ import annotations

from typing import Any

PER_SURFACE = "MAD px\n{}"
LEGEND = (
    "MAD: mean absolute distance along the column, in pixels of the scan; std: of the distances over columns, and over scans of "
    "each scan's mean; r: correlation of confidence with minus the distance; band: holds 90 % of the map."
)


def legend(row: dict[str, Any]) -> str:
    """What the headings mean: the same for all rows."""
    return LEGEND


def columns(first_row: dict[str, Any]) -> list[str]:
    r"""Headers: the error of each surface and of all, its two deviations, and what confidence and bands are worth.

    >>> columns({"mad_px": {"ILM": 0.2, "overall": 0.2}})
    ['MAD px\nILM', 'MAD px\noverall', 'std px\ncolumns', 'std px\nscans', 'r\nrow', 'in 90 %\nband %']
    """
    names = [PER_SURFACE.format(name) for name in first_row["mad_px"]]
    micrometres = ["MAD µm\noverall"] if "mad_um" in first_row else []
    return [*names, *micrometres, "std px\ncolumns", "std px\nscans", "r\nrow", "in 90 %\nband %"]


def numbers(row: dict[str, Any]) -> list[str]:
    """The numbers of a row, as many as there are columns."""
    found = [f"{value:.3f}" for value in row["mad_px"].values()]
    found += [f"{row['mad_um']['overall']:.3f}"] if "mad_um" in row else []
    found += [f"{row['std_px']['overall']:.3f}", f"{row['scan_std_px']['overall']:.3f}"]
    return [*found, f"{row['correlation']['confidence']['row']:.3f}", f"{100 * row['band']['coverage']['overall']:.1f}"]


def more(row: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Lines below the table: columns scored, surfaces that cross, bands, subsets."""
    crossing = f"{row['violations']} of {row['pairs']} pairs of neighbouring surfaces cross"
    lines = [f"{row['columns']} rows scored; {crossing}; bands are {row['band']['width_px']:.2f} px wide in the mean"]
    if "subsets" in row:
        parts = (f"{tag} {part['mad_px']['overall']:.3f}" for tag, part in row["subsets"].items())
        lines.append("MAD px overall by subset: " + ", ".join(parts))
    return lines
