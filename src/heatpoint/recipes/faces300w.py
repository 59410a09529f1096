"""300-W faces with 68 points, as in "Heatmap Regression via Randomized Rounding", Section 5.3.

HRNet-W18 at 256 pixels, Adam at 1e-3 divided by 10 every 60 of 150 epochs, batches of 16, boxes of policy P1, flip test,
offset 0. The paper starts from ImageNet weights (`--pretrained`) and trains on all of 300-W. The padding of the tight box,
1.25, is that of the released code. Here 5 % of the training faces are held out to choose the best epoch.

The `-small` variants are scaled for small machines: our small network, 64 pixels, 40 epochs, batches of 32 at 2e-3, Gaussian
targets of one cell, and a learning rate that falls at 70 and 90 % of the epochs: few epochs cannot afford to let it fall at 40 %.
The augmentation stays at the same shares of the input.
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import ModelConfig, OptimizationConfig, Recipe

NOTE = "from scratch and 5 % held out, unlike the paper"
SMALL_MODEL = ModelConfig(backbone="small", offset=0.0)
SMALL_OPTIMIZATION = OptimizationConfig(epochs=40, batch_size=32, learning_rate=2e-3, milestones=(0.7, 0.9))


def recipes() -> list[Recipe]:
    """`faces300w-<localizer>` and `faces300w-<localizer>-small` for every localizer."""
    found = []
    for localizer in LOCALIZERS:
        base = Recipe(f"faces300w-{localizer}", localizer, model=ModelConfig(backbone="hrnet_w18"), note=NOTE)
        found += [base, small(base)]
    return found


def small(base: Recipe) -> Recipe:
    """The variant of a recipe for small machines."""
    options = {"sigma_cells": 1.0} if base.localizer == "gaussian_heatmap" else {}
    return replace(
        base,
        name=f"{base.name}-small",
        localizer_options=options,
        data=replace(base.data, input=64),
        model=SMALL_MODEL,
        optimization=SMALL_OPTIMIZATION,
        note="for small machines: small network, 64 px, 40 epochs, late rate drop",
    )
