"""Readouts of a map: ours, the formulas in torch, kornia, dsntnn, H3R and MMPose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks import packages, plain
from benchmarks.operation import Form, Operation, Size, Source
from benchmarks.peer_forms import MMPose, h3r_top_k
from heatpoint import kernels
from heatpoint.readout import argmax, dark, quarter_shift, soft_argmax, top_k, window
from heatpoint.rounding import gaussian_map
from heatpoint.support import Grid

SIGMA, ROW_SIGMA, ROW_TAPS = 2.0, 6.0, 37
# Points of an image; codecs work image by image.
GROUP = 16


@dataclass(frozen=True)
class Maps:
    """Gaussian maps over a little noise, no peak within 8 cells of the border."""

    square: Grid
    tall: Grid
    rows: tuple[Grid, Grid]
    number: int
    fewer: int

    @classmethod
    def of(cls, size: Size) -> Maps:
        """Heatmaps of faces (64 x 64), of bodies (64 x 48), SimCC's rows of an input of 192 x 256 at twice its pixels."""
        full = size == "full"
        shapes = ((64, 64), (64, 48), (384,), (512,)) if full else ((24, 24), (26, 20), (48,), (64,))
        square, tall, x, y = (Grid(shape, offset=0) for shape in shapes)
        return cls(square, tall, (x, y), *((3136, 1088) if full else (2 * GROUP, GROUP)))

    def peaked(self, grid: Grid, number: int, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
        """Maps (number, *shape) and where their peaks lie, (number, D)."""
        generator = torch.Generator().manual_seed(grid.num_cells)
        cells = 8 + torch.rand(number, grid.ndim, generator=generator) * (torch.tensor(grid.lengths) - 17)
        points = grid.to_points(cells)
        maps = gaussian_map(points, grid, sigma_cells=sigma)
        return maps + 0.01 * torch.rand(maps.shape, generator=generator), points

    def describe(self, grid: Grid, number: int) -> str:
        """Size in a few words."""
        return f"{number} maps of {' x '.join(map(str, grid.shape))}"


def grouped(maps: Tensor) -> Tensor:
    """Maps by image, (images, GROUP, *shape)."""
    return maps.unflatten(0, (-1, GROUP))


def stacked(points: object) -> Tensor:
    """What a codec returned for every image, as one tensor (number, 2)."""
    arrays = points if isinstance(points, list) else [points]
    return torch.cat([torch.as_tensor(array).flatten(0, -2) for array in arrays])


def flat_points(points: Tensor) -> Tensor:
    """(B, K, 2) to (B K, 2)."""
    return points.flatten(0, -2)


def ours(run: Callable[[], Tensor]) -> dict[str, Form]:
    """What a call takes by itself, and the torch form of it."""

    def by_torch() -> Tensor:
        with kernels.use("torch"):
            return run()

    return {"heatpoint": Form(run, "ours"), "heatpoint's torch form": Form(by_torch, "ours")}


def with_gradient(maps: Tensor, function: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    """The gradient of the sum of a function's results."""

    def both() -> Tensor:
        leaf = maps.detach().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]

    return both


def stand_in(form: str, peer: str, *, is_given: bool) -> str:
    """The name of a plain form, which says so where it stands in for a peer that was not given."""
    return form if is_given else f"{form} (stands in for {peer})"


def mmpose_of(peers: Mapping[str, str]) -> MMPose | None:
    """MMPose, if its path was given."""
    return MMPose(peers["mmpose"]) if "mmpose" in peers else None


def _cells(given: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    mmpose = mmpose_of(peers)
    grid = given.square
    maps, _ = given.peaked(grid, given.number)
    size, num_bytes = given.describe(grid, given.number), maps.nbytes
    decode = h3r_top_k(peers["h3r"]) if "h3r" in peers else None
    for k in (9, 11):
        forms = ours(partial(top_k, maps, grid, k=k))
        name = stand_in("plain, torch.topk", "H3R", is_given=decode is not None)
        forms[name] = Form(partial(plain.top_k, maps, k), "plain")
        if decode is not None:
            forms["H3R"] = Form(partial(decode, grouped(maps), k), "peer", flat_points)
        yield Operation(f"top_k {k}", size, forms, num_bytes)
    forms = ours(lambda: argmax(maps, grid))
    yield Operation(
        "argmax", size, forms | {"plain, torch.max": Form(lambda: plain.cells(maps)[1], "plain")}, num_bytes
    )
    forms = ours(lambda: window(maps, grid))
    yield Operation("window", size, forms | {"plain, whole maps": Form(lambda: plain.window(maps), "plain")}, num_bytes)
    forms = ours(lambda: quarter_shift(maps, grid))
    forms[stand_in("plain", "MMPose", is_given=mmpose is not None)] = Form(lambda: plain.quarter_shift(maps), "plain")
    if mmpose is not None:
        codec = mmpose.heatmap_codec((grid.shape[0], grid.shape[1]), SIGMA, unbiased=False)
        arrays = grouped(maps).numpy()
        forms["MMPose, msra"] = Form(lambda: mmpose.decode(codec, arrays), "peer", stacked)
    yield Operation("quarter_shift", size, forms, num_bytes)


def _dark(given: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    mmpose = mmpose_of(peers)
    grid = given.tall
    maps, _ = given.peaked(grid, given.fewer)
    forms = ours(lambda: dark(maps, grid, sigma_cells=SIGMA))
    name = stand_in("plain, whole maps", "MMPose", is_given=mmpose is not None)
    forms[name] = Form(lambda: plain.dark(maps, 11), "plain")
    if mmpose is not None:
        codec = mmpose.heatmap_codec((grid.shape[0], grid.shape[1]), SIGMA, unbiased=True)
        arrays = grouped(maps).numpy()
        forms["MMPose, unbiased"] = Form(lambda: mmpose.decode(codec, arrays), "peer", stacked)
    yield Operation("dark", given.describe(grid, given.fewer), forms, maps.nbytes)


def _soft(given: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    mmpose = mmpose_of(peers)
    grid = given.square
    generator = torch.Generator().manual_seed(7)
    maps = 4 * given.peaked(grid, given.number)[0] + torch.randn(given.number, *grid.shape, generator=generator)
    size = given.describe(grid, given.number)
    functions: dict[str, tuple[Callable[[Tensor], Tensor], Source]] = {
        "plain": (plain.soft_argmax, "plain"),
        **{name: (function, "package") for name, function in packages.soft_argmax_forms().items()},
    }
    if mmpose is not None:
        integral, lengths = mmpose.integral((grid.shape[0], grid.shape[1])), torch.tensor(grid.lengths)
        functions["MMPose, integral head"] = (lambda m: integral(m.unsqueeze(0))[0] * lengths, "peer")
    forms = ours(lambda: soft_argmax(maps, grid))
    both = ours(with_gradient(maps, lambda m: soft_argmax(m, grid)))
    for name, (function, source) in functions.items():
        forms[name] = Form(partial(function, maps), source)
        both[name] = Form(with_gradient(maps, function), source)
    yield Operation("soft_argmax", size, forms, maps.nbytes)
    yield Operation("soft_argmax and gradient", size, both, maps.nbytes)


def _rows(given: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    mmpose = mmpose_of(peers)
    x_grid, y_grid = given.rows
    x, y = (given.peaked(grid, given.fewer, ROW_SIGMA)[0] for grid in given.rows)
    size = f"{given.fewer} pairs of rows of {x_grid.shape[0]} and {y_grid.shape[0]}"

    def pair(function: Callable[[Tensor, Grid], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.cat([function(x, x_grid), function(y, y_grid)], dim=-1)

    def refined(rows: Tensor, grid: Grid) -> Tensor:
        return dark(rows, grid, sigma_cells=ROW_SIGMA, kernel_size=ROW_TAPS)

    def largest(rows: Tensor, grid: Grid) -> Tensor:
        return rows.max(dim=-1).indices.unsqueeze(-1)

    def plainly_refined(rows: Tensor, grid: Grid) -> Tensor:
        return plain.dark(rows, ROW_TAPS)

    for name, mine, plainly in (("simcc", argmax, largest), ("simcc and dark", refined, plainly_refined)):
        forms = ours(pair(mine))
        forms[stand_in("plain", "MMPose", is_given=mmpose is not None)] = Form(pair(plainly), "plain")
        if mmpose is not None:
            forms["MMPose"] = _rows_of(mmpose, (x_grid.shape[0], y_grid.shape[0]), (x, y), use_dark="dark" in name)
        yield Operation(name, size, forms, x.nbytes + y.nbytes)


def _rows_of(mmpose: MMPose, lengths: tuple[int, int], rows: tuple[Tensor, Tensor], *, use_dark: bool) -> Form:
    """Its codec of rows. With DARK it writes into them and is given them afresh, outside the time."""
    given = [grouped(row).numpy() for row in rows]
    taken = [array.copy() for array in given] if use_dark else given

    def fill() -> None:
        for to, array in zip(taken, given, strict=True):
            np.copyto(to, array)

    codec = mmpose.simcc_codec(lengths, ROW_SIGMA, use_dark=use_dark)
    return Form(partial(mmpose.decode_rows, codec, *taken), "peer", stacked, before=fill if use_dark else None)


# Names -> what makes the operations of these names, in this order.
GROUPS: dict[tuple[str, ...], Callable[[Maps, Mapping[str, str]], Iterator[Operation]]] = {
    ("top_k 9", "top_k 11", "argmax", "window", "quarter_shift"): _cells,
    ("dark",): _dark,
    ("soft_argmax", "soft_argmax and gradient"): _soft,
    ("simcc", "simcc and dark"): _rows,
}
