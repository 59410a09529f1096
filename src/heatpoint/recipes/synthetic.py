"""Rendered faces with exact sub-pixel points: no data to fetch, minutes on two cores. What `heatpoint demo` trains."""

from __future__ import annotations

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe


def recipes() -> list[Recipe]:
    """`synthetic-<localizer>` for every localizer."""
    return [
        Recipe(
            f"synthetic-{localizer}",
            localizer,
            localizer_options={"sigma_cells": 1.0} if localizer == "gaussian_heatmap" else {},
            data=DataConfig(dataset="synthetic_faces", input=64, flip_test=False),
            model=ModelConfig(backbone="small", offset=0.0),
            optimization=OptimizationConfig(epochs=12, batch_size=32, learning_rate=2e-3),
            note="small network, 64 px, rendered faces",
        )
        for localizer in LOCALIZERS
    ]
