"""Localizers: a score, a readout and a confidence under one name, so that a method is one line in a training loop.

>>> import torch
>>> from heatpoint.support import Grid
>>> grid = Grid((16, 12), stride=4)
>>> localizer = make_localizer("sampling_argmax", grid, basis="triangular", num_samples=5)
>>> logits, target = torch.zeros(2, 3, 16, 12), torch.full((2, 3, 2), 20.0)
>>> localizer.loss(logits, target, weight=torch.ones(2, 3), progress=0.25).shape
torch.Size([])
>>> found = localizer.locate(logits)
>>> found.points.shape, found.confidence.shape, found.covariance.shape
(torch.Size([2, 3, 2]), torch.Size([2, 3]), torch.Size([2, 3, 2, 2]))
"""

from heatpoint.localizers._base import Localizer, Located
from heatpoint.localizers._expectation import (
    DiscreteExpectation,
    SamplingArgmax,
    SoftArgmax,
    SoftArgmaxJS,
    SoftArgmaxVariance,
)
from heatpoint.localizers._labels import GaussianHeatmap, RandomizedRounding
from heatpoint.localizers._make import LOCALIZERS, localizer_from_dict, make_localizer
from heatpoint.localizers._proper import Crps, EnergyScore, LogScore

__all__ = [
    "LOCALIZERS",
    "Crps",
    "DiscreteExpectation",
    "EnergyScore",
    "GaussianHeatmap",
    "Localizer",
    "Located",
    "LogScore",
    "RandomizedRounding",
    "SamplingArgmax",
    "SoftArgmax",
    "SoftArgmaxJS",
    "SoftArgmaxVariance",
    "localizer_from_dict",
    "make_localizer",
]
