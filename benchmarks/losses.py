"""Targets and training losses: Gaussian maps, cross-entropies of rounded labels, the squared error of maps, the loss of DSNT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import packages, plain
from benchmarks.decoders import GROUP, SIGMA, Maps, mmpose_of, ours, stand_in, with_gradient
from benchmarks.operation import Form, Operation, Source
from benchmarks.peer_forms import Array
from heatpoint.regularizers import jensen_shannon_regularizer
from heatpoint.rounding import gaussian_map
from heatpoint.scores import Label, error_of_expectation, rounded_cross_entropy

RANDOM, EXPECTED = (f"cross-entropy of {label} rounding and gradient" for label in ("random", "expected"))
DSNT = "DSNT's loss and gradient"


class _Given:
    """Maps, points, and points by image as codecs take them."""

    def __init__(self, maps: Maps) -> None:
        self.grid = maps.square
        self.shape = (self.grid.shape[0], self.grid.shape[1])
        self.maps, self.points = maps.peaked(self.grid, maps.number)
        self.by_image: Array = self.points.unflatten(0, (-1, GROUP)).numpy()
        self.described = maps.describe(self.grid, maps.number)


def _targets(maps: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    given, mmpose = _Given(maps), mmpose_of(peers)
    every_cell = stand_in("plain, every cell", "MMPose", is_given=mmpose is not None)
    forms = {
        "heatpoint": Form(lambda: gaussian_map(given.points, given.grid, sigma_cells=SIGMA), "ours"),
        every_cell: Form(lambda: plain.gaussian(given.points, given.shape, SIGMA), "plain"),
    }
    if mmpose is not None:
        exact = mmpose.heatmap_codec(given.shape, SIGMA, unbiased=True)
        cut = mmpose.heatmap_codec(given.shape, SIGMA, unbiased=False)
        forms["MMPose, unbiased"] = Form(lambda: mmpose.encode(exact, given.by_image), "peer", _maps)
        why = "rounds the point, cuts at 3 sigma"
        forms["MMPose, msra"] = Form(lambda: mmpose.encode(cut, given.by_image), "peer", _maps, differs=why)
    yield Operation("gaussian_map", given.described, forms, given.maps.nbytes)


def _maps(arrays: list[Array]) -> Tensor:
    return torch.cat([torch.from_numpy(array) for array in arrays])


def _squared_errors(given: _Given, peers: Mapping[str, str]) -> dict[str, Form]:
    """The loss of heatmap regression, targets made on the way, and its gradient."""
    mmpose = mmpose_of(peers)

    def form(wanted: Callable[[], Tensor], source: Source) -> Form:
        def loss(maps: Tensor) -> Tensor:
            return functional.mse_loss(maps, wanted().view_as(maps), reduction="none").mean(dim=(-2, -1))

        return Form(with_gradient(given.maps, loss), source, differs="another loss")

    found = {
        "squared error of plain maps": form(lambda: plain.gaussian(given.points, given.shape, SIGMA), "plain"),
        "squared error of our maps": form(lambda: gaussian_map(given.points, given.grid, sigma_cells=SIGMA), "plain"),
    }
    if mmpose is not None:
        codec = mmpose.heatmap_codec(given.shape, SIGMA, unbiased=False)
        found["squared error of MMPose's msra maps"] = form(lambda: _maps(mmpose.encode(codec, given.by_image)), "peer")
    return found


def _labels(maps: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    given = _Given(maps)
    grid, points = given.grid, given.points
    others = _squared_errors(given, peers)

    def same_draw() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    def operation(name: str, label: Label) -> Operation:
        def fused(logits: Tensor) -> Tensor:
            return rounded_cross_entropy(logits, grid, points, label=label, generator=same_draw())

        def dense(logits: Tensor) -> Tensor:
            return plain.label_loss(logits, points, grid, label, same_draw())

        forms = ours(with_gradient(given.maps, fused))
        forms["plain, label maps"] = Form(with_gradient(given.maps, dense), "plain")
        return Operation(name, given.described, forms | others, given.maps.nbytes)

    yield operation(RANDOM, "random")
    yield operation(EXPECTED, "expected")


def _dsnt(maps: Maps, peers: Mapping[str, str]) -> Iterator[Operation]:
    given = _Given(maps)
    grid, points, logits = given.grid, given.points, 6 * given.maps

    def loss(m: Tensor) -> Tensor:
        distance = error_of_expectation(m, grid, points, distance="l2")
        return distance + jensen_shannon_regularizer(m, grid, sigma_cells=SIGMA, center=points)

    forms = {
        "heatpoint": Form(with_gradient(logits, loss), "ours"),
        "plain": Form(with_gradient(logits, lambda m: plain.dsnt_loss(m, points, SIGMA)), "plain"),
    }
    for name, function in packages.dsnt_loss_forms(SIGMA).items():
        forms[name] = Form(with_gradient(logits, partial(_on_points, function, points)), "package")
    yield Operation(DSNT, given.described, forms, logits.nbytes)


def _on_points(function: Callable[[Tensor, Tensor], Tensor], points: Tensor, maps: Tensor) -> Tensor:
    return function(maps, points)


# Names -> what makes the operations of these names, in this order.
GROUPS: dict[tuple[str, ...], Callable[[Maps, Mapping[str, str]], Iterator[Operation]]] = {
    ("gaussian_map",): _targets,
    (RANDOM, EXPECTED): _labels,
    (DSNT,): _dsnt,
}
