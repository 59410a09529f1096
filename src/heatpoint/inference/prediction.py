"""What was found in one box of one image, in that image's pixels."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray
from heatpoint.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Prediction:
    """The points of one object.

    Attributes:
        points: (K, 2) in image pixels, pixel centres at whole numbers.
        confidence: (K,), larger is surer; what it measures is the localizer's choice.
        covariance: (K, 2, 2) in image pixels².
        skeleton: Names and edges of the points.
        box: (x1, y1, x2, y2), first and last pixel of what was shown to the network, before padding.
        image: The image, (H, W, 3) uint8 RGB, for `plot`.
        source: Where the image came from; "" for an array.
        depths: (K,) how far each point lies behind the root, in millimetres, if the network emits volumes; else None. How far the
            root is, an image does not tell.
    """

    points: FloatArray
    confidence: FloatArray
    covariance: FloatArray
    skeleton: Skeleton
    box: tuple[float, float, float, float]
    image: npt.NDArray[np.uint8] = field(repr=False)
    source: str = ""
    depths: FloatArray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The points' names."""
        return self.skeleton.names

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: names, points, confidences, covariances, box, source, and depths if there are any."""
        return {
            "source": self.source,
            "box": list(self.box),
            "names": list(self.names),
            "points": self.points.tolist(),
            "confidence": self.confidence.tolist(),
            "covariance": self.covariance.tolist(),
            **({} if self.depths is None else {"depths_mm": self.depths.tolist()}),
        }

    def to_coco(self, *, image_id: int = 0, category_id: int = 1) -> dict[str, Any]:
        """A result in COCO's keypoint form.

        `keypoints` holds x, y and confidence of each point in turn, the box is (x, y, width, height), the score the mean
        confidence. COCO counts from the corner of the first pixel in its annotations and leaves the results' origin open;
        these are pixel centres at whole numbers, as in `points`.
        """
        x1, y1, x2, y2 = self.box
        triples = np.concatenate([self.points, self.confidence[:, None]], axis=1)
        return {
            "image_id": image_id,
            "category_id": category_id,
            "keypoints": [float(value) for value in triples.ravel()],
            "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
            "score": float(self.confidence.mean()),
        }

    def to_supervision(self) -> Any:
        """The points as `supervision.KeyPoints` (0.29 or later): one object, with its confidences and covariances.

        The covariances (1, K, 2, 2) stand in ``data["covariance"]``, where that library's ellipse annotators look for them.

        Raises:
            ModuleNotFoundError: If the package supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ModuleNotFoundError:
            remedy = "pip install 'supervision>=0.29'"
            raise ModuleNotFoundError(
                message("Prediction.to_supervision", "supervision", "be installed", "nothing of that name", remedy)
            ) from None
        return supervision.KeyPoints(
            xy=self.points.astype(np.float32)[None],
            keypoint_confidence=self.confidence.astype(np.float32)[None],
            data={"covariance": self.covariance.astype(np.float32)[None]},
        )

    def plot(self, path: str | Path | None = None, *, level: float = 0.9) -> npt.NDArray[np.uint8]:
        """Draws points, edges and the ellipses that hold a share `level` of each point's mass.

        Args:
            path: Where to write the picture as well; None writes nothing.
            level: Between 0 and 1.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        return plot_all([self], path, level=level)


def plot_all(
    predictions: list[Prediction], path: str | Path | None = None, *, level: float = 0.9
) -> npt.NDArray[np.uint8]:
    """Draws all predictions of one image into one picture; see `Prediction.plot`.

    Raises:
        ValueError: If there is no prediction to draw, or the path's ending is no image format.
    """
    from heatpoint.report.figures import draw_prediction

    if not predictions:
        raise ValueError(message("plot_all", "predictions", "hold at least one", "none"))
    picture = predictions[0].image
    for found in predictions:
        shown = np.clip(found.confidence, 0, 1)
        picture = draw_prediction(picture, found.points, found.covariance, shown, found.skeleton, level=level)
    if path is not None:
        _write_picture(Path(path), picture)
    return picture


def _write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    import cv2

    from heatpoint.training.files import write_bytes

    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(message("Prediction.plot", "path", "end in .png or .jpg", path))
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_bytes(path, encoded.tobytes())
