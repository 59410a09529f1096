"""Pictures of what a model believes: points with their confidence ellipses, and a map over its image."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from heatpoint._checks import message
from heatpoint.frames import FloatArray, Frame, compose, resize_matrix
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid, Support

Picture = npt.NDArray[np.uint8]
Shown = npt.NDArray[np.bool_]
Color = tuple[int, int, int]

UNSURE: Color = (255, 122, 26)
SURE: Color = (61, 205, 255)
TRUTH: Color = (255, 255, 255)
OUTLINE: Color = (18, 22, 30)

_SHIFT = 5  # fractional bits of OpenCV's drawing coordinates: 1/32 pixel


def ellipse_outline(
    points: FloatArray, covariance: FloatArray, *, level: float = 0.9, num_vertices: int = 72
) -> FloatArray:
    """The ellipse that holds a share `level` of a normal distribution with this mean and covariance, as a polygon.

    In two dimensions the squared Mahalanobis radius of a share q is −2 ln(1 − q), so the outline is
    mean + √(−2 ln(1 − q)) · Σ^{1/2} · (cos t, sin t). It is a picture of the first two moments: a map with two peaks is
    not an ellipse, which is what `overlay_maps` shows.

    Args:
        points: (…, 2) means.
        covariance: (…, 2, 2), symmetric and positive semi-definite.
        level: Share of the mass inside, between 0 and 1.
        num_vertices: Number of vertices of the polygon.

    Returns:
        (…, num_vertices, 2), in the units of the points.

    Raises:
        ValueError: If level is not between 0 and 1.

    >>> outline = ellipse_outline(np.zeros(2), np.diag([4.0, 1.0]), num_vertices=4)
    >>> outline[:2].round(3) + 0.0
    array([[4.292, 0.   ],
           [0.   , 2.146]])
    """
    if not 0 < level < 1:
        raise ValueError(message("ellipse_outline", "level", "lie between 0 and 1", level, "0.9 draws 90 % ellipses."))
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.clip(eigenvalues, 0, None))[..., None, :]
    root = (eigenvectors * deviations) @ np.swapaxes(eigenvectors, -1, -2)
    turn = 2 * np.pi * np.arange(num_vertices) / num_vertices
    circle = math.sqrt(-2 * math.log1p(-level)) * np.stack([np.cos(turn), np.sin(turn)])
    return np.asarray(points)[..., None, :] + np.swapaxes(root @ circle, -1, -2)


def draw_prediction(
    image: Picture,
    points: FloatArray,
    covariance: FloatArray | None = None,
    confidence: FloatArray | None = None,
    skeleton: Skeleton | None = None,
    *,
    truth: FloatArray | None = None,
    level: float = 0.9,
    width: int | None = None,
) -> Picture:
    """Draws points, their ellipses and the skeleton's edges on an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (K, 2) in pixels of the image; a point that is not finite is left out.
        covariance: (K, 2, 2) in pixels²; each is drawn as the ellipse that holds a share `level`.
        confidence: (K,) in [0, 1]; colours a point from orange (unsure) to blue (sure). None: all blue.
        skeleton: Its edges are drawn as thin lines.
        truth: (K, 2) annotated points, drawn as small white crosses.
        level: Share of the mass inside an ellipse.
        width: Width of the picture in pixels; the image is resized to it before anything is drawn, so that lines stay
            thin on a small image. None keeps the image's own width.

    Returns:
        A new (H', W', 3) uint8 RGB array.

    Raises:
        ValueError: If an array has the wrong shape, naming it.

    >>> picture = draw_prediction(np.zeros((20, 30, 3), np.uint8), np.array([[9.5, 4.5]]), width=60)
    >>> picture.shape, picture[9, 19].tolist() == list(SURE)
    ((40, 60, 3), True)
    """
    _check_shapes(image, points, covariance, confidence, truth)
    frame = _display_frame(image, width)
    canvas = _resized(image, frame)
    scale = frame.matrix[0, 0]
    # Lines grow slowly with the picture: 1 pixel at 256, 3 at 1024.
    thickness = max(1, round(canvas.shape[1] / 340))
    shown: Shown = np.asarray(np.isfinite(points).all(axis=-1))
    places = frame.to_input(np.where(shown[:, None], points, 0.0))
    colors = [_confidence_color(c) for c in (np.ones(len(points)) if confidence is None else confidence)]
    if skeleton is not None:
        edges = [places[list(edge)] for edge in skeleton.edges if shown[list(edge)].all()]
        canvas = _blend_lines(canvas, edges, [(235, 238, 242)] * len(edges), thickness, opacity=0.35)
    if covariance is not None:
        outlines = ellipse_outline(places[shown], covariance[shown] * scale**2, level=level)
        canvas = _blend_fill(canvas, outlines, _take(colors, shown), opacity=0.22)
        canvas = _blend_lines(canvas, outlines, _take(colors, shown), thickness, closed=True, opacity=0.9)
    for place in [] if truth is None else frame.to_input(truth[np.isfinite(truth).all(axis=-1)]):
        _cross(canvas, place, 3.5 * thickness, thickness)
    for place, color in zip(places[shown], _take(colors, shown), strict=True):
        _dot(canvas, place, color, 2.6 * thickness)
    return canvas


def overlay_maps(
    image: Picture, probabilities: FloatArray, grid: Support, *, frame: Frame | None = None, opacity: float = 0.85
) -> Picture:
    """Lays probability maps over an image; every cell is a square, its brightness the root of its share of the map's peak.

    The root keeps weak, far cells visible: a hundredth of the peak, black on a linear scale, comes out at a tenth. Of
    several maps each cell shows the brightest.

    Args:
        image: (H, W, 3) uint8 RGB; it is greyed and darkened.
        probabilities: (h, w), or (K, h, w) for several maps; none negative.
        grid: Where the cells lie in the network's input; 2-D.
        frame: Image pixels to the network's input. None: the image is the input.
        opacity: Of the brightest cell, in [0, 1].

    Returns:
        A new (H, W, 3) uint8 RGB array.

    Raises:
        ValueError: If the grid is not a 2-D Grid, or the maps do not have its shape.

    >>> peak = np.zeros((2, 3)); peak[1, 2] = 1.0
    >>> overlay_maps(np.zeros((8, 12, 3), np.uint8), peak, Grid((2, 3), stride=4)).any(axis=-1)[3:5, 7:9]
    array([[False, False],
           [False,  True]])
    """
    if not isinstance(grid, Grid) or grid.ndim != 2:
        raise ValueError(message("overlay_maps", "grid", "be a 2-D Grid", grid))
    if tuple(probabilities.shape[-2:]) != grid.shape or probabilities.ndim > 3:
        rule = f"be one or several maps of the grid's shape {grid.shape}"
        raise ValueError(message("overlay_maps", "probabilities", rule, tuple(probabilities.shape)))
    maps = probabilities.reshape(-1, *grid.shape)
    peaks = np.maximum(maps.max(axis=(-2, -1), keepdims=True), np.finfo(np.float64).tiny)
    share = np.sqrt(np.clip(maps / peaks, 0, 1)).max(axis=0).astype(np.float32)
    (stride_x, stride_y), (offset_x, offset_y) = grid.strides, grid.offsets
    matrix = np.array([[1 / stride_x, 0, -offset_x / stride_x], [0, 1 / stride_y, -offset_y / stride_y]])
    if frame is not None:
        matrix = compose(matrix, frame.matrix)
    share = cv2.warpAffine(
        share, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    color = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    gray = 0.7 * image.astype(np.float32).mean(axis=-1, keepdims=True)
    cover = opacity * share[..., None]
    return ((1 - cover) * gray + cover * color).round().astype(np.uint8)


def _check_shapes(
    image: Picture,
    points: FloatArray,
    covariance: FloatArray | None,
    confidence: FloatArray | None,
    truth: FloatArray | None,
) -> None:
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        got = f"{tuple(image.shape)} {image.dtype}"
        raise ValueError(message("draw_prediction", "image", "be (H, W, 3) uint8 RGB", got))
    if points.ndim != 2 or points.shape[-1] != 2:
        raise ValueError(message("draw_prediction", "points", "be (K, 2)", tuple(points.shape)))
    rest = (("covariance", covariance, (2, 2)), ("confidence", confidence, ()), ("truth", truth, (2,)))
    for name, array, tail in rest:
        shape = (len(points), *tail)
        if array is not None and tuple(array.shape) != shape:
            raise ValueError(message("draw_prediction", name, f"be {shape}", tuple(array.shape)))


def _display_frame(image: Picture, width: int | None) -> Frame:
    scale = 1.0 if width is None else width / image.shape[1]
    return Frame(resize_matrix(scale, scale), (round(image.shape[1] * scale), round(image.shape[0] * scale)))


def _resized(image: Picture, frame: Frame) -> Picture:
    if frame.size == (image.shape[1], image.shape[0]):
        return np.ascontiguousarray(image).copy()
    shrinks = frame.matrix[0, 0] < 1
    return np.asarray(cv2.resize(image, frame.size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def _confidence_color(confidence: float) -> Color:
    share = float(np.clip(np.nan_to_num(confidence), 0, 1))
    red, green, blue = (round((1 - share) * u + share * s) for u, s in zip(UNSURE, SURE, strict=True))
    return red, green, blue


def _take(colors: list[Color], shown: Shown) -> list[Color]:
    return [color for color, is_shown in zip(colors, shown, strict=True) if is_shown]


def _fixed(places: FloatArray) -> npt.NDArray[np.int32]:
    # OpenCV's fixed-point coordinates overflow far outside the picture; nothing there is seen.
    return np.rint(np.clip(places, -8192, 8192) * 2**_SHIFT).astype(np.int32)


def _blend_lines(
    canvas: Picture,
    lines: Iterable[FloatArray],
    colors: list[Color],
    thickness: int,
    *,
    opacity: float,
    closed: bool = False,
) -> Picture:
    drawn = canvas.copy()
    for line, color in zip(lines, colors, strict=True):
        cv2.polylines(drawn, [_fixed(line)], closed, color, thickness, cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.addWeighted(drawn, opacity, canvas, 1 - opacity, 0))


def _blend_fill(canvas: Picture, outlines: FloatArray, colors: list[Color], *, opacity: float) -> Picture:
    drawn = canvas.copy()
    for outline, color in zip(outlines, colors, strict=True):
        cv2.fillPoly(drawn, [_fixed(outline)], color, cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.addWeighted(drawn, opacity, canvas, 1 - opacity, 0))


def _cross(canvas: Picture, place: FloatArray, reach: float, thickness: int) -> None:
    for grown, color in ((2, OUTLINE), (0, TRUTH)):
        for arm in (np.array([reach + grown / 2, 0.0]), np.array([0.0, reach + grown / 2])):
            start, stop = (tuple(int(v) for v in end) for end in _fixed(np.stack([place - arm, place + arm])))
            cv2.line(canvas, start, stop, color, thickness + grown, cv2.LINE_AA, _SHIFT)


def _dot(canvas: Picture, place: FloatArray, color: Color, radius: float) -> None:
    x, y = (int(v) for v in _fixed(place))
    for grown, fill in ((radius + 0.8, OUTLINE), (radius, color)):
        cv2.circle(canvas, (x, y), round(grown * 2**_SHIFT), fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)
