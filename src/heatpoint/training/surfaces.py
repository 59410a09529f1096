"""Scans to located surfaces: rows, 90 % bands and confidence, with ordering and the flip test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from heatpoint.density import Density
from heatpoint.frames import FloatArray
from heatpoint.localizers import Localizer
from heatpoint.ordering import ordered
from heatpoint.scan_frame import ScanFrame

Ordering = Literal["none", "cumulative", "isotonic"]
LEVEL = 0.9  # Share of a map's mass that its band holds, as much above as below.


class Surfaces(NamedTuple):
    """What was located in a batch of scans, each (B, S, columns) in input rows.

    Attributes:
        rows: The localizer's readout, ordered if the recipe says so.
        low: Upper end of the band (rows grow downwards), the quantile of (1 - level) / 2.
        high: Lower end of the band, the quantile of (1 + level) / 2.
        variance: In input rows².
        confidence: The localizer's; larger is surer.
    """

    rows: Tensor
    low: Tensor
    high: Tensor
    variance: Tensor
    confidence: Tensor


@dataclass(frozen=True, eq=False)
class ScanFound:
    """What was located in one scan, at every column of the scan and in its rows; fields as in `Surfaces`, each (S, W)."""

    rows: FloatArray
    low: FloatArray
    high: FloatArray
    variance: FloatArray
    confidence: FloatArray


def located_rows(localizer: Localizer, logits: Tensor, *, ordering: Ordering = "none") -> Tensor:
    """Rows (B, S, columns) read from maps (B, S, columns, rows), in anatomical order unless ordering is "none".

    Gradients flow as far as the localizer's readout lets them.

    >>> from heatpoint.localizers import make_localizer
    >>> from heatpoint.support import Grid
    >>> logits = torch.full((1, 2, 1, 4), -torch.inf)
    >>> logits[0, 0, 0, 2] = logits[0, 1, 0, 1] = 0.0
    >>> localizer = make_localizer("soft_argmax", Grid((4,)))
    >>> located_rows(localizer, logits).flatten().tolist()
    [2.0, 1.0]
    >>> located_rows(localizer, logits, ordering="cumulative").flatten().tolist()
    [2.0, 2.0]
    """
    return _in_order(localizer.locate(logits).points[..., 0], ordering)


@torch.no_grad()
def locate_surfaces(
    model: nn.Module,
    localizers: Mapping[str, Localizer],
    images: Tensor,
    *,
    ordering: Ordering = "none",
    flip_test: bool = False,
    level: float = LEVEL,
) -> dict[str, Surfaces]:
    """Runs the network once, twice in a flip test, and reads its maps in one or several ways.

    A flip test averages what is read from the scan and from its mirror image: rows, ends of the bands, variances, confidences.

    Args:
        model: Images to maps along rows.
        localizers: Ways to read the maps, by name.
        images: (B, 1, rows, columns).
        ordering: "none", "cumulative" or "isotonic": applied to rows and to both ends of the bands, which keeps rows inside.
        flip_test: Look at the mirror image as well.
        level: Share of the mass in a band, between 0 and 1.
    """
    found = _read(model(images), localizers, ordering, level)
    if not flip_test:
        return found
    mirrored = _read(model(images.flip(-1)), localizers, ordering, level)
    return {
        name: Surfaces(*((a + b.flip(-1)) / 2 for a, b in zip(found[name], mirrored[name], strict=True)))
        for name in found
    }


def to_scan(found: Surfaces, index: int, frame: ScanFrame) -> ScanFound:
    """The located surfaces of one scan of a batch, in the scan's rows and at all its columns.

    Columns that the input does not show carry what its nearest column gives.
    """
    rows, low, high, variance, confidence = (part[index].double().cpu().numpy() for part in found)
    return ScanFound(
        frame.rows_to_scan(rows),
        frame.rows_to_scan(low),
        frame.rows_to_scan(high),
        frame.variance_to_scan(variance),
        # A variance is interpolated between columns as any number is, and scaled: a confidence has no unit.
        frame.variance_to_scan(confidence) / frame.rows_per_input_row**2,
    )


def _read(logits: Tensor, localizers: Mapping[str, Localizer], ordering: Ordering, level: float) -> dict[str, Surfaces]:
    return {name: _surfaces(logits, localizer, ordering, level) for name, localizer in localizers.items()}


def _surfaces(logits: Tensor, localizer: Localizer, ordering: Ordering, level: float) -> Surfaces:
    located = localizer.locate(logits)
    # The same density as the localizer's own covariance: its logits, under its basis.
    maps = localizer._map_logits(localizer._read(logits))
    density = Density(maps.double(), localizer.grid, basis=localizer._map_basis())
    ends = [density.quantile((1 + side * level) / 2)[..., 0].to(logits.dtype) for side in (-1, 1)]
    rows, low, high = (_in_order(part, ordering) for part in (located.points[..., 0], *ends))
    return Surfaces(rows, low, high, located.covariance[..., 0, 0], located.confidence)


def _in_order(rows: Tensor, ordering: Ordering) -> Tensor:
    return rows if ordering == "none" else ordered(rows, method=ordering)
