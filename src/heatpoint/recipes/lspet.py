"""Leeds Sports Pose Extended, 14 joints: the stand-in for COCO and MPII where only it is at hand.

The networks and schedules are those of the papers' body poses; the set is a hundredth of COCO's size and its labels are coarser,
so the numbers stand beside each other and not beside the papers'. The `-small` variants train our tiny network at 64 pixels on
people turned upright (`datasets.lspet_upright` says why).
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe
from heatpoint.transforms import Augmentation

TURNED = Augmentation(rotation_deg=40, scale=0.3, translation=0, brightness=0, contrast=0, saturation=0, erase=0)


def recipes() -> list[Recipe]:
    """`lspet-<localizer>` and `lspet-<localizer>-small` for every localizer."""
    found = []
    for localizer in LOCALIZERS:
        base = Recipe(
            f"lspet-{localizer}",
            localizer,
            data=DataConfig(dataset="lspet", input=(192, 256), box_policy="P1", padding=1.25),
            model=ModelConfig(backbone="resnet50"),
            optimization=OptimizationConfig(epochs=140, batch_size=32, milestones=(90 / 140, 120 / 140)),
            augmentation=TURNED,
            note="SimplePose as on COCO, from scratch",
        )
        small = replace(
            base,
            name=f"{base.name}-small",
            localizer_options={"sigma_cells": 1.0} if localizer == "gaussian_heatmap" else {},
            data=replace(base.data, dataset="lspet_upright", input=64),
            model=ModelConfig(backbone="tiny"),
            optimization=OptimizationConfig(epochs=16, batch_size=16, learning_rate=2e-3, milestones=(0.7, 0.9)),
            note="for small machines: tiny network, 64 px, 16 epochs, torsos upright",
        )
        found += [base, small]
    return found
