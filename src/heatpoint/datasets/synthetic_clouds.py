"""Clouds of parametric chairs, tables and airplanes with exact semantic keypoints: point clouds without any data.

A shape is drawn from continuous sizes and discrete parts, its surface sampled uniformly by area, and scaled as ShapeNet scales
its models: the bounding box has its middle at 0 and a diagonal of 1. y points up, the front to −z, the right to +x. With 2048
points the mean distance from a point to its nearest neighbour is 0.010 for chairs, 0.011 for tables and 0.006 for airplanes, in
the unit sphere twice as much; KeypointNet's real chair has 0.009, its airplanes 0.006, and the paper of sampling-argmax,
section 5.4, speaks of 0.01.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from heatpoint._checks import check_whole, one_of
from heatpoint.datasets._cloud_shapes import CORNERS, SIDES, Shape, draw_airplane, draw_chair, draw_table
from heatpoint.datasets._surfaces import draw_points
from heatpoint.datasets.cloud import Cloud, CloudSet
from heatpoint.datasets.sample import check_split
from heatpoint.skeleton import Skeleton


def _skeleton(names: list[str], edges: list[tuple[str, str]]) -> Skeleton:
    pairs = [(name, name.replace("left", "right")) for name in names if "left" in name]
    return Skeleton(
        tuple(names),
        edges=tuple((names.index(a), names.index(b)) for a, b in edges),
        swap_pairs=tuple((names.index(a), names.index(b)) for a, b in pairs),
    )


def _around(part: str, order: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [f"{part}_{corner}" for corner in order]
    return list(zip(names, names[1:] + names[:1], strict=True))


NAMES = [name for name, _, _ in CORNERS]
LOOP = ("front_left", "front_right", "back_right", "back_left")
CHAIR = _skeleton(
    [f"seat_{name}" for name in NAMES]
    + ["back_top_left", "back_top_right"]
    + [f"leg_{name}" for name in NAMES]
    + [f"arm_{end}_{side}" for end in ("front", "back") for side, _ in SIDES]
    + ["pedestal_foot"],
    _around("seat", LOOP)
    + [(f"seat_{name}", f"leg_{name}") for name in NAMES]
    + [(f"arm_front_{side}", f"arm_back_{side}") for side, _ in SIDES]
    + [(f"seat_back_{side}", f"back_top_{side}") for side, _ in SIDES]
    + [("back_top_left", "back_top_right")],
)
TABLE = _skeleton(
    [f"top_{name}" for name in NAMES]
    + [f"rim_{side}" for side in ("left", "right", "front", "back")]
    + [f"leg_{name}" for name in NAMES]
    + ["pedestal_foot"],
    _around("top", LOOP)
    + _around("rim", ("left", "front", "right", "back"))
    + [(f"top_{name}", f"leg_{name}") for name in NAMES],
)
AIRPLANE = _skeleton(
    ["nose", "tail"]
    + [f"{part}_{side}" for part in ("wing_root", "wing_tip") for side, _ in SIDES]
    + ["fin_root", "fin_top"]
    + [f"{part}_{side}" for part in ("stabilizer", "engine", "outer_engine") for side, _ in SIDES],
    [("nose", "tail"), ("fin_root", "fin_top"), ("stabilizer_left", "stabilizer_right")]
    + [(f"wing_root_{side}", f"wing_tip_{side}") for side, _ in SIDES],
)
SHAPES: dict[str, tuple[Callable[[np.random.Generator], Shape], Skeleton]] = {
    "chair": (draw_chair, CHAIR),
    "table": (draw_table, TABLE),
    "airplane": (draw_airplane, AIRPLANE),
}
SPLITS = ("train", "validation", "test")
DEFAULT_COUNTS = {"train": 1000, "validation": 100, "test": 200}


def synthetic_clouds(
    number: int, *, category: str, split: str = "train", seed: int = 0, num_points: int = 2048
) -> CloudSet:
    """Draws `number` clouds of a category; cloud i of a split is the same whatever `number` is.

    Every keypoint is a row of its cloud, as in KeypointNet: the exact place of its meaning (the corner of a seat, the tip of a
    wing) is among the points, at a random row. Keypoints of parts that a shape does not have are not visible.

    Args:
        number: How many, at least 1.
        category: "chair", "table" or "airplane".
        split: "train", "validation" or "test": streams of their own.
        seed: At least 0; another seed gives other shapes.
        num_points: Points of each cloud, at least 64.

    Raises:
        TypeError: If a number is none.
        ValueError: If an argument breaks these rules.

    >>> chairs = synthetic_clouds(2, category="chair", num_points=256)
    >>> chairs, chairs.samples[1].xyz.shape
    (CloudSet('synthetic_chairs', 'train', 2 clouds with 15 keypoints), (256, 3))
    """
    check_split("synthetic_clouds", split, SPLITS)
    one_of("synthetic_clouds", "category", category, SHAPES)
    for name, value, least in (("number", number, 1), ("num_points", num_points, 64), ("seed", seed, 0)):
        check_whole("synthetic_clouds", name, value, f"be a whole number, at least {least}", least=least)
    stream = [seed, SPLITS.index(split), list(SHAPES).index(category)]
    samples = tuple(
        draw_cloud(
            np.random.default_rng([*stream, index]),
            category=category,
            num_points=num_points,
            key=f"{split}/{seed}/{index}",
        )
        for index in range(number)
    )
    protocol = {
        "seed": seed,
        "num_points": num_points,
        "num": number,
        "category": category,
        "units": "the diagonal of the bounding box is 1",
        "keypoints": "rows of the cloud; those of missing parts are not visible",
    }
    return CloudSet(f"synthetic_{category}s", split, SHAPES[category][1], samples, protocol)


def draw_cloud(rng: np.random.Generator, *, category: str, num_points: int = 2048, key: str = "cloud") -> Cloud:
    """Draws one random shape and samples it.

    Args:
        rng: Draws the shape, the points on its surface and the rows of the keypoints.
        category: "chair", "table" or "airplane".
        num_points: Points of the cloud, the keypoints among them.
        key: Name of the cloud.

    >>> cloud = draw_cloud(np.random.default_rng(0), category="airplane", num_points=128)
    >>> bool((cloud.xyz[cloud.index[cloud.visible]] == cloud.points[cloud.visible]).all())
    True
    """
    draw, skeleton = SHAPES[category]
    shape = draw(rng)
    triangles = np.concatenate(shape.parts)
    corners = triangles.reshape(-1, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    visible = np.array([name in shape.places for name in skeleton.names])
    places = np.array([shape.places[name] for name in skeleton.names if name in shape.places])
    xyz = np.concatenate([places, draw_points(triangles, num_points - len(places), rng)])
    order = rng.permutation(num_points)
    xyz = ((xyz - (low + high) / 2) / np.linalg.norm(high - low))[order]
    index, points = np.zeros(len(visible), dtype=np.int64), np.zeros((len(visible), 3))
    index[visible] = np.argsort(order)[: len(places)]
    points[visible] = xyz[index[visible]]
    return Cloud(xyz, points, visible, key, index=index, category=category)


def open_synthetic_clouds(
    data_root: Path | str | None, split: str, *, category: str, problems: list[str] | None = None
) -> CloudSet:
    """The default synthetic clouds: 1000 for training, 100 for validation, 200 for testing; needs no `data_root`."""
    check_split("synthetic_clouds", split, SPLITS)
    return synthetic_clouds(DEFAULT_COUNTS[split], category=category, split=split)


CATEGORIES = {f"synthetic_{category}s": partial(open_synthetic_clouds, category=category) for category in SHAPES}
