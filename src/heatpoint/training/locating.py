"""Images to located points, with the flip test in coordinates or on maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from heatpoint._checks import one_of
from heatpoint.localizers import Localizer, Located
from heatpoint.readout import flip_average, flip_maps

# What a flip test averages -> columns that the mirrored maps are shifted by; None where points are averaged.
AVERAGES: dict[str, int | None] = {"coordinates": None, "maps": 0, "maps_shifted": 1}


@torch.no_grad()
def locate(
    model: nn.Module,
    localizers: Mapping[str, Localizer],
    images: Tensor,
    *,
    swap: Sequence[int] | None = None,
    average: str = "coordinates",
) -> dict[str, Located]:
    """Runs the network once, twice in a flip test, and reads its maps in one or several ways.

    Args:
        model: Images to logits.
        localizers: Ways to read the maps, by name.
        images: (B, 3, H, W).
        swap: The skeleton's swap table for a flip test. None: no flip test.
        average: "coordinates" averages the points of the image and of its mirror image, exactly, and their confidences and
            covariances. "maps" averages the network's outputs before they are read, "maps_shifted" after a shift of the
            mirrored ones by one column: see `flip_maps` for what that costs and who publishes it.

    Returns:
        What each localizer located: (B, K, 2) in input pixels, (B, K) and (B, K, 2, 2).

    Raises:
        ValueError: If average is unknown.
    """
    one_of("locate", "average", average, AVERAGES)
    logits = model(images)
    shift = AVERAGES[average]
    if swap is not None and shift is not None:
        logits = (logits + flip_maps(model(images.flip(-1)), swap=swap, shift=shift)) / 2
        swap = None
    found = {name: localizer.locate(logits) for name, localizer in localizers.items()}
    if swap is None:
        return found
    mirrored = model(images.flip(-1))
    return {
        name: _average(found[name], localizer.locate(mirrored), images.shape[-1], list(swap))
        for name, localizer in localizers.items()
    }


def _average(here: Located, there: Located, width: int, order: list[int]) -> Located:
    points = flip_average(here.points, there.points, width=width, swap=order)
    confidence = (here.confidence + there.confidence[..., order]) / 2
    # A mirrored x changes the sign of the covariances of x with the other axes.
    sign = torch.ones(points.shape[-1], dtype=points.dtype, device=points.device)
    sign[0] = -1
    back = there.covariance[..., order, :, :] * sign[:, None] * sign
    return Located(points, confidence, (here.covariance + back) / 2)


def to_image(points: Tensor, matrices: Tensor) -> Tensor:
    """Input points (B, K, 2) to image pixels, by the inverses of (B, 2, 3) matrices.

    >>> matrices = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 2.0, 3.0]]])
    >>> to_image(torch.tensor([[[5.0, 5.0]]]), matrices)
    tensor([[[2., 1.]]])
    """
    shifted = (points - matrices[:, None, :, 2]).transpose(-1, -2)
    return torch.linalg.solve(matrices[:, :, :2], shifted).transpose(-1, -2)
