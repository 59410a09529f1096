"""Names and shapes of published checkpoints, from the rules by which their codes name layers: independent of our networks.

Each layout was compared once, name by name, shape by shape and in its outputs, with the network that the published code builds.
"""

from __future__ import annotations

from collections.abc import Iterator

Layout = Iterator[tuple[str, tuple[int, ...]]]


def batch_norm(name: str, channels: int) -> Layout:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def conv_bn(conv: str, bn: str, outputs: int, inputs: int, kernel: int) -> Layout:
    yield f"{conv}.weight", (outputs, inputs, kernel, kernel)
    yield from batch_norm(bn, outputs)


def block(name: str, inputs: int, planes: int, *, bottleneck: bool, downsample: bool) -> Layout:
    """Two 3 x 3, or 1 x 1, 3 x 3, 1 x 1 to four times as many; "downsample" where the shortcut must change."""
    layers = [(planes, inputs, 3), (planes, planes, 3)]
    if bottleneck:
        layers = [(planes, inputs, 1), (planes, planes, 3), (4 * planes, planes, 1)]
    for number, (outputs, width, kernel) in enumerate(layers, start=1):
        yield from conv_bn(f"{name}.conv{number}", f"{name}.bn{number}", outputs, width, kernel)
    if downsample:
        yield from conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", layers[-1][0], inputs, 1)


def resnet(depths: tuple[int, ...], *, bottleneck: bool) -> Layout:
    yield from conv_bn("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for number, depth in enumerate(depths, start=1):
        planes = 32 * 2**number
        outputs = 4 * planes if bottleneck else planes
        for index in range(depth):
            changes = index == 0 and inputs != outputs
            yield from block(f"layer{number}.{index}", inputs, planes, bottleneck=bottleneck, downsample=changes)
            inputs = outputs


def simple_pose(depths: tuple[int, ...], num_points: int, *, bottleneck: bool, prefix: str = "") -> Layout:
    for name, shape in resnet(depths, bottleneck=bottleneck):
        yield prefix + name, shape
    inputs = 2048 if bottleneck else 512
    for number in range(3):
        yield f"deconv_layers.{3 * number}.weight", (inputs, 256, 4, 4)
        yield from batch_norm(f"deconv_layers.{3 * number + 1}", 256)
        inputs = 256
    yield "final_layer.weight", (num_points, 256, 1, 1)
    yield "final_layer.bias", (num_points,)


def hrnet(width: int, *, finest_only: bool) -> Layout:
    """Stem, four bottlenecks, then 1, 4 and 3 modules of 2, 3 and 4 branches of four blocks, with an exchange after each."""
    yield from conv_bn("conv1", "bn1", 64, 3, 3)
    yield from conv_bn("conv2", "bn2", 64, 64, 3)
    for index in range(4):
        yield from block(f"layer1.{index}", 64 if index == 0 else 256, 64, bottleneck=True, downsample=index == 0)
    before = [256]
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        widths = [width * 2**branch for branch in range(stage)]
        yield from transition(f"transition{stage - 1}", before, widths)
        for module in range(modules):
            name = f"stage{stage}.{module}"
            for branch, channels in enumerate(widths):
                for index in range(4):
                    yield from block(
                        f"{name}.branches.{branch}.{index}", channels, channels, bottleneck=False, downsample=False
                    )
            last = finest_only and stage == 4 and module == modules - 1
            yield from exchange(f"{name}.fuse_layers", widths, 1 if last else stage)
        before = widths


def transition(name: str, before: list[int], widths: list[int]) -> Layout:
    for branch, channels in enumerate(widths):
        if branch >= len(before):
            yield from conv_bn(f"{name}.{branch}.0.0", f"{name}.{branch}.0.1", channels, before[-1], 3)
        elif before[branch] != channels:
            yield from conv_bn(f"{name}.{branch}.0", f"{name}.{branch}.1", channels, before[branch], 3)


def exchange(name: str, widths: list[int], outputs: int) -> Layout:
    for into in range(outputs):
        for source, channels in enumerate(widths):
            if source > into:
                here = f"{name}.{into}.{source}"
                yield from conv_bn(f"{here}.0", f"{here}.1", widths[into], channels, 1)
            for step in range(into - source):
                here = f"{name}.{into}.{source}.{step}"
                final = step == into - source - 1
                yield from conv_bn(f"{here}.0", f"{here}.1", widths[into] if final else channels, channels, 3)


def hrnet_pose(width: int, num_points: int) -> Layout:
    yield from hrnet(width, finest_only=True)
    yield "final_layer.weight", (num_points, width, 1, 1)
    yield "final_layer.bias", (num_points,)


def h3r_head(width: int, num_points: int) -> Layout:
    name = "heatmap_head.head.layers"
    yield from conv_bn(f"{name}.0", f"{name}.1", width, width, 1)
    yield f"{name}.3.weight", (2 * num_points, width, 1, 1)


def h3r_hrnet(width: int, num_points: int) -> Layout:
    for name, shape in hrnet(width, finest_only=False):
        yield f"backbone.{name}", shape
    yield from h3r_head(15 * width, num_points)


def h3r_mobilenetv2(num_points: int) -> Layout:
    yield from conv_bn("backbone.features.0.0", "backbone.features.0.1", 32, 3, 3)
    number, inputs = 1, 32
    for expansion, outputs, repeats in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3)):
        for _ in range(repeats):
            name, wide, layer = f"backbone.features.{number}.conv", expansion * inputs, 0
            if expansion > 1:
                yield from conv_bn(f"{name}.0", f"{name}.1", wide, inputs, 1)
                layer = 3
            yield from conv_bn(f"{name}.{layer}", f"{name}.{layer + 1}", wide, 1, 3)
            yield from conv_bn(f"{name}.{layer + 3}", f"{name}.{layer + 4}", outputs, wide, 1)
            number, inputs = number + 1, outputs
    yield from h3r_head(24 + 32 + 96, num_points)
