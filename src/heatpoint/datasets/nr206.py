"""NR206: macular B-scans of healthy eyes whose pixels are coloured by layer (He et al., Front. Bioeng. Biotechnol. 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from heatpoint.datasets.image_files import image_size
from heatpoint.datasets.sample import (
    Image,
    check_split,
    load_image,
    require_folder,
    resolve_data_root,
    settle,
)
from heatpoint.datasets.scan import Scan, ScanSet
from heatpoint.frames import BoolArray, FloatArray
from heatpoint.skeleton import Skeleton

NAME = "nr206"
# Colours of the labels and the layers they stand for, top to bottom, by the legend of the owners' figure.
LAYERS = {
    "NFL": 0xFF0000,
    "GCL": 0x808000,
    "INL": 0xFFFF00,
    "OPL": 0x008000,
    "ONL": 0x00FF00,
    "ELM+IS": 0x00FFFF,
    "OS": 0x0000FF,
    "RPE": 0xFF00FF,
}
SURFACES = Skeleton(("ILM", "NFL-GCL", "GCL-INL", "INL-OPL", "OPL-ONL", "ONL-ELM", "IS-OS", "OS-RPE", "RPE-choroid"))
NUM_SCANS = 206
SPLITS = ("train", "val", "test")
GET = (
    "An example of NR206 is at github.com/Medical-Image-Analysis/Retinal-layer-segmentation (dataset/NR206.rar), the whole set "
    "comes from its authors on request; unpack it to nr206/{train,val,test}/*.png and {train,val,test}_labels/*.png."
)
REMEDY = "Copy or download the files again."

IntArray = npt.NDArray[np.int64]


def read_nr206(root: Path | str, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """Reads a split of NR206: the nine surfaces between the eight layers that its label images show in colours.

    See `surfaces_of_layers` for how labels become rows, and which columns are left out. The files name no subject, so each
    scan is a group of its own, and no spacing. The device has drawn an icon with its scan line into the lower left corner of
    every scan; it lies below the layers and is left as it is.

    Args:
        root: The folder that holds train/, train_labels/ and so on.
        split: "train", "val" or "test".
        problems: None raises what is wrong; a list takes it, and a line for each scan with columns whose labels are broken.

    Returns:
        Scans of the nine surfaces "ILM" to "RPE-choroid".

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If the split is unknown; or, in one line, for all files that are broken or do not fit together.
    """
    check_split(NAME, split, SPLITS)
    root = require_folder(NAME, Path(root), get=GET)
    images, labels = (require_folder(NAME, root / name, remedy=GET) for name in (split, f"{split}_labels"))
    scans: list[Scan] = []
    found: list[str] = []
    remarks: list[str] = []
    left_out = 0
    names = sorted({path.name for folder in (images, labels) for path in folder.glob("*.png")})
    if not names:
        found.append(f"{images} holds no .png files")
    for name in names:
        scan, text = _scan(images / name, labels / name, split)
        if scan is None:
            found.append(text)
            continue
        scans.append(scan)
        columns = int((~scan.visible[0]).sum())
        left_out += columns
        if columns:
            where = f"the first is column {int(np.flatnonzero(~scan.visible[0])[0])}"
            remarks.append(f"{labels / name} has no layers in order in {columns} columns ({where}); they are not used")
    settle(NAME, found, problems, REMEDY)
    if problems is not None:
        problems.extend(remarks)
    protocol = {
        "scans": f"{len(scans)} of the split; NR206 has {NUM_SCANS} in all",
        "columns left out": left_out,
        "coordinates": "a boundary between pixels r - 1 and r lies at r - 1/2",
        "device icon": "left in the lower left corner",
    }
    return ScanSet(NAME, split, SURFACES, tuple(scans), protocol)


def open_nr206(data_root: Path | str | None, split: str, *, problems: list[str] | None = None) -> ScanSet:
    """NR206 under `data_root`/oct/nr206, or else the example of six scans under oct/nr206_sample; see `read_nr206`."""
    folder = resolve_data_root(data_root) / "oct"
    sample = folder / "nr206_sample"
    whole = folder / "nr206"
    return read_nr206(sample if sample.is_dir() and not whole.is_dir() else whole, split, problems=problems)


def layers_of_colors(pixels: Image) -> IntArray:
    """The number of the layer of every pixel of a label image: 1 to 8 from top to bottom, 0 for black.

    Args:
        pixels: (H, W, 3) uint8 in RGB order.

    Raises:
        ValueError: If a pixel has none of the nine colours, as in labels stored with losses or resized.

    >>> layers_of_colors(np.array([[[0, 0, 0], [255, 0, 0], [255, 0, 255]]], dtype=np.uint8))
    array([[0, 1, 8]])
    """
    codes = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    known = np.array([0, *LAYERS.values()])
    order = np.argsort(known)
    place = np.clip(np.searchsorted(known[order], codes), 0, len(known) - 1)
    layers: IntArray = order[place].astype(np.int64)
    strange = np.argwhere(known[layers] != codes)
    if len(strange):
        row, column = strange[0].tolist()
        what = f"#{codes[row, column]:06x} in row {row}, column {column}"
        raise ValueError(f"has {len(strange)} pixels in none of the nine colours of the labels (the first: {what})")
    return layers


def surfaces_of_layers(layers: IntArray, *, num_layers: int = len(LAYERS)) -> tuple[FloatArray, BoolArray]:
    """Rows (L + 1, W) of the surfaces that bound L layers, and the columns (L + 1, W) in which they are visible.

    The surface below layer l lies half a pixel above the first pixel of a later layer. A layer that is missing from a column
    has no thickness there and its two surfaces coincide, as at the fovea. A column is left out whole, since no surface can
    be told from it, where labels do not increase downwards, where something else lies between them, or where there are none.

    Args:
        layers: (H, W) numbers of layers, 1 to L from top to bottom, 0 for what is none.
        num_layers: L.

    >>> rows, visible = surfaces_of_layers(np.array([[0, 0, 2], [1, 2, 1], [2, 2, 0], [0, 0, 0]]), num_layers=2)
    >>> rows
    array([[0.5, 0.5, 0. ],
           [1.5, 0.5, 0. ],
           [2.5, 2.5, 0. ]])
    >>> visible[0]
    array([ True,  True, False])
    """
    tissue = layers > 0
    top = tissue.argmax(axis=0)
    thickness = tissue.sum(axis=0)
    last = len(layers) - 1 - tissue[::-1].argmax(axis=0)
    ordered = (np.diff(layers, axis=0) >= 0) | ~tissue[1:] | ~tissue[:-1]
    good = tissue.any(axis=0) & (last - top + 1 == thickness) & ordered.all(axis=0)
    counts = np.stack([(tissue & (layers <= layer)).sum(axis=0) for layer in range(num_layers + 1)])
    visible = np.broadcast_to(good, counts.shape).copy()
    return np.where(visible, top + counts - 0.5, 0.0), visible


def _scan(image: Path, label: Path, split: str) -> tuple[Scan | None, str]:
    """A scan, or None and what is wrong with it."""
    missing = [path for path in (image, label) if not path.is_file()]
    if missing:
        return None, f"{missing[0]} is missing"
    try:
        width, height = image_size(image)
        pixels = load_image(label)
    except ValueError as error:
        return None, str(error).removesuffix(" Copy or download the file again.").strip(".")
    if pixels.shape[:2] != (height, width):
        got = f"{pixels.shape[1]} x {pixels.shape[0]}"
        return None, f"{label} must be as large as its scan ({width} x {height}), got {got}"
    try:
        rows, visible = surfaces_of_layers(layers_of_colors(pixels))
    except ValueError as error:
        return None, f"{label} {error}"
    return Scan(image, rows, visible, f"{split}/{image.stem}"), ""
