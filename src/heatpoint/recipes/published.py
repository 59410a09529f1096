"""What recipes of several sets share: published schedules, augmentations, target maps, and the released code's options.

Sources: Sampling-Argmax, Appendix A, and its released configurations and presets; Randomized Rounding, 5.3 and Appendix B;
the configurations of HRNet, which Randomized Rounding builds on. Where paper and released code differ there are two recipes:
`<set>-<localizer>` is the paper's, `<set>-<localizer>-released` the code's.
"""

from __future__ import annotations

from typing import Any

from heatpoint.recipes.config import ModelConfig, OptimizationConfig
from heatpoint.transforms import Augmentation

# The localizers of Sampling-Argmax's tables.
SIX = ("soft_argmax", "soft_argmax_variance", "soft_argmax_js", "sampling_argmax")

_PLAIN: dict[str, Any] = {
    "translation": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "erase": 0.0,
    "zoom": "region",
}
# The preset of the released COCO configuration: the region ± 30 %, one image of two rotated by up to 40 degrees, no half bodies.
SAMPLING_ARGMAX_BODIES = Augmentation(**_PLAIN, rotation_deg=40, rotation_share=0.5, scale=0.3)
# That of its faces: normal draws, three images of five rotated.
SAMPLING_ARGMAX_FACES = Augmentation(**_PLAIN, rotation_deg=40, rotation_share=0.6, scale=0.3, law="normal")
# That of its bodies in space: with factors on the colours, and a rectangle of noise on every image. The released rectangle
# lies in the box, its aspect uniform from 0.3 to 3.3; ours in the input, its aspect uniform in the logarithm.
SAMPLING_ARGMAX_SPACE = Augmentation(
    **{**_PLAIN, "erase": 1.0},
    erase_area=(0.001, 0.7),
    rotation_deg=30,
    rotation_share=0.6,
    scale=0.3,
    law="normal",
    channels=0.2,
)
# HRNet on COCO and on MPII; SimplePose in the same code.
HRNET_COCO = Augmentation(**_PLAIN, rotation_deg=45, rotation_share=0.6, scale=0.35, law="normal", half_body=0.3)
HRNET_MPII = Augmentation(**_PLAIN, rotation_deg=30, rotation_share=0.6, scale=0.25, law="normal")
SIMPLE_COCO = Augmentation(**_PLAIN, rotation_deg=40, rotation_share=0.6, scale=0.3, law="normal")

# Adam at 1e-3, divided by 10 at the 90th and 120th of 140 epochs, batches of 32 on each of 8 GPUs (Appendix A).
BODIES = OptimizationConfig(epochs=140, batch_size=32, milestones=(90 / 140, 120 / 140))
# Adam at 1e-3, divided by 10 every 60 of 150 epochs, batches of 16 (Randomized Rounding, 5.3).
FACES = OptimizationConfig(epochs=150, batch_size=16, milestones=(0.4, 0.8))
# HRNet: Adam at 1e-3, divided by 10 at the 170th and 200th of 210 epochs, batches of 32 on each of 4 GPUs.
HRNET = OptimizationConfig(epochs=210, batch_size=32, milestones=(170 / 210, 200 / 210))

# Published heatmap regression: the Gaussian stands at the rounded cell and ends at three sigmas.
GAUSSIAN: dict[str, Any] = {"sigma_cells": 2.0, "radius_sigmas": 3.0, "center": "round", "readout": "quarter_shift"}
# Randomized Rounding on poses (Appendix B): at a randomly rounded cell, read by the 11 largest values.
GAUSSIAN_RANDOM: dict[str, Any] = {
    **GAUSSIAN,
    "center": "random",
    "readout": {"name": "top_k", "k": 11, "weighting": "logits"},
}
PUBLISHED_MODELS = {
    "hrnet_w32": ModelConfig(backbone="hrnet_w32", head="branch"),
    "hrnet_w48": ModelConfig(backbone="hrnet_w48", head="branch"),
    "resnet50": ModelConfig(backbone="resnet50"),
    "resnet101": ModelConfig(backbone="resnet101"),
    "resnet152": ModelConfig(backbone="resnet152"),
}


def released_options(localizer: str, *, schedule: dict[str, Any] | float, num_samples: int = 30) -> dict[str, Any]:
    """Options under which a localizer does what the released code of Sampling-Argmax does: its formula and its sign gradient.

    >>> released_options("soft_argmax", schedule=2.0)
    {'sign_gradient': True}
    """
    options: dict[str, Any] = {"sign_gradient": True}
    if localizer == "sampling_argmax":
        options |= {"formula": "released", "temperature": schedule, "num_samples": num_samples}
    return options
