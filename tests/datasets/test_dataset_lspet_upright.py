"""LSPET with torsos upright: the turn takes pixels and points alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heatpoint.datasets.lspet_upright import SIZE, open_lspet_upright, upright_frame
from heatpoint.datasets.sample import Sample


def body(angle: float) -> Sample:
    x = [-9, -9, -8, 8, 9, 9, -14, -13, -10, 10, 13, 15, 0, 1]
    y = [30, 20, 4, 4, 20, 31, 8, 0, -14, -14, 0, 8, -17, -25]
    points = np.stack([x, y], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points @ np.array([[cos, -sin], [sin, cos]]).T + [70.0, 60.0]
    return Sample(np.zeros((120, 140, 3), np.uint8), turned, np.ones(14, bool), None, "a")


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5, -1.9])
def test_a_body_is_turned_upright_whichever_way_it_lies(angle: float) -> None:
    upright = upright_frame(body(0.0)).to_input(body(0.0).points)
    found = upright_frame(body(angle)).to_input(body(angle).points)
    torso = found[12] - (found[2] + found[3]) / 2
    assert torso[0] == pytest.approx(0, abs=1e-9)
    assert torso[1] < 0
    np.testing.assert_allclose(found, upright, atol=1e-9)
    low, high = found.min(axis=0), found.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, (SIZE - 1) / 2, atol=1e-9)
    assert (high - low).max() == pytest.approx(SIZE / 1.6)


def test_shoulders_stand_in_for_a_hidden_neck_and_a_body_without_torso_is_refused() -> None:
    visible = np.ones(14, bool)
    visible[12] = False
    frame = upright_frame(replace(body(0.4), visible=visible))
    found = frame.to_input(body(0.4).points)
    assert (found[8] + found[9] - found[2] - found[3])[0] == pytest.approx(0, abs=1e-9)
    visible[8] = False
    with pytest.raises(
        ValueError, match="upright_frame: sample must show both hips and the neck or both shoulders, got a"
    ):
        upright_frame(replace(body(0.4), visible=visible))


def test_the_set_at_hand_stands_upright(data_root: Path) -> None:
    found = open_lspet_upright(data_root, "test")
    assert (found.name, len(found)) == ("lspet_upright", 184)
    assert found.protocol["upright"] == "torsos turned upright by their labels; 41 people without one left out"
    for sample in found.samples:
        assert isinstance(sample.image, np.ndarray)
        assert sample.image.shape == (SIZE, SIZE, 3)
        if sample.visible[12]:
            torso = sample.points[12] - sample.points[[2, 3]].mean(axis=0)
            assert abs(torso[0]) < 1e-9 < -torso[1]
