"""From a sample to the network's input: the crop, one-matrix augmentation, anti-aliased warp, changes of colour."""

from heatpoint.transforms.augment import Augmentation, augment_frame, erase, photometric
from heatpoint.transforms.clouds import CloudAugmentation, CloudExample, make_cloud_example
from heatpoint.transforms.depth import depth_to_input, depth_to_mm
from heatpoint.transforms.example import POLICIES, Example, box_of, make_example
from heatpoint.transforms.scans import ScanAugmentation, ScanExample, flattening_rows, make_scan_example
from heatpoint.transforms.warp import warp

__all__ = [
    "POLICIES",
    "Augmentation",
    "CloudAugmentation",
    "CloudExample",
    "Example",
    "ScanAugmentation",
    "ScanExample",
    "augment_frame",
    "box_of",
    "depth_to_input",
    "depth_to_mm",
    "erase",
    "flattening_rows",
    "make_cloud_example",
    "make_example",
    "make_scan_example",
    "photometric",
    "warp",
]
