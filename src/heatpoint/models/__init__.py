"""Networks that take an image to maps of logits: the small default for CPUs, and heads on any timm backbone."""

from heatpoint.models.build import MODELS, make_model
from heatpoint.models.map_network import MapNetwork

__all__ = ["MODELS", "MapNetwork", "make_model"]
