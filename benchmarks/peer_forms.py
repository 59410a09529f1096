"""Calls of the checkouts' own functions and classes on our tensors; networks around them are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers import Attributes, Registry, guarded, import_file

Array = np.ndarray[Any, Any]


class SamplingArgmax:
    """The published sampling-argmax: its loss of maps, on 2D and 3D grids by its classes, else by its functions."""

    def __init__(self, root: str) -> None:
        models = Path(root) / "sampling_argmax" / "models"
        folders = {"published_sampling": models, "published_sampling.layers": models / "layers"}
        stand_ins: dict[str, dict[str, Any]] = {
            "easydict": {"EasyDict": Attributes},
            "published_sampling.builder": {"SPPE": Registry(), "LOSS": Registry()},
        }

        def load(name: str) -> ModuleType:
            return import_file("sampling-argmax", f"published_sampling.{name}", folders, stand_ins)

        self.flat, self.volume, self.criterion = load("simplepose"), load("simplepose3d"), load("criterion")

    @guarded("sampling-argmax")
    def error(self, shape: tuple[int, ...], samples: int, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of logits (B, K, *shape) and targets (B, K, D) in shares of each axis's length, less ½: its loss."""
        if len(shape) == 1:
            return lambda logits, target: self.rows_error(logits, target, samples, temperature)
        kind = self.volume.SimplePose3D if len(shape) == 3 else self.flat.SimplePose
        head = kind.__new__(kind)
        nn.Module.__init__(head)
        head.preact = head.deconv_layers = head.final_layer = nn.Identity()
        head.num_sample, head._tau, head.norm_type, head.basis_type = samples, temperature, "sampling", "tri"
        head.anneal, head.integral = False, self.flat.ClipIntegral.apply
        head.height_dim, head.width_dim, head.depth_dim = shape[-2], shape[-1], shape[0]
        name = "target_uvd" if len(shape) == 3 else "target_uv"
        loss = self.criterion.L1LossDim() if len(shape) == 3 else self.criterion.L1JointRegression()

        @guarded("sampling-argmax")
        def error(logits: Tensor, target: Tensor) -> Tensor:
            head.num_joints = logits.shape[1]
            found: Tensor = loss(head(logits), {name: target, f"{name}_weight": torch.ones_like(target)})
            return found

        return error

    def per_map(self, shape: tuple[int, ...], number: int) -> Callable[[Tensor], Tensor]:
        """Takes that loss, which it averages in a way of its own, to the mean of maps' sums over axes."""
        scale = {1: 1.0, 2: 1 / number, 3: 3 / 64}[len(shape)]
        return lambda loss: loss.detach() * scale

    @guarded("sampling-argmax")
    def rows_error(self, logits: Tensor, target: Tensor, samples: int, temperature: float) -> Tensor:
        """The released formula on rows of cells, for which it has functions, but no class."""
        length = logits.shape[-1]
        offsets, _ = self.flat.uni2tri(torch.rand(*logits.shape[:2], samples, length))
        positions = torch.arange(float(length)) + offsets
        weights = self.flat.norm_heatmap("sampling", logits, True, samples, temperature)
        at_positions = self.flat.retrive_p(weights, positions)
        shares = at_positions / at_positions.sum(dim=-1, keepdim=True)
        points = self.flat.ClipIntegral.apply(shares, positions).sum(dim=-1) / length - 0.5
        error: Tensor = (points - target).abs().mean()
        return error

    @guarded("sampling-argmax")
    def points_error(self, logits: Tensor, xyz: Tensor, target: Tensor, samples: int, temperature: float) -> Tensor:
        """Its weights on a cloud (cells, D); it has no points, so there are no offsets, which is less than we do."""
        maps = self.flat.norm_heatmap("sampling", logits, True, samples, temperature)
        error: Tensor = (maps @ xyz - target.unsqueeze(2)).abs().sum(dim=-1).mean()
        return error


def h3r_top_k(root: str) -> Callable[[Tensor, int], Tensor]:
    """H3R's decoder: logits (B, K, H, W) and k to cells (B, K, 2)."""
    folder = {"published_rounding": Path(root) / "torchalign" / "heatmap_head" / "transforms"}
    module = import_file("h3r", "published_rounding.functional", folder, {})

    @guarded("h3r")
    def decode(maps: Tensor, k: int) -> Tensor:
        points: Tensor = module.heatmap2coord(maps, k)
        return points

    return decode


class MMPose:
    """MMPose's codecs, image by image as it calls them, and its integral head."""

    def __init__(self, root: str) -> None:
        cv2.setNumThreads(torch.get_num_threads())
        self.root = Path(root) / "mmpose"
        heads = "mmpose.models.heads"
        names = ("", ".codecs", ".models", ".models.heads", ".models.heads.regression_heads")
        self.folders = {f"mmpose{name}": self.root.joinpath(*name.split(".")[1:]) for name in names}
        self.stand_ins: dict[str, dict[str, Any]] = {
            "mmengine": {},
            "mmengine.utils": {"is_method_overridden": None},
            "mmengine.structures": {"PixelData": None},
            "mmcv": {},
            "mmcv.cnn": {"build_conv_layer": None},
            "mmpose.registry": {"KEYPOINT_CODECS": Registry(), "MODELS": Registry()},
            "mmpose.evaluation": {},
            "mmpose.evaluation.functional": {"keypoint_pck_accuracy": None},
            "mmpose.models.utils": {},
            "mmpose.models.utils.tta": {"flip_coordinates": None, "flip_heatmaps": None},
            "mmpose.utils": {},
            "mmpose.utils.tensor_utils": {"to_numpy": None},
            "mmpose.utils.typing": dict.fromkeys(("ConfigType", "OptConfigType", "OptSampleList", "Predictions"), Any),
            heads: {"HeatmapHead": None, "__path__": [str(self.root / "models" / "heads")]},
            f"{heads}.base_head": {"BaseHead": nn.Module},
        }

    def _load(self, name: str) -> ModuleType:
        return import_file("mmpose", f"mmpose.{name}", self.folders, self.stand_ins)

    @guarded("mmpose")
    def heatmap_codec(self, shape: tuple[int, int], sigma: float, *, unbiased: bool, blur: int = 11) -> Any:
        """The codec of Gaussian maps, with the input as large as the map."""
        size = shape[::-1]
        return self._load("codecs.msra_heatmap").MSRAHeatmap(size, size, sigma, unbiased, blur)

    @guarded("mmpose")
    def encode(self, codec: Any, points: Array) -> list[Array]:
        """Maps (K, H, W) of points (images, K, 2)."""
        return [codec.encode(image[None])["heatmaps"] for image in points]

    @guarded("mmpose")
    def decode(self, codec: Any, maps: Array) -> list[Array]:
        """Points (1, K, 2) of maps (images, K, H, W)."""
        return [codec.decode(image)[0] for image in maps]

    @guarded("mmpose")
    def simcc_codec(self, lengths: tuple[int, int], sigma: float, *, use_dark: bool) -> Any:
        """The codec of two rows for each point, of these lengths, at a scale of 1."""
        return self._load("codecs.simcc_label").SimCCLabel(
            lengths, sigma=sigma, simcc_split_ratio=1.0, use_dark=use_dark
        )

    @guarded("mmpose")
    def decode_rows(self, codec: Any, x: Array, y: Array) -> Array:
        """Points (N, K, 2) of rows (N, K, length). With DARK it writes into them."""
        points: Array = codec.decode(x, y)[0]
        return points

    @guarded("mmpose")
    def integral(self, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """The integral head's expectation of logits (B, K, H, W): points (B, K, 2) in shares of the axes."""
        kind = self._load("models.heads.regression_heads.integral_regression_head").IntegralRegressionHead
        head = kind.__new__(kind)
        nn.Module.__init__(head)
        head.simplebaseline_head = head.final_layer = None
        head.beta, head.debias = 1.0, False
        height, width = shape
        head.linspace_x = torch.arange(0.0, width).reshape(1, 1, 1, width) / width
        head.linspace_y = torch.arange(0.0, height).reshape(1, 1, height, 1) / height

        @guarded("mmpose")
        def expectation(logits: Tensor) -> Tensor:
            points: Tensor = head((logits,))[0]
            return points

        return expectation
