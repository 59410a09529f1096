"""Networks that take images, scans or clouds to maps of logits: small ones for CPUs, and the published ones."""

from heatpoint.models.build import MODELS, make_model
from heatpoint.models.map_network import MapNetwork
from heatpoint.models.pointnet2 import PointNet2
from heatpoint.models.published import FAMILIES, load_published, published_names
from heatpoint.models.skeleton_merger import SkeletonMerger
from heatpoint.models.surface_net import SurfaceNet
from heatpoint.models.volume import VolumeNetwork

__all__ = [
    "FAMILIES",
    "MODELS",
    "MapNetwork",
    "PointNet2",
    "SkeletonMerger",
    "SurfaceNet",
    "VolumeNetwork",
    "load_published",
    "make_model",
    "published_names",
]
