"""A contact sheet: many samples on one picture, cut out round their points, with edges, left and right drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from heatpoint._checks import message
from heatpoint.datasets.sample import Sample, load_image
from heatpoint.frames import FloatArray, Frame
from heatpoint.report.figures import OUTLINE, Color, Picture
from heatpoint.skeleton import Skeleton

LEFT: Color = (61, 205, 255)
RIGHT: Color = (255, 122, 26)
MIDDLE: Color = (245, 245, 245)
EDGE: Color = (160, 170, 185)
BOX: Color = (120, 230, 120)
PAPER: Color = (24, 28, 36)
FRAMES: dict[str, Color] = {"error": (235, 60, 60), "warning": (245, 200, 60), "": (70, 78, 92)}

TILE = 232
CAPTION = 40
BORDER = 4
PADDING = 1.35
_SHIFT = 5


@dataclass(frozen=True, eq=False)
class Tile:
    """One sample on the sheet.

    Args:
        sample: To be drawn; its box may be anything.
        captions: Up to two lines below it.
        severity: "error", "warning" or "", the colour of its frame.
    """

    sample: Sample
    captions: Sequence[str] = ()
    severity: str = ""


def contact_sheet(tiles: Sequence[Tile], skeleton: Skeleton, *, columns: int = 6) -> Picture:
    """Draws samples in rows: points of the left side blue, of the right orange, of the middle white; boxes green.

    Left and right are those of the skeleton's names; where these do not say, the first and second of each swap pair. Captions
    are cut to the width of a tile. An image that cannot be read is a dark tile that says so.

    Args:
        tiles: In order.
        skeleton: Of every sample.
        columns: Tiles in a row.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: If there are no tiles, or columns is less than 1.

    >>> sample = Sample(np.zeros((9, 9, 3), np.uint8), np.ones((2, 2)), np.ones(2, bool), None, "a")
    >>> contact_sheet([Tile(sample)] * 3, Skeleton(("left", "right"), swap_pairs=((0, 1),)), columns=2).shape
    (584, 480, 3)
    """
    if not tiles:
        raise ValueError(message("contact_sheet", "tiles", "be one at least", "none"))
    if columns < 1:
        raise ValueError(message("contact_sheet", "columns", "be at least 1", columns))
    columns = min(columns, len(tiles))
    wide, high = TILE + 2 * BORDER, TILE + CAPTION + 2 * BORDER
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * high + 24, columns * wide, 3), PAPER, dtype=np.uint8)
    _legend(sheet, rows * high)
    colors = side_colors(skeleton)
    for place, tile in enumerate(tiles):
        top, left = place // columns * high, place % columns * wide
        drawn = _draw(tile, skeleton, colors)
        sheet[top : top + high, left : left + wide] = drawn
    return sheet


def side_colors(skeleton: Skeleton) -> list[Color]:
    """The colour of every point: left, right or middle.

    >>> side_colors(Skeleton(("nose", "right_eye", "left_eye"), swap_pairs=((1, 2),))) == [MIDDLE, RIGHT, LEFT]
    True
    """
    colors = [MIDDLE] * skeleton.num_points
    for pair in skeleton.swap_pairs:
        names = [skeleton.names[point].lower() for point in pair]
        left, right = pair[::-1] if "right" in names[0] or "left" in names[1] else pair
        colors[left], colors[right] = LEFT, RIGHT
    return colors


def save_sheet(path: Path, sheet: Picture) -> None:
    """Writes the sheet as PNG, JPEG or what else the ending says, making the folder.

    Raises:
        ValueError: If the ending names no kind of picture.
        OSError: If it cannot be written.
    """
    try:
        done, content = cv2.imencode(path.suffix or ".", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise ValueError(message("contact_sheet", "path", "end in .png or .jpg", path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())


def _draw(tile: Tile, skeleton: Skeleton, colors: Sequence[Color]) -> Picture:
    color = FRAMES.get(tile.severity, FRAMES[""])
    drawn = np.full((TILE + CAPTION + 2 * BORDER, TILE + 2 * BORDER, 3), color, dtype=np.uint8)
    drawn[BORDER:-BORDER, BORDER:-BORDER] = PAPER
    picture = drawn[BORDER : BORDER + TILE, BORDER : BORDER + TILE]
    try:
        image = load_image(tile.sample)
    except (ValueError, OSError):
        _write(picture, "the image cannot be read", 60, TILE // 2)
    else:
        picture[:] = _picture(image, tile.sample, skeleton, colors)
    for line, text in enumerate(list(tile.captions)[:2]):
        _write(drawn, text, BORDER + 3, BORDER + TILE + 15 + 17 * line)
    return drawn


def _picture(image: Picture, sample: Sample, skeleton: Skeleton, colors: Sequence[Color]) -> Picture:
    frame = Frame.from_box(_view(sample, image), (TILE, TILE), padding=PADDING)
    mode = cv2.INTER_AREA if frame.matrix[0, 0] < 1 else cv2.INTER_LINEAR
    picture = np.asarray(cv2.warpAffine(image, frame.matrix, frame.size, flags=mode, borderValue=PAPER))
    places = frame.to_input(sample.points)
    if sample.box is not None:
        x1, y1, x2, y2 = sample.box
        outline = frame.to_input(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))
        cv2.polylines(picture, [_fixed(outline)], True, BOX, 1, cv2.LINE_AA, _SHIFT)
    for edge in skeleton.edges:
        if sample.visible[list(edge)].all():
            cv2.polylines(picture, [_fixed(places[list(edge)])], False, EDGE, 1, cv2.LINE_AA, _SHIFT)
    radius = 3.0 if skeleton.num_points < 30 else 1.8
    for point in np.flatnonzero(sample.visible):
        x, y = (int(v) for v in _fixed(places[point]))
        for grown, fill in ((radius + 0.8, OUTLINE), (radius, colors[int(point)])):
            cv2.circle(picture, (x, y), round(grown * 2**_SHIFT), fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    return picture


def _view(sample: Sample, image: Picture) -> tuple[float, float, float, float]:
    """What is shown: points and box as far as they are near the image, the whole image where there are none."""
    size = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
    corners = [*sample.points[sample.visible]]
    if sample.box is not None and sample.box[2] >= sample.box[0] and sample.box[3] >= sample.box[1]:
        corners += [np.array(sample.box[:2]), np.array(sample.box[2:])]
    if not corners:
        return (0.0, 0.0, size[0] - 1, size[1] - 1)
    near = np.clip(np.stack(corners), -0.25 * size, 1.25 * size)
    (x1, y1), (x2, y2) = near.min(axis=0), near.max(axis=0)
    # Points in one place need some surroundings to be seen in.
    grown = max(0.0, 16 - max(x2 - x1, y2 - y1)) / 2
    return (float(x1 - grown), float(y1 - grown), float(x2 + grown), float(y2 + grown))


def _fixed(places: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.rint(np.clip(places, -8192, 8192) * 2**_SHIFT).astype(np.int32)


def _legend(sheet: Picture, top: int) -> None:
    x = 6
    for text, color in (("left", LEFT), ("right", RIGHT), ("middle", MIDDLE), ("box", BOX)):
        cv2.circle(sheet, (x + 4, top + 12), 4, color, cv2.FILLED, cv2.LINE_AA)
        _write(sheet, text, x + 13, top + 16)
        x += 24 + 8 * len(text)


def _write(picture: Picture, text: str, x: int, y: int) -> None:
    room = (picture.shape[1] - x) // 7
    shown = text.encode("ascii", "replace").decode()
    shown = shown if len(shown) <= room else f"{shown[: room - 2]}.."
    cv2.putText(picture, shown, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (225, 228, 234), 1, cv2.LINE_AA)
