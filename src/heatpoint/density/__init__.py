"""Density: the mixture p(y) = Σ π_i f_i(y) that a map of logits is, and what can be asked of it."""

from heatpoint._distances import DISTANCES, Distance
from heatpoint.density._density import Density

__all__ = ["DISTANCES", "Density", "Distance"]
