"""MTFL faces with 5 points, as in "Sampling-Argmax", Appendix A and E.

ResNet-18 with three deconvolutions at 256 pixels, Adam at 1e-3 divided by 10 at the 10th and 20th of 30 epochs, batches of 32 on
each of 4 GPUs (`--devices 4 --strategy ddp`), offset 0, no flip test. The paper names no crop: its published preset shows the
whole image, and so do we. It names no augmentation: that of "Randomized Rounding" stands here, that of the published preset in
the `-released` variants.
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, OptimizationConfig, Recipe
from heatpoint.recipes.faces300w import small
from heatpoint.recipes.published import SAMPLING_ARGMAX_FACES, SIX, released_options

NOTE = "from scratch, augmented and 5 % held out, unlike the paper"


def recipes() -> list[Recipe]:
    """`mtfl-<localizer>` and `mtfl-<localizer>-small` for every localizer, and the paper's six as released."""
    found = []
    for localizer in LOCALIZERS:
        base = Recipe(
            f"mtfl-{localizer}",
            localizer,
            # The number of samples that the published configuration sets.
            localizer_options={"num_samples": 30} if localizer == "sampling_argmax" else {},
            data=DataConfig(dataset="mtfl", box_policy="image", padding=1.0, flip_test=False),
            model=ModelConfig(backbone="resnet18"),
            optimization=OptimizationConfig(epochs=30, batch_size=32, milestones=(10 / 30, 20 / 30)),
            note=NOTE,
        )
        found += [base, small(base)]
        if localizer in SIX:
            options = released_options(localizer, schedule={"name": "released_2d", "num_epochs": 30})
            released = replace(
                base,
                name=f"{base.name}-released",
                localizer_options={**base.localizer_options, **options},
                augmentation=SAMPLING_ARGMAX_FACES,
                note="as the released code: formula, annealing, sign gradient and augmentation; 5 % held out",
            )
            found.append(released)
    return found
