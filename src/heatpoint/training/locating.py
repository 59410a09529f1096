"""Images to located points, with the flip test in coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from heatpoint.localizers import Localizer, Located
from heatpoint.readout import flip_average


@torch.no_grad()
def locate(
    model: nn.Module,
    localizers: Mapping[str, Localizer],
    images: Tensor,
    *,
    swap: Sequence[int] | None = None,
) -> dict[str, Located]:
    """Runs the network once and reads its maps in one or several ways.

    Args:
        model: Images to logits.
        localizers: Ways to read the maps, by name.
        images: (B, 3, H, W).
        swap: The skeleton's swap table for a flip test: points of the image and of its mirror image are averaged in
            coordinates, exactly, and so are confidences and covariances. None: no flip test.

    Returns:
        What each localizer located: (B, K, 2) in input pixels, (B, K) and (B, K, 2, 2).
    """
    logits = model(images)
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
