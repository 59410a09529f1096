"""Object keypoint similarity (OKS), and what is made of detected poses with it before they are scored.

COCO's scores over a whole set are in `heatpoint.metrics.coco`.
"""

from __future__ import annotations

from heatpoint.metrics.oks._nms import oks_nms, pose_nms, rescored, soft_oks_nms
from heatpoint.metrics.oks._similarity import oks, oks_matrix, peak_oks_correlation

__all__ = ["oks", "oks_matrix", "oks_nms", "peak_oks_correlation", "pose_nms", "rescored", "soft_oks_nms"]
