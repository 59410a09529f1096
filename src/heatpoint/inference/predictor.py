"""Trained weights as a function from images to points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heatpoint._checks import message
from heatpoint.datasets import load_image
from heatpoint.frames import FloatArray, Frame
from heatpoint.inference.prediction import Prediction
from heatpoint.training.locating import locate
from heatpoint.training.machine import check_device
from heatpoint.training.weights import CONVENTIONS, Trained, load_weights
from heatpoint.transforms import depth_to_mm, warp

Box = tuple[float, float, float, float]
ImageSource = str | Path | npt.NDArray[np.uint8]


class Predictor:
    """Locates points in photographs.

    Boxes are cut out as in training: with the recipe's padding, and to the recipe's input size. Boxes of another policy than
    the recipe's cost accuracy (Randomized Rounding, Table 10).

    Args:
        trained: Network, localizer, recipe and skeleton.
        flip_test: Average over the image and its mirror image; None takes the recipe's choice.
        refinements: How often a box is made from the points just found and looked at again, where no boxes are given and the
            recipe's boxes are tight ones (P1).
        batch_size: Boxes at a time.
        device: Where the network runs; None leaves it where it is.
    """

    def __init__(
        self,
        trained: Trained,
        *,
        flip_test: bool | None = None,
        refinements: int = 2,
        batch_size: int = 32,
        device: torch.device | str | None = None,
    ) -> None:
        if trained.recipe.task != "image":
            remedy = "heatpoint.inference has a predictor for each kind of data."
            raise ValueError(message("Predictor", "trained", "locate points in images", trained.recipe.name, remedy))
        self.trained = trained
        self.flip_test = trained.recipe.data.flip_test if flip_test is None else flip_test
        self.refinements = refinements
        self.batch_size = batch_size
        own = next(trained.model.parameters()).device
        self.device = own if device is None else check_device("Predictor", device)
        trained.model.to(self.device).eval()

    @classmethod
    def load(cls, path: str | Path, *, flip_test: bool | None = None, device: torch.device | str = "cpu") -> Predictor:
        """Loads the weights that `heatpoint train` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not one of heatpoint's.
        """
        return cls(load_weights(path, device=device), flip_test=flip_test, device=device)

    def __repr__(self) -> str:
        recipe = self.trained.recipe
        return f"Predictor({recipe.name!r}, input={recipe.data.input}, boxes={recipe.data.box_policy!r})"

    def describe(self) -> dict[str, Any]:
        """What predictions depend on beside the image: recipe, box policy, flip test, conventions; plain JSON values."""
        recipe = self.trained.recipe
        return {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "box_policy": recipe.data.box_policy,
            "padding": recipe.data.padding,
            "flip_test": self.flip_test,
            **({"depth_range_mm": recipe.data.depth_range_mm} if recipe.data.depth_range_mm > 0 else {}),
            **({"flip_average": recipe.data.flip_average} if self.flip_test else {}),
            "conventions": CONVENTIONS,
        }

    def __call__(
        self, image: ImageSource, boxes: Sequence[Sequence[float]] | FloatArray | None = None
    ) -> list[Prediction]:
        """Locates the points of each box.

        Args:
            image: A path, or (H, W, 3) uint8 RGB.
            boxes: (x1, y1, x2, y2) of each object: the coordinates of its first and last pixel. None: there is one object,
                which fills a good part of the image. If the recipe's boxes are tight (P1), the box is found from the whole
                image by repeated looks, see `refinements`.

        Returns:
            One prediction per box, in image pixels.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If the image or a box is not as it must be.
        """
        pixels = load_image(Path(image) if isinstance(image, str) else image)
        source = "" if isinstance(image, np.ndarray) else str(image)
        height, width = pixels.shape[:2]
        if boxes is not None:
            given = [_box(box, width, height) for box in boxes]
            return self._locate(pixels, source, given, self.trained.recipe.data.padding)
        # The image is the crop: growing it would only add black borders.
        found = self._locate(pixels, source, [(0.0, 0.0, width - 1.0, height - 1.0)], 1.0)
        for _ in range(self.refinements if self.trained.recipe.data.box_policy == "P1" else 0):
            box = np.concatenate([found[0].points.min(axis=0), found[0].points.max(axis=0)])
            if not (box[2:] > box[:2]).all():
                break  # A single point has no tight box: what the whole image gave is kept.
            x1, y1, x2, y2 = box.tolist()
            found = self._locate(pixels, source, [(x1, y1, x2, y2)], self.trained.recipe.data.padding)
        return found

    def _locate(self, pixels: npt.NDArray[np.uint8], source: str, boxes: list[Box], padding: float) -> list[Prediction]:
        size = self.trained.recipe.data.size
        frames = [Frame.from_box(box, size, padding=padding) for box in boxes]
        found: list[Prediction] = []
        for start in range(0, len(boxes), self.batch_size):
            part = slice(start, start + self.batch_size)
            found += self._predict(pixels, source, boxes[part], frames[part])
        return found

    def _predict(
        self,
        pixels: npt.NDArray[np.uint8],
        source: str,
        boxes: list[Box],
        frames: list[Frame],
    ) -> list[Prediction]:
        crops = np.stack([warp(pixels, frame).transpose(2, 0, 1) for frame in frames])
        images = torch.from_numpy(crops).to(self.device)
        swap = self.trained.skeleton.swap if self.flip_test else None
        average = self.trained.recipe.data.flip_average
        located = locate(self.trained.model, {"": self.trained.localizer}, images, swap=swap, average=average)[""]
        points, confidence, covariance = (value.double().cpu().numpy() for value in located)
        if not np.isfinite(points).all():
            remedy = "The training has diverged: train again, at a lower learning rate."
            raise ValueError(message("Predictor", "the weights", "give finite points", "NaN or infinity", remedy))
        depths = self._depths(points)
        return [
            Prediction(
                points=frame.to_image(points[i, :, :2]),
                confidence=confidence[i],
                covariance=frame.covariance_to_image(covariance[i, :, :2, :2]),
                skeleton=self.trained.skeleton,
                box=boxes[i],
                image=pixels,
                source=source,
                depths=None if depths is None else depths[i],
            )
            for i, frame in enumerate(frames)
        ]

    def _depths(self, points: FloatArray) -> FloatArray | None:
        """Millimetres behind the root (B, K) of points (B, K, 3) in the input; None for a network of maps."""
        data = self.trained.recipe.data
        if data.depth_range_mm == 0:
            return None
        return depth_to_mm(points[..., 2], side=data.size[0], depth_range_mm=data.depth_range_mm)


def _box(box: Sequence[float] | FloatArray, width: int, height: int) -> Box:
    values = tuple(float(value) for value in box)
    if len(values) != 4 or not np.isfinite(values).all() or values[2] <= values[0] or values[3] <= values[1]:
        rule = "hold boxes (x1, y1, x2, y2) with x2 > x1 and y2 > y1"
        raise ValueError(message("Predictor", "boxes", rule, values))
    if values[0] > width - 0.5 or values[1] > height - 0.5 or values[2] < -0.5 or values[3] < -0.5:
        rule = f"overlap the image of {width} x {height} pixels"
        raise ValueError(message("Predictor", "boxes", rule, values))
    return values[0], values[1], values[2], values[3]
