"""Skeleton Merger: keypoints that nobody annotated, and the strengths of the segments between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heatpoint._checks import check_real, check_whole, message, one_of
from heatpoint.chamfer import MOST
from heatpoint.models._pointnet2_layouts import SCENES, Grouping
from heatpoint.models.pointnet2 import Encoder, per_point, perceptron, point_head, scaled


class SkeletonMerger(nn.Module):
    """Clouds (B, N, 3) to logits (B, K, N), whose expectations are K keypoints within the cloud, and strengths (B, E).

    Shi et al., 2021, as released: PointNet++ for scenes, whose K maps are normalised by a log softmax over the keypoints and
    mixed by one more linear layer; the strengths are a perceptron of the features of the whole cloud, E = K(K − 1) / 2 numbers
    in the order of `heatpoint.chamfer.segment_ends`. The softmax over the points, or what stands in its place, is not part of
    the model. The released network is given the coordinates three times over, which a linear layer cannot tell from once.

    Args:
        num_points: K, at least 2.
        grouping: "multi" as released, or "single" for one radius on each level: much faster.
        width: Factor on the channels of every layer but those of K and E; 1 as released.
        points_per_edge: Rows of `offsets`, at least 2: those of the longest segment; 200 as released.
        dropout: Share of features that are dropped before the maps in training; 0.5 as released.

    Raises:
        ValueError: If an argument breaks these rules.

    >>> model = SkeletonMerger(4, grouping="single", width=0.125).eval()
    >>> logits, strengths = model.encode(torch.rand(2, 100, 3))
    >>> logits.shape, strengths.shape, model.offsets.shape
    (torch.Size([2, 4, 100]), torch.Size([2, 6]), torch.Size([6, 200, 3]))
    """

    def __init__(
        self,
        num_points: int,
        *,
        grouping: Grouping = "multi",
        width: float = 1.0,
        points_per_edge: int = MOST,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole("SkeletonMerger", "num_points", num_points, "be at least 2", least=2)
        check_whole("SkeletonMerger", "points_per_edge", points_per_edge, "be at least 2", least=2)
        check_real("SkeletonMerger", "dropout", dropout, "be from 0 to 1", least=0, most=1)
        one_of("SkeletonMerger", "grouping", grouping, SCENES)
        num_edges = num_points * (num_points - 1) // 2
        self.encoder = Encoder(SCENES[grouping], width=width)
        self.head = point_head(self.encoder.outputs, dropout)
        self.maps = nn.Linear(self.encoder.outputs, num_points)
        self.logits = nn.Linear(num_points, num_points)
        widths = scaled((512, 256), width)
        self.strengths = nn.Sequential(perceptron(self.encoder.summary, widths), nn.Linear(widths[-1], num_edges))
        # Displacements of the points of each segment, learnt for all clouds alike: parts need not be straight.
        self.offsets = nn.Parameter(0.002 * torch.randn(num_edges, points_per_edge, 3))

    def forward(self, xyz: Tensor) -> Tensor:
        """Clouds (B, N, 3) to logits (B, K, N); raises as `PointNet2.forward`."""
        return self.encode(xyz)[0]

    def encode(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """Clouds (B, N, 3) to logits (B, K, N) and strengths (B, E) in (0, 1).

        Raises:
            TypeError: As `PointNet2.forward`.
            ValueError: As `PointNet2.forward`; and in training for a single cloud.
        """
        if self.training and len(xyz) == 1:
            remedy = "Strengths are normalised over the batch; leave out the last batch of an epoch if it is short."
            raise ValueError(message("SkeletonMerger.encode", "xyz", "hold two clouds or more in training", 1, remedy))
        found = self.encoder(xyz)
        maps = F.log_softmax(per_point(nn.Sequential(self.head, self.maps), found.features), dim=-1)
        return found.maps(self.logits(maps)), torch.sigmoid(self.strengths(found.summary))

    def offset_penalty(self) -> Tensor:
        """0.01 · Σ offsets², which the released training adds to the loss of a batch.

        >>> model = SkeletonMerger(3, grouping="single", width=0.125, points_per_edge=2)
        >>> _ = nn.init.ones_(model.offsets)
        >>> print(f"{model.offset_penalty().item():.4f}")
        0.1800
        """
        return 0.01 * self.offsets.square().sum()
