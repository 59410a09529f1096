"""From trained weights and a photograph to points in its pixels."""

from heatpoint.inference.prediction import Prediction
from heatpoint.inference.predictor import Predictor

__all__ = ["Prediction", "Predictor"]
