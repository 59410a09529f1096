"""Rendered faces with exact sub-pixel points: no data to fetch, half a minute on two cores. What `heatpoint demo` trains.

The budget is a demo's: 1000 faces, 8 epochs. Faces are drawn with their own turns, light and things in front of them, so the
augmentation is mild; the strong one of the other recipes pays only in trainings many times as long.
"""

from __future__ import annotations

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe
from heatpoint.transforms import Augmentation

MILD = Augmentation(rotation_deg=10, scale=0.1, translation=0.03, erase=0)


def recipes() -> list[Recipe]:
    """`synthetic-<localizer>` for every localizer."""
    return [
        Recipe(
            f"synthetic-{localizer}",
            localizer,
            localizer_options={"sigma_cells": 1.0} if localizer == "gaussian_heatmap" else {},
            data=DataConfig(dataset="synthetic_faces", input=64, flip_test=False, limit=1000),
            model=ModelConfig(backbone="small", offset=0.0),
            optimization=OptimizationConfig(epochs=8, batch_size=16, learning_rate=2e-3, milestones=(0.7, 0.9)),
            augmentation=MILD,
            note="small network, 64 px, 1000 rendered faces",
        )
        for localizer in LOCALIZERS
    ]
