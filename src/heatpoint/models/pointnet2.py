"""PointNet++: networks that take a cloud to one map over its points for each keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint._pairs import checked_cloud
from heatpoint.models._pointnet2_layouts import PARTS, Ball, Grouping, Layout
from heatpoint.neighbors import ball_query, content_order, farthest_points, gather_rows, interpolate_nearest


class PointNet2(nn.Module):
    """PointNet++ for part segmentation: clouds (B, N, 3) to logits (B, num_maps, N), from coordinates alone.

    Qi et al., 2017. Radii are in units of the sphere that the cloud fills. Two things are settled here that the paper leaves
    to chance, so that permuting the points permutes the logits, bit by bit but for points that coincide: sampling starts at
    the point farthest from the mean, and a ball with more points than places keeps those that come first in `content_order`.
    The object's class, which the published networks are told, has no place: there is one network for each category.

    Args:
        num_maps: K, at least 1.
        grouping: "single" for one radius on each level, "multi" for several.
        width: Factor on the channels of every layer but the last; 1 as published.
        centers: Centres of each level, fewer on each than on the one before; None as published. A cloud with fewer points
            than a level has centres keeps all of them.
        dropout: Share of features that are dropped before the last layer in training; 0.5 as published.

    Raises:
        ValueError: If an argument breaks these rules.

    >>> model = PointNet2(5, width=0.125, centers=(32, 8)).eval()
    >>> model(torch.rand(2, 100, 3)).shape
    torch.Size([2, 5, 100])
    """

    def __init__(
        self,
        num_maps: int,
        *,
        grouping: Grouping = "single",
        width: float = 1.0,
        centers: Sequence[int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole("PointNet2", "num_maps", num_maps, "be at least 1", least=1)
        check_real("PointNet2", "dropout", dropout, "be from 0 to 1", least=0, most=1)
        one_of("PointNet2", "grouping", grouping, PARTS)
        self.encoder = Encoder(PARTS[grouping], width=width, centers=centers)
        self.head = point_head(self.encoder.outputs, dropout)
        self.logits = nn.Linear(self.encoder.outputs, num_maps)

    def forward(self, xyz: Tensor) -> Tensor:
        """Clouds (B, N, 3), each of any N, to logits (B, num_maps, N).

        Raises:
            TypeError: If xyz is no floating-point tensor.
            ValueError: If it is not (B, N, 3), or a coordinate is not finite (on the CPU always, elsewhere under
                HEATPOINT_CHECK=1).
        """
        found = self.encoder(xyz)
        return found.maps(per_point(nn.Sequential(self.head, self.logits), found.features))


class Encoded(NamedTuple):
    """Features of points (B, N, C) and of whole clouds (B, summary), and the row (B, N) of each point in the former."""

    features: Tensor
    summary: Tensor
    rows: Tensor

    def maps(self, values: Tensor) -> Tensor:
        """Values in the order of the features, (B, N, K), as maps over the points in theirs, (B, K, N)."""
        return gather_rows(values, self.rows).transpose(1, 2).contiguous()


class Encoder(nn.Module):
    """Clouds (B, N, 3) to features of each point (B, N, outputs) and of the whole cloud (B, summary).

    The features are in `content_order`: what is still computed from them should be so too, and be put back last. Sums and
    products of matrices round differently when rows change places.

    Args:
        layout: `PARTS` or `SCENES`, by grouping.
        width: Factor on the channels, greater than 0.
        centers: Centres of each level, or None for those of the layout.

    Raises:
        ValueError: If an argument breaks these rules.
    """

    def __init__(self, layout: Layout, *, width: float = 1.0, centers: Sequence[int] | None = None) -> None:
        super().__init__()
        check_real("PointNet2", "width", width, "be greater than 0", above=0)
        self.centers = _checked_centers(centers, layout.centers)
        inputs, channels = 3, [3 if layout.ends_in_xyz else 0]
        self.down = nn.ModuleList()
        for balls in layout.balls:
            self.down.append(SideBySide(inputs, balls, width))
            inputs = sum(scaled(ball.widths, width)[-1] for ball in balls)
            channels.append(inputs)
        self.whole: nn.Module | None = None
        if layout.whole:
            self.whole = perceptron(inputs + 3, scaled(layout.whole, width))
            inputs = scaled(layout.whole, width)[-1]
        self.summary = inputs
        # Without a level over the whole cloud the coarsest one is where the way up begins.
        skips = channels if layout.whole else channels[:-1]
        self.up = nn.ModuleList()
        for skip, widths in zip(reversed(skips), layout.up, strict=True):
            self.up.append(SpreadLayer(inputs, skip, scaled(widths, width)))
            inputs = scaled(widths, width)[-1]
        self.outputs = inputs

    def forward(self, xyz: Tensor) -> Encoded:
        """Features of the points and of the whole, and where to find which point."""
        xyz = checked_cloud("PointNet2.forward", "xyz", xyz)
        if xyz.shape[2] != 3:
            raise ValueError(message("PointNet2.forward", "xyz", "be (B, N, 3)", tuple(xyz.shape)))
        xyz = xyz.to(next(self.parameters()).dtype)
        order = content_order(xyz)
        xyz = gather_rows(xyz, order)
        start = (xyz - xyz.mean(dim=1, keepdim=True)).square().sum(dim=-1).argmax(dim=1)
        taken = farthest_points(xyz, min(self.centers[0], xyz.shape[1]), start=start)
        # The first points taken of a cloud are also those that would be taken of what was taken: one sampling does for all.
        sampled = gather_rows(xyz, taken)
        places, features = [xyz], [xyz]
        for level, number in zip(self.down, self.centers, strict=True):
            near = sampled[:, :number]
            features.append(level(places[-1], features[-1], near))
            places.append(near)
        summary = features[-1].amax(dim=1)
        if self.whole is not None:
            summary = per_point(self.whole, torch.cat([features[-1], places[-1]], dim=-1)).amax(dim=1)
            # One place for the whole cloud, wherever: it is the nearest of all points.
            places.append(places[-1][:, :1])
            features.append(summary[:, None])
        found, at = features.pop(), places.pop()
        for layer in self.up:
            found, at = layer(found, at, places[-1], features[-1]), places[-1]
            features.pop()
            places.pop()
        return Encoded(found, summary, order.argsort(dim=1))


class SideBySide(nn.Module):
    """The features of several balls around the same centres, one after the other."""

    def __init__(self, inputs: int, balls: Sequence[Ball], width: float) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            [GroupLayer(inputs, scaled(ball.widths, width), ball.radius, ball.places) for ball in balls]
        )

    def forward(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        """As `GroupLayer.forward`, with the channels of all."""
        return torch.cat([group(xyz, features, centers) for group in self.groups], dim=-1)


class GroupLayer(nn.Module):
    """Set abstraction of one scale: the maximum of a perceptron over (features, place relative to the centre) in each ball.

    The perceptron's first layer is linear, W_f f_j + W_x (x_j − c), so W_f f_j + W_x x_j is found once for each point, and not
    for each ball that it lies in.

    Args:
        inputs: Channels of the features.
        widths: Channels of the perceptron's layers.
        radius: Of the ball.
        places: Points of a ball that are looked at.
    """

    def __init__(self, inputs: int, widths: Sequence[int], radius: float, places: int) -> None:
        super().__init__()
        self.radius, self.places = radius, places
        self.first = nn.Linear(inputs + 3, widths[0], bias=False)
        self.rest = normalised(widths)

    def forward(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        """Places (B, N, 3), their features (B, N, inputs) and centres (B, M, 3) to features (B, M, outputs)."""
        index = ball_query(xyz, centers, self.radius, self.places)
        values = self.first(torch.cat([features, xyz], dim=-1))
        shift = nn.functional.linear(centers, self.first.weight[:, -3:])
        groups = gather_rows(values, index) - shift[:, :, None]
        return per_point(self.rest, groups).max(dim=2).values


class SpreadLayer(nn.Module):
    """Feature propagation: a perceptron over (features interpolated from the coarser level, the level's own).

    The first layer is linear, as is interpolation, so the coarse part is multiplied before it is interpolated: at few places.

    Args:
        coarse: Channels of the coarser level.
        skip: Channels of the level's own features; 0 for none.
        widths: Channels of the perceptron's layers.
    """

    def __init__(self, coarse: int, skip: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.coarse, self.skip = coarse, skip
        self.first = nn.Linear(coarse + skip, widths[0], bias=False)
        self.rest = normalised(widths)

    def forward(self, values: Tensor, at: Tensor, xyz: Tensor, own: Tensor) -> Tensor:
        """Coarse features (B, M, coarse) at (B, M, 3) to features (B, N, widths[-1]) at (B, N, 3)."""
        weight = self.first.weight
        spread = nn.functional.linear(values, weight[:, : self.coarse])
        spread = interpolate_nearest(spread, at, xyz) if at.shape[1] > 1 else spread.expand(-1, xyz.shape[1], -1)
        if self.skip:
            spread = spread + nn.functional.linear(own, weight[:, self.coarse :])
        return per_point(self.rest, spread)


def perceptron(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Layers of linear, batch normalisation, ReLU; the normalisation makes a bias superfluous."""
    return nn.Sequential(nn.Linear(inputs, widths[0], bias=False), *normalised(widths))


def normalised(widths: Sequence[int]) -> nn.Sequential:
    """A `perceptron` without its first linear layer."""
    layers: list[nn.Module] = [nn.BatchNorm1d(widths[0]), nn.ReLU()]
    for fewer, more in pairwise(widths):
        layers += [nn.Linear(fewer, more, bias=False), nn.BatchNorm1d(more), nn.ReLU()]
    return nn.Sequential(*layers)


def point_head(channels: int, dropout: float) -> nn.Sequential:
    """What stands before the last layer: a layer of as many channels, and dropout."""
    return nn.Sequential(*perceptron(channels, (channels,)), nn.Dropout(dropout))


def per_point(layers: nn.Module, values: Tensor) -> Tensor:
    """Layers for rows (R, C) applied to values (…, C): batch normalisation takes all rows as one batch."""
    found: Tensor = layers(values.flatten(0, -2))
    return found.unflatten(0, values.shape[:-1])


def scaled(widths: Sequence[int], width: float) -> tuple[int, ...]:
    """Numbers of channels times a factor, rounded, at least 4.

    >>> scaled((64, 96, 10), 0.125)
    (8, 12, 4)
    """
    return tuple(max(4, round(width * number)) for number in widths)


def _checked_centers(centers: Sequence[int] | None, published: tuple[int, ...]) -> tuple[int, ...]:
    if centers is None:
        return published
    found = tuple(centers)
    if len(found) != len(published) or found[-1] < 1 or any(fine <= coarse for fine, coarse in pairwise(found)):
        rule = f"hold {len(published)} falling numbers of at least 1, one for each level"
        raise ValueError(message("PointNet2", "centers", rule, centers))
    return found
