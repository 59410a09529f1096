"""Which form of a hot operation runs: the plain formula in torch, or a faster one of the same law.

The plain functions of `heatpoint.sampling`, `heatpoint.scores` and `heatpoint.readout` are what every other form is tested
against. A faster form is chosen where it applies; its results are those of the plain one to rounding, given the same draws.

>>> with use("torch"):
...     current()
'torch'
>>> current()
'auto'
"""

from __future__ import annotations

from heatpoint.kernels.choice import FORMS, available, choose, current, use

__all__ = ["FORMS", "available", "choose", "current", "use"]
