"""The sums over cells that a sample of shared draws needs, their gradient, and the samples that they make.

See `heatpoint.kernels.shared`: Σ_i W_mi V_si, and the same times the places of the cells. A place can go with the draws or, where
these leave it alone, with the maps: whichever of both there are fewer of.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from heatpoint.kernels._columns import Places, columns
from heatpoint.kernels._shared_draws import Draw, Drawn

# What the draws of cold samples give to the gradient is multiplied by it until the weights of the map have come to it.
SMALL = 2.0**-40
# Maps of a group whose squares are made at a time, at least: of as many as samples they are as large as these.
FEW = 16


def weights_of(draw: Draw, logits: Tensor, out: Tensor | None = None) -> Tensor:
    """W (groups, maps, cells): π^(1/τ), or π in the released formula, but for a factor for each map. NaN of a forbidden map."""
    scores = torch.sub(logits, logits.detach().amax(dim=-1, keepdim=True), out=out)
    scale = (1 / draw.temperature if draw.formula == "paper" else 1.0) * math.log2(math.e)
    return (scores * scale).exp2() if scores.requires_grad else scores.mul_(scale).exp2_()


def column_sums(draw: Draw, weights: Tensor, made: Tensor) -> Tensor:
    """(g, maps, s, columns) of weights (g, maps, cells) and `columns` (g, s, columns, cells).

    Where offsets are pooled, one column more: Σ_i (W_mi V_si)².
    """
    sums = torch.bmm(weights, made.flatten(1, 2).transpose(1, 2)).unflatten(-1, made.shape[1:3])
    return _with_squares(sums, weights, made[:, :, 0].square()) if draw.is_pooled else sums


class _Sums:
    """Sums over the cells of some groups, and the gradient of what is made of them, part by part: `begin`, for each block of
    samples `of` and, if gradients are wanted, `give`, then `finish`.

    Args:
        draw: The draws.
        weights: W (groups, maps, cells).
        into: For the derivative by the logits, but for a factor, (groups, maps, cells), or None. It can be the weights' own
            place: they are multiplied by what a single block gives.
    """

    center: Tensor  # What places are measured from, (D,) or (groups, maps or 1, 1, D).

    def __init__(self, draw: Draw, weights: Tensor, into: Tensor | None) -> None:
        self._draw, self._all_weights, self._all_into = draw, weights, into
        self._is_in_place = into is weights

    def begin(self, groups: slice) -> None:
        """Goes on to these of the groups."""
        self._weights = self._all_weights[groups]
        self._into = None if self._all_into is None else self._all_into[groups]
        self._is_first = True

    def finish(self) -> None:
        """Makes derivatives by the weights those by the logits: the derivative of W = exp(scale · logits) is scale · W."""
        if self._into is not None and not self._is_in_place:
            self._into.mul_(self._weights)


class ColumnSums(_Sums):
    """Places go with the draws.

    Args:
        draw, into: As above.
        places: Of the cells.
        logits: (groups, maps, cells).
        room: As large as `Draw.room` says.
        is_whole: Whether `into` takes the derivatives of a single block for each part, which matters to `RowSums`.
    """

    def __init__(
        self, draw: Draw, places: Places, logits: Tensor, room: Tensor, into: Tensor | None, *, is_whole: bool
    ) -> None:
        super().__init__(draw, weights_of(draw, logits), into)
        self._all_places, self._room = places, room
        self.center = places.center

    def begin(self, groups: slice) -> None:
        """Goes on to these of the groups."""
        super().begin(groups)
        self._places = self._all_places.of(groups)

    def of(self, drawn: Drawn) -> Tensor:
        """The sums of a block, (g, maps, s, columns), as `column_sums` has them."""
        self._made = columns(self._draw, self._places, drawn, self._room)
        return column_sums(self._draw, self._weights, self._made)

    def give(self, slope: Tensor) -> None:
        """Adds what has the derivative `slope` by the sums of the block, whose draws are used up."""
        if self._into is None:
            raise AssertionError("no gradient is wanted")
        made, number = self._made, self._made.shape[2]
        squared = made[:, :, 0].square() if self._draw.is_pooled else None
        made = made.mul_(SMALL) if self._draw.is_cold else made
        self._into.baddbmm_(slope[..., :number].flatten(2), made.flatten(1, 2), beta=0 if self._is_first else 1)
        if squared is not None:
            _give_squares(slope, squared, self._weights, self._into)
        self._is_first = False


class RowSums(_Sums):
    """Places go with the maps; arguments as those of `ColumnSums`.

    They are measured from the mean of each map, so that a gradient is not the difference of much larger products.
    """

    def __init__(
        self, draw: Draw, places: Places, logits: Tensor, room: Tensor, into: Tensor | None, *, is_whole: bool
    ) -> None:
        # Derivatives of a single block are multiplied into the weights; those of several are added up beside them.
        weights = weights_of(draw, logits, out=into if is_whole else None)
        super().__init__(draw, weights, weights if is_whole else into)
        self._room, self._num_rows, groups = room, 1 + draw.support.ndim, len(logits)
        axes = places.axes.squeeze(2).transpose(0, 1)  # (groups or 1, D, cells)
        mean = torch.bmm(axes.expand(groups, -1, -1), weights.transpose(1, 2))
        mean /= weights.sum(dim=-1)[:, None]
        self.center = mean.transpose(1, 2)[:, :, None] + places.center
        self._all_axes, self._all_means = axes[:, :, None], mean[..., None]
        self._rows: Tensor | None = None

    def begin(self, groups: slice) -> None:
        """Goes on to these of the groups."""
        super().begin(groups)
        self._axes = self._all_axes if len(self._all_axes) == 1 else self._all_axes[groups]
        self._means = self._all_means[groups]
        shape = (len(self._weights), self._num_rows, *self._weights.shape[1:])
        if self._rows is None or self._rows.shape != shape:
            self._rows = self._room[: math.prod(shape)].view(shape)
            self._flat = self._rows.flatten(1, 2)
            self._columns = self._flat.transpose(1, 2)
            self._plain, self._placed = self._rows[:, 0], self._rows[:, 1:]

    def of(self, drawn: Drawn) -> Tensor:
        """The sums of a block, (g, maps, s, columns), as `column_sums` has them."""
        torch.sub(self._axes, self._means, out=self._placed).mul_(self._weights[:, None])
        self._plain.copy_(self._weights)
        powers = drawn.powers()
        sums = torch.bmm(powers, self._columns)
        sums = sums.view(*sums.shape[:2], self._num_rows, self._weights.shape[1]).permute(0, 3, 1, 2)
        squared = powers.square() if self._draw.is_pooled else None
        if self._into is not None:
            self._kept = powers, squared
        return sums if squared is None else _with_squares(sums, self._weights, squared)

    def give(self, slope: Tensor) -> None:
        """Adds what has the derivative `slope` by the sums of the block, whose draws are used up."""
        if self._into is None:
            raise AssertionError("no gradient is wanted")
        powers, squared = self._kept
        del self._kept  # The next take their place.
        powers = powers.mul_(SMALL) if self._draw.is_cold else powers
        by_row = slope[..., : self._num_rows].permute(0, 2, 3, 1).flatten(2)
        torch.bmm(by_row.transpose(1, 2), powers, out=self._flat)
        found = self._plain
        offset = _like(found, powers)  # The draws are used up: their place is free.
        for moment, axis, mean in zip(*(x.unbind(1) for x in (self._placed, self._axes, self._means)), strict=True):
            found.addcmul_(moment, torch.sub(axis, mean, out=offset))
        if squared is not None:
            _give_squares(slope, squared, self._weights, found)
        if self._is_in_place:
            self._into.mul_(found)
        elif self._is_first:
            self._into.copy_(found)
        else:
            self._into.add_(found)
        self._is_first = False


def _like(found: Tensor, free: Tensor) -> Tensor:
    """Room like `found`, in place of what is free, if that is as large."""
    return free.view(-1)[: found.numel()].view_as(found) if free.numel() >= found.numel() else torch.empty_like(found)


def _with_squares(sums: Tensor, weights: Tensor, squared: Tensor) -> Tensor:
    """Sums (g, maps, s, columns), and one column more, Σ_i W²_mi V²_si, of V² (g, s, cells)."""
    pieces = weights.split(max(FEW, squared.shape[1]), dim=1)
    squares = [torch.bmm(some.square(), squared.transpose(1, 2)) for some in pieces]
    return torch.cat([sums, torch.cat(squares, dim=1)[..., None]], dim=-1)


def _give_squares(slope: Tensor, squared: Tensor, weights: Tensor, into: Tensor) -> None:
    """Adds 2 W_mi Σ_s slope_ms V²_si, with the slope by the last column."""
    pieces = (x.split(max(FEW, squared.shape[1]), dim=1) for x in (slope[..., -1], weights, into))
    for slopes, some, part in zip(*pieces, strict=True):
        # The weight comes first to the factor that undoes SMALL.
        part.addcmul_(some, torch.bmm(slopes * SMALL, squared), value=2 / SMALL)


def positions(draw: Draw, sums: Tensor, pooled: Tensor | None) -> Tensor:
    """Samples (g, maps, s, D) from the sums (g, maps, s, columns), measured from where these measure places.

    Args:
        draw: The draws.
        sums: Of `ColumnSums` or `RowSums`.
        pooled: `Drawn.pooled_offsets`, (g, maps, s, D) or None.
    """
    ndim = draw.support.ndim
    moments = sums[..., 1 : 1 + ndim]
    if pooled is not None:
        moments = moments + sums[..., 1 + ndim :].sqrt() * pooled
    plain = moments / sums[..., :1]
    if pooled is not None or sums.shape[-1] == 1 + ndim:
        return plain
    total, moment = sums[..., 1 + ndim :: 2], sums[..., 2 + ndim :: 2]
    # As in the plain form: if all weights vanish, the marginal itself counts.
    is_possible = total > 0
    return torch.where(is_possible, moment / torch.where(is_possible, total, 1.0), plain)


def slopes(draw: Draw, sums: Tensor, samples: Tensor, slope: Tensor, pooled: Tensor | None) -> Tensor:
    """The derivative by the sums (g, maps, s, columns) of what has the derivative `slope` by `positions`, which are `samples`."""
    ndim = draw.support.ndim
    if pooled is not None or sums.shape[-1] == 1 + ndim:
        found = torch.empty_like(sums)
        moment = torch.div(slope, sums[..., :1], out=found[..., 1 : 1 + ndim])
        torch.sum(moment * samples, dim=-1, out=found[..., 0]).neg_()
        if pooled is not None:
            torch.div((moment * pooled).sum(dim=-1), 2 * sums[..., -1].sqrt(), out=found[..., -1])
        return found
    total = sums[..., 1 + ndim :: 2]
    is_possible = total > 0
    weighed = slope.masked_fill(~is_possible, 0.0) / torch.where(is_possible, total, 1.0)
    moment = slope.masked_fill(is_possible, 0.0) / sums[..., :1]
    both = torch.stack([-weighed * samples, weighed], dim=-1).flatten(-2)
    return torch.cat([-(moment * samples).sum(dim=-1, keepdim=True), moment, both], dim=-1)
