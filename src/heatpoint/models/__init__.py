"""Networks that take an image to maps of logits: the small default for CPUs, and heads on any timm backbone."""

from heatpoint.models.build import MODELS, make_model
from heatpoint.models.map_network import MapNetwork
from heatpoint.models.published import FAMILIES, load_published, published_names
from heatpoint.models.surface_net import SurfaceNet
from heatpoint.models.volume import VolumeNetwork

__all__ = [
    "FAMILIES",
    "MODELS",
    "MapNetwork",
    "SurfaceNet",
    "VolumeNetwork",
    "load_published",
    "make_model",
    "published_names",
]
