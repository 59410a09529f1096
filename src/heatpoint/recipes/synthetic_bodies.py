"""Rendered figures with known cameras: pose in 3D by volumes, without any data.

4000 figures at 64 pixels, volumes of 16 x 16 x 16 cells, 2 m deep; about ten minutes of one thread for most localizers. Sampling
takes several times as long.
"""

from __future__ import annotations

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe
from heatpoint.transforms import Augmentation

MILD = Augmentation(
    rotation_deg=10, scale=0.1, translation=0.03, brightness=0, contrast=0, saturation=0, erase=0
)  # The shade tells the depth: light is left as it is.


def recipes() -> list[Recipe]:
    """`synthetic_bodies-<localizer>` for every localizer."""
    return [
        Recipe(
            f"synthetic_bodies-{localizer}",
            localizer,
            localizer_options={"sigma_cells": 1.0} if localizer == "gaussian_heatmap" else {},
            data=DataConfig(dataset="synthetic_bodies", input=64, box_policy="P2", padding=1.1, depth_range_mm=2000),
            model=ModelConfig(backbone="small", offset=0.0, depth=16),
            optimization=OptimizationConfig(epochs=16, batch_size=16, learning_rate=2e-3, milestones=(0.6, 0.85)),
            augmentation=MILD,
            note="small network, 64 px, 16 x 16 x 16 cells, rendered figures",
        )
        for localizer in LOCALIZERS
    ]
