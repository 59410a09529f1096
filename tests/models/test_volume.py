"""Volumes from the channels of a 2D network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heatpoint.models import VolumeNetwork, make_model
from heatpoint.support import Grid


def test_channels_are_points_then_layers() -> None:
    network = nn.Conv2d(3, 5 * 6, 4, stride=4)
    nn.init.zeros_(network.weight)
    with torch.no_grad():
        network.bias.copy_(torch.arange(30.0))
    model = VolumeNetwork(network, num_points=5, depth=6, input_size=(12, 8), stride=4)
    volume = model(torch.rand(2, 3, 8, 12))
    assert volume.shape == (2, 5, 6, 2, 3)
    assert volume[1, 4, 2, 0, 0].item() == 4 * 6 + 2
    assert "depth=6" in repr(model)


def test_the_grid_is_as_deep_as_the_input_is_wide() -> None:
    model = make_model("small", num_points=3, input_size=(64, 32), depth=8)
    assert model(torch.rand(1, 3, 32, 64)).shape == (1, 3, 8, 8, 16)
    assert model.grid(0.0) == Grid((8, 8, 16), stride=(4.0, 4.0, 8.0), offset=0.0)
    assert model.grid() == Grid((8, 8, 16), stride=(4.0, 4.0, 8.0), offset=(1.5, 1.5, 3.5))
    assert make_model("small", num_points=3, input_size=64, depth=16).grid(0.0) == Grid((16,) * 3, stride=4, offset=0.0)


@pytest.mark.parametrize("depth", [64, 32])
def test_integral_pose_of_the_paper_and_of_the_released_code(depth: int) -> None:
    with torch.device("meta"):  # Shapes without numbers: the network has 34 million weights.
        model = make_model("resnet50", num_points=18, input_size=256, depth=depth)
        volume = model.eval()(torch.zeros(2, 3, 256, 256))
    assert volume.shape == (2, 18, depth, 64, 64)
    assert model.grid(0.0) == Grid((depth, 64, 64), stride=(4.0, 4.0, 256 / depth) if depth == 32 else 4.0, offset=0.0)
    backbone, deconvolutions, head = 23_508_032, 2048 * 256 * 16 + 2 * 256 * 256 * 16 + 3 * 512, 257 * 18 * depth
    assert sum(p.numel() for p in model.parameters()) == backbone + deconvolutions + head


def test_refused_depths() -> None:
    with pytest.raises(
        ValueError, match=r"make_model: depth must be at least 0, and 0 with several channels per point, got -1"
    ):
        make_model("small", num_points=3, input_size=32, depth=-1)
    with pytest.raises(ValueError, match="make_model: depth must be at least 0, and 0 with several"):
        make_model("small", num_points=3, input_size=32, depth=4, channels_per_point=2)
    with pytest.raises(ValueError, match="VolumeNetwork: depth must be at least 1, got 0"):
        VolumeNetwork(nn.Identity(), num_points=1, depth=0, input_size=(4, 4), stride=4)
