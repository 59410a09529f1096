"""From trained weights to points in photographs, surfaces in scans and keypoints on point clouds."""

from heatpoint.inference.clouds import CloudPrediction, CloudPredictor
from heatpoint.inference.prediction import Prediction
from heatpoint.inference.predictor import Predictor
from heatpoint.inference.scans import ScanPrediction, ScanPredictor

__all__ = ["CloudPrediction", "CloudPredictor", "Prediction", "Predictor", "ScanPrediction", "ScanPredictor"]
