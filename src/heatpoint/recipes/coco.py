"""COCO keypoints: SimplePose as in Sampling-Argmax (5.1, Appendix A), HRNet as in Randomized Rounding (Appendix B).

All train on the whole of train2017 and keep the last epoch. Scores are those of val2017: of the boxes that a detector found
("detected", what Randomized Rounding's rows without GT show) or of annotated boxes. Sampling-Argmax does not say which of the
two its Table 1 takes; its released configuration tests on detected boxes, and so do we.
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.localizers import LOCALIZERS
from heatpoint.recipes.config import DataConfig, ModelConfig, Recipe
from heatpoint.recipes.published import (
    BODIES,
    GAUSSIAN,
    GAUSSIAN_RANDOM,
    HRNET,
    HRNET_COCO,
    PUBLISHED_MODELS,
    SAMPLING_ARGMAX_BODIES,
    SIMPLE_COCO,
    SIX,
    released_options,
)

DATA = DataConfig(
    dataset="coco", input=(192, 256), box_policy="P2", padding=1.25, validation_fraction=0, test_split="detected"
)
HRNET_DATA = replace(DATA, pose_score="hrnet", flip_average="maps_shifted")


def recipes() -> list[Recipe]:
    """`coco-<localizer>`, `coco-<localizer>-released` and `coco-gaussian_heatmap-<network>` with its `-h3r` twin."""
    return [*_sampling_argmax(), *_heatmaps()]


def _sampling_argmax() -> list[Recipe]:
    found = []
    for localizer in LOCALIZERS:
        base = Recipe(
            f"coco-{localizer}",
            localizer,
            localizer_options={"num_samples": 30} if localizer == "sampling_argmax" else {},
            data=DATA,
            model=ModelConfig(backbone="resnet50"),
            optimization=BODIES,
            augmentation=SAMPLING_ARGMAX_BODIES,
            note="SimplePose, Sampling-Argmax, Appendix A; the paper starts from --pretrained weights",
        )
        found.append(base)
        if localizer in SIX:
            options = released_options(localizer, schedule={"name": "released_2d", "num_epochs": 140})
            note = "as its released code: formula, annealing and sign gradient"
            found.append(
                replace(
                    base,
                    name=f"{base.name}-released",
                    localizer_options={**base.localizer_options, **options},
                    note=note,
                )
            )
    return found


def _heatmaps() -> list[Recipe]:
    found = []
    for network, model in PUBLISHED_MODELS.items():
        is_hrnet = network.startswith("hrnet")
        base = Recipe(
            f"coco-gaussian_heatmap-{network}",
            "gaussian_heatmap",
            localizer_options=dict(GAUSSIAN),
            data=HRNET_DATA,
            model=model,
            optimization=HRNET if is_hrnet else BODIES,
            augmentation=HRNET_COCO if is_hrnet else SIMPLE_COCO,
            note="as HRNet's code trains and tests",
        )
        random = replace(
            base,
            name=f"{base.name}-h3r",
            localizer_options=dict(GAUSSIAN_RANDOM),
            note="Randomized Rounding, Appendix B: in training and testing",
        )
        found += [base, random]
    return found
