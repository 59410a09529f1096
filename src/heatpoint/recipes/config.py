"""The typed parts of a recipe: everything that changes a score, and nothing that does not."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from heatpoint._checks import message, missing_package, one_of, unknown_name
from heatpoint.recipes.cloud_config import CloudDataConfig, CloudModelConfig, SkeletonDataConfig, SkeletonModelConfig
from heatpoint.recipes.scan_config import ScanDataConfig, ScanModelConfig
from heatpoint.transforms import Augmentation, CloudAugmentation, ScanAugmentation

try:
    import tyro
except ModuleNotFoundError as error:
    raise missing_package("heatpoint.recipes", error) from error


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how objects are cut out of them."""

    task: ClassVar[str] = "image"

    dataset: str = "faces300w"
    """Name of the data set (heatpoint.datasets.DATASETS)."""
    input: int | tuple[int, int] = 256
    """Side of the network's square input in pixels, or its width and height."""
    box_policy: Literal["P1", "P2", "image"] = "P1"
    """P1: the tight box of the points. P2: the box that the data set gives. image: the whole image."""
    padding: float = 1.25
    """Factor on both sides of the box."""
    validation_fraction: float = 0.05
    """Share of the training split that is held out to choose the best epoch. 0: none is, and the last epoch is kept."""
    test_split: str = "test"
    """Split that the best epoch is scored on at the end. Empty: none."""
    flip_test: bool = True
    """Average what is found in each image and in its mirror image, when testing."""
    flip_average: Literal["coordinates", "maps", "maps_shifted"] = "coordinates"
    """What a flip test averages: points, exactly; or maps before they are read, as published (shifted: moved by one cell)."""
    pose_score: Literal["sampling_argmax", "hrnet"] = "sampling_argmax"
    """How body poses get the score that average precision ranks them by, and lose their doubles, as in the code of either."""
    normalizer: str = ""
    """The skeleton's normaliser by which the best epoch is chosen. Empty: the skeleton's default."""
    limit: int = 0
    """Use only the first so many images of each split. 0: all."""
    train_limit: int = 0
    """Train on only so many images, drawn by `limit_seed` after the hold-out. 0: all."""
    limit_seed: int = 0
    """Which images `train_limit` draws."""
    depth_range_mm: float = 0.0
    """Depth of the volume about the root, in millimetres (`--depth` gives its cells). 0: points in the image plane."""
    mixed_dataset: str = ""
    """A set without depths that gives half of every training batch; points are matched by name. Empty: none."""
    mixed_padding: float = 0.0
    """Factor on both sides of the mixed set's boxes. 0: as `padding`."""

    def __post_init__(self) -> None:
        _require("DataConfig", "input", min(self.size) >= 16, "be at least 16 pixels", self.input)
        _require("DataConfig", "padding", self.padding > 0, "be greater than 0", self.padding)
        fraction = self.validation_fraction
        _require("DataConfig", "validation_fraction", 0 <= fraction < 1, "be from 0 to below 1", fraction)
        _require("DataConfig", "limit", self.limit >= 0, "be at least 0", self.limit)
        _require("DataConfig", "train_limit", self.train_limit >= 0, "be at least 0", self.train_limit)
        _require("DataConfig", "mixed_padding", self.mixed_padding >= 0, "be at least 0", self.mixed_padding)
        _require("DataConfig", "depth_range_mm", self.depth_range_mm >= 0, "be at least 0", self.depth_range_mm)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the network's input in pixels.

        >>> DataConfig(input=64).size, DataConfig(input=(192, 256)).size
        ((64, 64), (192, 256))
        """
        return (self.input, self.input) if isinstance(self.input, int) else (self.input[0], self.input[1])


@dataclass(frozen=True)
class ModelConfig:
    """The network that emits the maps."""

    backbone: Annotated[str, tyro.conf.arg(name="model")] = "hrnet_w18"
    """"small", "tiny", "mobilenetv2_h3r", or the name of any timm backbone."""
    head: Literal["deconv", "concat", "branch", "h3r"] | None = None
    """deconv: three deconvolutions. concat: all resolutions joined. h3r: the same without biases. branch: the finest one.
    None: what suits the backbone."""
    pretrained: bool = False
    """Start from weights trained on ImageNet (timm downloads them)."""
    start: str = ""
    """A model.safetensors of ours with the same network to start from; its last layer is drawn anew. Empty: from scratch."""
    logits_std: float | None = None
    """Spread of the last layer's first weights. None: 0.001 for maps of values (gaussian_heatmap), else the network's own."""
    offset: float | None = 0.0
    """Input coordinate of the centre of cell 0. 0 is what both papers publish; None: (stride - 1) / 2."""
    depth: int = 0
    """Cells of the maps along depth (3D). 0: maps of the image plane."""

    def __post_init__(self) -> None:
        _require("ModelConfig", "depth", self.depth >= 0, "be at least 0", self.depth)


@dataclass(frozen=True)
class OptimizationConfig:
    """Adam, and a learning rate that falls at milestones."""

    epochs: int = 150
    """Passes over the training set."""
    batch_size: int = 16
    """Samples per step and device."""
    learning_rate: float = 1e-3
    """Of Adam, at the start."""
    milestones: tuple[float, ...] = (0.4, 0.8)
    """Where the learning rate falls, as shares of the epochs."""
    decay: float = 0.1
    """Factor on the learning rate at each milestone."""
    restart: float = 0.0
    """Share of the epochs at which the learning rate begins anew; milestones before it count no more. 0: never."""
    weight_decay: float = 0.0
    """L2 penalty of Adam."""
    clip_norm: float = 0.0
    """Gradients longer than this are shortened to it. 0: never."""

    def __post_init__(self) -> None:
        _require("OptimizationConfig", "epochs", self.epochs >= 1, "be at least 1", self.epochs)
        _require("OptimizationConfig", "batch_size", self.batch_size >= 1, "be at least 1", self.batch_size)
        rate = self.learning_rate
        _require("OptimizationConfig", "learning_rate", rate > 0, "be greater than 0", rate)
        inside = all(0 < share <= 1 for share in self.milestones)
        rule = "hold shares of the epochs, greater than 0 and at most 1"
        _require("OptimizationConfig", "milestones", inside, rule, self.milestones)
        _require("OptimizationConfig", "restart", 0 <= self.restart < 1, "be from 0 to below 1", self.restart)
        _require("OptimizationConfig", "clip_norm", self.clip_norm >= 0, "be at least 0", self.clip_norm)

    def rate_at(self, epoch: int) -> float:
        """Learning rate in an epoch (from 0): learning_rate · decay^(milestones passed since the restart).

        >>> [OptimizationConfig(epochs=10).rate_at(epoch) for epoch in (0, 3, 4, 7, 8)]
        [0.001, 0.001, 0.0001, 0.0001, 1e-05]
        """
        restart = round(self.restart * self.epochs)
        since = restart if self.restart and epoch >= restart else 0
        passed = sum(since < round(share * self.epochs) <= epoch for share in self.milestones)
        return float(f"{self.learning_rate * self.decay**passed:.12g}")


class Kind(NamedTuple):
    """The types that recipes for one kind of data are made of."""

    data: type[Any]
    model: type[Any]
    augmentation: type[Any]


KINDS: dict[str, Kind] = {
    "image": Kind(DataConfig, ModelConfig, Augmentation),
    "scan": Kind(ScanDataConfig, ScanModelConfig, ScanAugmentation),
    "cloud": Kind(CloudDataConfig, CloudModelConfig, CloudAugmentation),
    "skeleton": Kind(SkeletonDataConfig, SkeletonModelConfig, CloudAugmentation),
}


def kind_of(task: str) -> Kind:
    """The types of recipes for a task; raises ValueError if there is no such task."""
    one_of("Recipe", "task", task, KINDS)
    return KINDS[task]


@dataclass(frozen=True)
class Recipe:
    """One row of a table of results: data, network, localizer, augmentation, optimisation, seed.

    A frozen value: `dataclasses.replace` makes the neighbouring row. `to_dict` is stored in every checkpoint. Data, network and
    augmentation are of one kind, see `KINDS`: DataConfig, ModelConfig and Augmentation are those of images.
    """

    name: str
    localizer: str
    localizer_options: dict[str, Any] = field(default_factory=dict)
    data: Any = field(default_factory=DataConfig)
    model: Any = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    augmentation: Any = field(default_factory=Augmentation)
    seed: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        kind = kind_of(self.task)
        for name, expected in (("data", kind.data), ("model", kind.model), ("augmentation", kind.augmentation)):
            given = type(getattr(self, name))
            if given is not expected:
                rule = f"be a {expected.__name__}, as the data are for a task {self.task!r}"
                raise TypeError(message("Recipe", name, rule, given.__name__))

    @property
    def task(self) -> str:
        """What kind of data it is for, a name in `KINDS`: that of its `data`."""
        found: str = getattr(self.data, "task", "")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON would hold it; its task is named where it is not images, as it was not before there were others."""
        named = {} if self.task == DataConfig.task else {"task": self.task}
        found: dict[str, Any] = _plain({**named, **dataclasses.asdict(self)})
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If a field is unknown, which names the nearest.
        """
        values = dict(values)
        kind = kind_of(values.pop("task", DataConfig.task))
        hints = {"data": kind.data, "model": kind.model, "augmentation": kind.augmentation}
        found: Recipe = _build(cls, values, "Recipe", hints)
        return found


def differences(stored: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two recipes (as dicts) differ, each as "field is A there, B here".

    >>> differences({"seed": 1, "data": {"input": 64}}, {"seed": 1, "data": {"input": 128}})
    ['data.input is 64 there, 128 here']
    """
    found = []
    for key in [*stored, *(k for k in given if k not in stored)]:
        there, here = stored.get(key), given.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += differences(there, here, f"{prefix}{key}.")
        elif there != here:
            found.append(f"{prefix}{key} is {there!r} there, {here!r} here")
    return found


def _require(function: str, argument: str, holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(message(function, argument, rule, got))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _build(cls: type[Any], values: dict[str, Any], where: str, known: dict[str, Any] | None = None) -> Any:
    hints = {**typing.get_type_hints(cls), **(known or {})}
    names = [f.name for f in dataclasses.fields(cls)]
    arguments = {}
    for key, value in values.items():
        if key not in names:
            raise ValueError(unknown_name(f"{where}.from_dict", "field", key, names))
        hint = hints[key]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            value = _build(hint, value, f"{where}.{key}")
        elif isinstance(value, list) and tuple in _origins(hint):
            value = tuple(value)
        arguments[key] = value
    return cls(**arguments)


def _origins(hint: Any) -> list[Any]:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return [typing.get_origin(option) or option for option in options]
