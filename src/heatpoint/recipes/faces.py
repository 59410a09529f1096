"""The face sets of Randomized Rounding (5.1 to 5.5): WFLW, the whole of 300W, COFW and AFLW, under one setting.

HRNet-W18 at 256 pixels, Adam at 1e-3 divided by 10 every 60 of 150 epochs, batches of 16, boxes of policy P1 grown by 1.25 as
in the released code, flip test, offset 0; all training images, the last epoch. The paper starts from ImageNet weights
(`--pretrained`). Its released networks end in two channels per point, "not here" and "here" (`-released`); the paper's loss, a
cross-entropy over space, takes one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from heatpoint.recipes.config import DataConfig, ModelConfig, Recipe
from heatpoint.recipes.published import FACES

SETS = {
    "wflw": DataConfig(dataset="wflw"),
    "w300": DataConfig(dataset="w300", test_split="full"),
    "cofw": DataConfig(dataset="cofw"),
    "aflw": DataConfig(dataset="aflw", normalizer="box", test_split="full"),
}
NETWORK = ModelConfig(backbone="hrnet_w18")
TWO_CHANNELS = {"channels": 2}
GAUSSIAN = {"center": "random", "readout": {"name": "top_k", "k": 9, "weighting": "values"}}
# What each variant changes of `<set>-randomized_rounding`, by the rest of its name.
VARIANTS: dict[str, dict[str, Any]] = {
    "randomized_rounding": {"note": "Randomized Rounding, 5.3; the paper starts from --pretrained weights"},
    "randomized_rounding-released": {
        "model": ModelConfig(backbone="hrnet_w18", head="h3r"),
        "localizer_options": TWO_CHANNELS,
        "note": "with the two channels per point of the released network",
    },
    "randomized_rounding-mobilenetv2": {
        "model": ModelConfig(backbone="mobilenetv2_h3r"),
        "localizer_options": TWO_CHANNELS,
        "note": "the released small network, 0.60 M parameters",
    },
    "baseline": {
        "localizer_options": {"label": "round", "readout": "argmax"},
        "note": "the paper's baseline: rounded labels, read by argmax",
    },
    "gaussian_heatmap": {
        "localizer": "gaussian_heatmap",
        "localizer_options": GAUSSIAN,
        "note": "Randomized Rounding, Table 9: Gaussians at randomly rounded cells",
    },
}


def recipes() -> list[Recipe]:
    """`<set>-randomized_rounding`, its `-released` and `-mobilenetv2`, `<set>-baseline` and `<set>-gaussian_heatmap`."""
    found = []
    for name, data in SETS.items():
        base = Recipe(
            name,
            "randomized_rounding",
            data=replace(data, validation_fraction=0),
            model=NETWORK,
            optimization=FACES,
        )
        found += [replace(base, name=f"{name}-{variant}", **changes) for variant, changes in VARIANTS.items()]
    return found
