"""The published networks of PointNet++: what stands on each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grouping = Literal["single", "multi"]


@dataclass(frozen=True)
class Ball:
    """The neighbourhood of a centre: its radius in the cloud's units, its number of places, the channels of its layers."""

    radius: float
    places: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The levels of a network: `centers` and `balls` of each going down, `whole` over all that is left, `up` going up again.

    Where `whole` is empty, no level sees the whole cloud at once. Whether the points' own coordinates join the last level
    going up is `ends_in_xyz`.
    """

    centers: tuple[int, ...]
    balls: tuple[tuple[Ball, ...], ...]
    whole: tuple[int, ...]
    up: tuple[tuple[int, ...], ...]
    ends_in_xyz: bool


# Part segmentation, PointNet++'s supplement, B.1; its published code takes 32 or 64 places for the first ball.
PARTS: dict[str, Layout] = {
    "single": Layout(
        (512, 128),
        ((Ball(0.2, 32, (64, 64, 128)),), (Ball(0.4, 64, (128, 128, 256)),)),
        (256, 512, 1024),
        ((256, 256), (256, 128), (128, 128, 128)),
        ends_in_xyz=True,
    ),
    "multi": Layout(
        (512, 128),
        (
            (Ball(0.1, 32, (32, 32, 64)), Ball(0.2, 64, (64, 64, 128)), Ball(0.4, 128, (64, 96, 128))),
            (Ball(0.4, 64, (128, 128, 256)), Ball(0.8, 128, (128, 196, 256))),
        ),
        (256, 512, 1024),
        ((256, 256), (256, 128), (128, 128)),
        ends_in_xyz=True,
    ),
}
# Scene segmentation, B.1; the released Skeleton Merger has the one of two scales on each level.
SCENES: dict[str, Layout] = {
    "single": Layout(
        (1024, 256, 64, 16),
        (
            (Ball(0.1, 32, (32, 32, 64)),),
            (Ball(0.2, 32, (64, 64, 128)),),
            (Ball(0.4, 32, (128, 128, 256)),),
            (Ball(0.8, 32, (256, 256, 512)),),
        ),
        (),
        ((256, 256), (256, 256), (256, 128), (128, 128, 128)),
        ends_in_xyz=False,
    ),
    "multi": Layout(
        (1024, 256, 64, 16),
        (
            (Ball(0.05, 16, (16, 16, 32)), Ball(0.1, 32, (32, 32, 64))),
            (Ball(0.1, 16, (64, 64, 128)), Ball(0.2, 32, (64, 96, 128))),
            (Ball(0.2, 16, (128, 196, 256)), Ball(0.4, 32, (128, 196, 256))),
            (Ball(0.4, 16, (256, 256, 512)), Ball(0.8, 32, (256, 384, 512))),
        ),
        (),
        ((256, 256), (256, 256), (256, 128), (128, 128, 128)),
        ends_in_xyz=False,
    ),
}
