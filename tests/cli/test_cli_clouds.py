"""Scores of clouds as a terminal shows them."""

from __future__ import annotations

import io

import torch
from rich.console import Console

from heatpoint.cli import cloud_scores
from heatpoint.cli.printing import print_scores
from heatpoint.datasets import synthetic_clouds
from heatpoint.training.cloud_scores import Located, alignment_scores, keypoint_scores


def test_every_column_has_its_number_and_what_was_left_out_is_said() -> None:
    found = synthetic_clouds(3, category="table", num_points=90)
    points = torch.stack([torch.from_numpy(cloud.points) for cloud in found.samples])
    located = {"recipe": Located(points + 0.013, torch.rand(points.shape[:2], dtype=torch.float64))}
    row = keypoint_scores(located, found)["recipe"]
    assert len(cloud_scores.columns(row)) == len(cloud_scores.numbers(row)) == 6
    assert cloud_scores.columns(row)[:2] == ["PCK@0.01 %\neuclidean", "PCK@0.03 %\neuclidean"]
    assert cloud_scores.numbers(row)[:2] == ["0.00", "100.00"]
    assert cloud_scores.numbers(row)[4] == "0.02252"
    lines = cloud_scores.more(row | {"left_out": 2}, {"num_images": 3})
    assert lines[0].startswith("PCK % euclidean @0.01 0.0, @0.02 0.0, @0.03 100.0")
    assert lines[-1] == "2 of 3 clouds have no keypoint and are left out"
    text = io.StringIO()
    shown = {
        "task": "cloud", "recipe": "a", "num_images": 3, "split": "test", "scores": {"recipe": row},
        "protocol": {"limit": 0}, "decoders": {},
    }  # fmt: skip
    print_scores(shown, Console(file=text, width=160))
    assert "a on 3 test clouds" in text.getvalue()
    assert "PCK@t: share of keypoints nearer than t" in text.getvalue()
    das = alignment_scores(located, found)["recipe"]
    assert len(cloud_scores.columns(das)) == len(cloud_scores.numbers(das)) == 3
    assert cloud_scores.more(das, {}) == []
