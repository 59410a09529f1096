"""MPII single persons, 16 joints, as in Randomized Rounding (Appendix B): HRNet and SimplePose at 256 pixels.

They train on the 22 246 persons of HRNet's list and are scored on the 2 958 of its validation list, by PCKh.
"""

from __future__ import annotations

from dataclasses import replace

from heatpoint.recipes.config import DataConfig, Recipe
from heatpoint.recipes.published import BODIES, GAUSSIAN, GAUSSIAN_RANDOM, HRNET, HRNET_MPII, PUBLISHED_MODELS

DATA = DataConfig(
    dataset="mpii",
    input=256,
    box_policy="P2",
    padding=1.25,
    validation_fraction=0,
    pose_score="hrnet",
    flip_average="maps_shifted",
)


def recipes() -> list[Recipe]:
    """`mpii-gaussian_heatmap-<network>` and its `-h3r` twin."""
    found = []
    for network, model in PUBLISHED_MODELS.items():
        base = Recipe(
            f"mpii-gaussian_heatmap-{network}",
            "gaussian_heatmap",
            localizer_options=dict(GAUSSIAN),
            data=DATA,
            model=model,
            optimization=HRNET if network.startswith("hrnet") else BODIES,
            augmentation=HRNET_MPII,
            note="as HRNet's code trains and tests",
        )
        note = "Randomized Rounding, Appendix B: in training and testing"
        found += [base, replace(base, name=f"{base.name}-h3r", localizer_options=dict(GAUSSIAN_RANDOM), note=note)]
    return found
