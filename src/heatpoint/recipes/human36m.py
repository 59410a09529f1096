"""Human3.6M in space, as in Sampling-Argmax (5.2, Appendix A): Integral Pose, ResNet-50, 256 x 256 to 64 x 64 x 64 cells.

MPII is mixed in, half of every batch, its depths of weight 0. The paper trains for 140 epochs; its released configuration for
200, with 32 cells of depth, a temperature that stays at 2 and a learning rate that begins anew after 140.
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe
from heatpoint.recipes.published import BODIES, SAMPLING_ARGMAX_SPACE, SIX, released_options

DATA = DataConfig(
    dataset="human36m",
    input=256,
    box_policy="P2",
    padding=1.0,
    mixed_dataset="mpii",
    mixed_padding=1.25,
    depth_range_mm=2000,
    validation_fraction=0,
)

# The released configuration resets the rate at the 140th of 200 epochs, and lets it fall again at the 160th and 190th.
RELEASED = OptimizationConfig(
    epochs=200, batch_size=16, milestones=(90 / 200, 120 / 200, 160 / 200, 190 / 200), restart=140 / 200
)


def recipes() -> list[Recipe]:
    """`human36m-<localizer>` and `human36m-<localizer>-released` for the localizers of Table 4."""
    found = []
    for localizer in SIX:
        memory = {"memory": "low"} if localizer == "sampling_argmax" else {}
        base = Recipe(
            f"human36m-{localizer}",
            localizer,
            localizer_options=dict(memory),
            data=DATA,
            model=ModelConfig(backbone="resnet50", depth=64),
            optimization=replace(BODIES, batch_size=16),
            augmentation=SAMPLING_ARGMAX_SPACE,
            note="Integral Pose, Sampling-Argmax, Appendix A; the paper starts from --pretrained weights",
        )
        released = replace(
            base,
            name=f"{base.name}-released",
            localizer_options={**memory, **released_options(localizer, schedule=2.0, num_samples=10)},
            model=replace(base.model, depth=32),
            optimization=RELEASED,
            note="as its released code: 32 cells of depth, 200 epochs, temperature 2, sign gradient",
        )
        found += [base, released]
    return found
