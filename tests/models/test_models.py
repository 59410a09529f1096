"""Image models: what they take and give, and where every map's cells lie."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import heatpoint.models.timm_backbone as timm_backbone
from heatpoint.models import MODELS, MapNetwork, make_model
from heatpoint.models.heads import ConcatHead, DeconvHead, logits_layer
from heatpoint.models.small import SmallNet
from heatpoint.support import Grid


def num_weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def images(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(0))


# The last ones are the size of the published experiments: built and run, but not at every commit.
BACKBONES = [
    ("small", None),
    ("resnet18", None),
    ("resnet18", "concat"),
    ("hrnet_w18_small", None),
    ("hrnet_w18_small", "deconv"),
    ("hrnet_w18_small", "branch"),
    ("mobilenetv2_h3r", None),
    ("mobilenetv2_050", None),
    ("mobilenetv2_100", "concat"),
    *(
        pytest.param(name, None, marks=pytest.mark.slow)
        for name in ("resnet34", "resnet50", "resnet101", "resnet152", "hrnet_w18", "hrnet_w32", "hrnet_w48")
    ),
]


@pytest.mark.parametrize(("backbone", "head"), BACKBONES)
def test_every_backbone_gives_finite_logits_on_its_grid_and_trains(backbone: str, head: str | None) -> None:
    torch.manual_seed(0)
    model = make_model(backbone, num_points=5, input_size=(96, 64), head=head)
    assert model.stride == 4
    assert model.grid() == Grid((16, 24), stride=4)
    logits = model(images((96, 64)))
    assert logits.shape == (2, 5, *model.grid().shape)
    assert logits.is_contiguous()
    assert bool(torch.isfinite(logits).all())
    logits.square().sum().backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    # Under "deconv" HRNet's finer branches end unused in its last exchange.
    assert not unused or (backbone.startswith("hrnet") and head == "deconv")
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_two_channels_per_point_keep_the_points_together() -> None:
    torch.manual_seed(1)
    model = make_model("small", num_points=3, input_size=(32, 64), channels_per_point=2).eval()
    picture = images((32, 64))
    flat = model.network((picture - model.mean) / model.std)
    logits = model(picture)
    assert logits.shape == (2, 3, 2, 16, 8)
    # The two layouts differ in the order of the sums only: float32, values below 0.1.
    torch.testing.assert_close(logits[:, 2, 1], flat[:, 5], rtol=0, atol=1e-6)


def test_grid_takes_an_offset() -> None:
    model = make_model(num_points=3, input_size=64)
    assert model.grid(offset=0) == Grid((16, 16), stride=4, offset=0)
    assert model.grid().offset == 1.5


def test_imagenet_normalisation_is_inside_and_in_the_weights() -> None:
    class Recorder(nn.Module):
        def forward(self, normalised: Tensor) -> Tensor:
            self.seen = normalised
            return normalised

    recorder = Recorder()
    model = MapNetwork(recorder, num_points=3, input_size=(5, 4), stride=1)
    grey = torch.tensor([0.485, 0.456, 0.406])[:, None, None].expand(2, 3, 4, 5)
    model(grey)
    assert bool((recorder.seen == 0).all())
    model(grey + torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    # (m + s − m) / s in float32: an ulp of m over s.
    torch.testing.assert_close(recorder.seen, torch.ones(2, 3, 4, 5), rtol=0, atol=1e-6)
    assert set(model.state_dict()) == {"mean", "std"}
    assert repr(model).startswith("MapNetwork(\n  num_points=3, input_size=(5, 4), stride=1")


def test_training_starts_at_nearly_uniform_maps() -> None:
    torch.manual_seed(2)
    for backbone in ("resnet18", "hrnet_w18_small"):
        logits = make_model(backbone, num_points=5, input_size=64)(images((64, 64), batch=3))
        assert logits.abs().max() < 0.5
    layer = logits_layer(200, 100)
    # 20 000 draws: the sample deviation is within 5 standard errors, 5 · 0.001 / √40000, of 0.001.
    assert layer.weight.std().item() == pytest.approx(0.001, abs=2.5e-5)


def test_small_is_small() -> None:
    model = make_model("small", num_points=68, input_size=64).eval()
    assert 0.8e6 < num_weights(model) <= 1e6
    with FlopCounterMode(display=False) as counter:
        model(images((64, 64), batch=1))
    assert counter.get_total_flops() / 2 == pytest.approx(61e6, rel=0.02)


def test_tiny_is_a_third_of_small() -> None:
    assert num_weights(make_model("tiny", num_points=14, input_size=64)) == 255_486


@pytest.mark.parametrize("size", [(20, 12), (64, 128), (36, 100)])
def test_small_takes_every_multiple_of_four(size: tuple[int, int]) -> None:
    model = make_model("small", num_points=3, input_size=size).eval()
    assert model(images(size)).shape == (2, 3, size[1] // 4, size[0] // 4)


def test_one_cell_of_small_sees_the_whole_face() -> None:
    torch.manual_seed(3)
    picture = images((64, 96), batch=1).requires_grad_(True)
    SmallNet(2).eval()(picture)[0, 0, 12, 8].backward()
    assert picture.grad is not None
    reached = picture.grad.abs().sum(dim=(0, 1)) > 0
    assert bool(reached.all())


def test_deconv_head_is_simple_pose() -> None:
    head = DeconvHead(7, 3)
    kinds = [type(layer).__name__ for layer in head.deconvolutions]
    assert kinds == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 3
    # Three 4 x 4 deconvolutions to 256 channels, without bias; two numbers per channel and BN; 1 x 1 with bias.
    assert num_weights(head) == 16 * 256 * (7 + 256 + 256) + 3 * 512 + 3 * 257
    narrow = DeconvHead(7, 3, width=5)
    assert num_weights(narrow) == 16 * 5 * (7 + 5 + 5) + 3 * 10 + 3 * 6


def test_concat_head_is_hrnet_and_h3r() -> None:
    head = ConcatHead([4, 6], 3)
    assert num_weights(head) == 10 * 11 + 20 + 3 * 11
    kinds = [type(layer).__name__ for layer in head.mix]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"]
    # A constant coarse level stays constant when it is brought to the finest.
    finest, coarse = torch.zeros(2, 4, 6, 10), torch.ones(2, 6, 3, 5)
    logits = head.eval()([finest, coarse])
    assert bool((logits == logits[..., :1, :1]).all())


def test_hrnet_gives_its_own_widths_to_the_head() -> None:
    model = make_model("hrnet_w18_small", num_points=2, input_size=64)
    assert isinstance(model.network.head, ConcatHead)
    # H3R mixes 18 + 36 + 72 + 144 channels on W18; the small variant has 16 + 32 + 64 + 128.
    assert model.network.head.mix[0].in_channels == 16 + 32 + 64 + 128


@pytest.mark.slow
def test_hrnet_w18_has_the_published_head() -> None:
    model = make_model("hrnet_w18", num_points=68, input_size=256)
    assert model.network.head.mix[0].in_channels == 18 + 36 + 72 + 144
    assert model.grid(offset=0) == Grid((64, 64), stride=4, offset=0)


def test_the_same_seed_gives_the_same_network_and_gradients() -> None:
    gradients = []
    for _ in range(2):
        torch.manual_seed(5)
        model = make_model("small", num_points=3, input_size=32)
        model(images((32, 32), batch=3)).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_autocast_gives_finite_logits_and_gradients() -> None:
    torch.manual_seed(6)
    model = make_model("small", num_points=3, input_size=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images((64, 64)))
    assert logits.dtype == torch.bfloat16
    logits.float().square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_pretrained_asks_timm_for_weights_and_explains_a_failed_download(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def offline(name: str, **options: object) -> nn.Module:
        asked[name] = options
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr(timm_backbone.timm, "create_model", offline)
    with pytest.raises(OSError) as raised:
        make_model("resnet18", num_points=3, input_size=64, pretrained=True)
    assert str(raised.value) == (
        "make_model: the published weights of 'resnet18' could not be loaded. Connect this machine to the internet "
        "once, copy a Hugging Face cache to it (HF_HOME), or use pretrained=False."
    )
    assert asked["resnet18"]["pretrained"] is True


def test_a_backbone_that_timm_cannot_cut_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> nn.Module:
        raise RuntimeError("features_only not implemented for this model.")

    monkeypatch.setattr(timm_backbone.timm, "create_model", refuse)
    with pytest.raises(ValueError) as raised:
        make_model("resnet18", num_points=3, input_size=64)
    assert str(raised.value) == (
        "make_model: backbone must give feature maps whose resolution halves step by step, got 'resnet18'. "
        "features_only not implemented for this model."
    )


def without_weights() -> str:
    return next(n for n in timm.list_models("hrnet*") + timm.list_models() if not timm.is_model_pretrained(n))


def test_pretrained_without_published_weights_says_so() -> None:
    name = without_weights()
    with pytest.raises(ValueError) as raised:
        make_model(name, num_points=3, input_size=64, pretrained=True)
    assert str(raised.value) == (
        f"make_model: pretrained must be False for {name!r}, got True. timm has no weights for it."
    )


def small(**options: object) -> MapNetwork:
    return make_model(**{"num_points": 3, "input_size": 64, **options})


@pytest.mark.parametrize(
    ("error", "call", "text"),
    [
        (ValueError, lambda: small(num_points=0), "make_model: num_points must be at least 1, got 0."),
        (ValueError, lambda: small(channels_per_point=0), "make_model: channels_per_point must be at least 1, got 0."),
        (
            ValueError,
            lambda: small(backbone="resnet18", head="deconvolution"),
            "make_model: head must be one of branch, concat, deconv, h3r, got 'deconvolution'. Did you mean deconv?",
        ),
        (
            ValueError,
            lambda: small(backbone="resnet18", head="branch"),
            "make_model: head must not be 'branch' for backbone 'resnet18', got it. It reads the finest branch alone: choose "
            "an HRNet, or another head.",
        ),
        (
            ValueError,
            lambda: small(backbone="mobilenet_h3r"),
            "make_model: backbone must be 'small' or a timm model, got 'mobilenet_h3r'. Did you mean mobilenetv2_h3r or ",
        ),
        (
            ValueError,
            lambda: small(head="deconv"),
            "make_model: head must be None for backbone 'small', got 'deconv'. Leave it out: the network has its own.",
        ),
        (
            ValueError,
            lambda: small(pretrained=True),
            "make_model: pretrained must be False for 'small', got True. Use a timm backbone such as 'resnet18' for "
            "published weights.",
        ),
        (
            ValueError,
            lambda: small(input_size=(66, 64)),
            "make_model: input_size must be a multiple of 4 on both sides for backbone 'small', got (66, 64).",
        ),
        (
            ValueError,
            lambda: small(backbone="mobilenetv2_050", input_size=80),
            "make_model: input_size must be a multiple of 32 on both sides for backbone 'mobilenetv2_050', got 80.",
        ),
        (
            ValueError,
            lambda: small(input_size=0),
            "make_model: input_size must be a multiple of 4 on both sides for backbone 'small', got 0.",
        ),
        (
            ValueError,
            lambda: small(backbone="hrnet_w18x"),
            "make_model: backbone must be 'small' or a timm model, got 'hrnet_w18x'. Did you mean hrnet_w18 or ",
        ),
        (
            ValueError,
            lambda: small(backbone="smal"),
            "make_model: backbone must be 'small' or a timm model, got 'smal'. Did you mean small or ",
        ),
        (
            ValueError,
            lambda: small(backbone="#"),
            "make_model: backbone must be 'small' or a timm model, got '#'. timm.list_models() lists them.",
        ),
        (
            ValueError,
            lambda: small(backbone="vit_tiny_patch16_224"),
            "make_model: backbone must give feature maps whose resolution halves step by step, got "
            "'vit_tiny_patch16_224' with strides [16, 16, 16].",
        ),
        (
            TypeError,
            lambda: small()(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)),
            "forward: images must be floating point in [0, 1], got torch.uint8. Divide 8-bit images by 255.",
        ),
        (
            ValueError,
            lambda: small(input_size=(64, 32))(torch.zeros(2, 3, 64, 32)),
            "forward: images must be (B, 3, 32, 64), got (2, 3, 64, 32). Warp to the model's size, or make the model "
            "with another input_size.",
        ),
        (
            ValueError,
            lambda: small()(torch.zeros(3, 64, 64)),
            "forward: images must be (B, 3, 64, 64), got (3, 64, 64). Warp to the model's size, or make the model with "
            "another input_size.",
        ),
    ],
)
def test_error_texts(error: type[Exception], call: Callable[[], object], text: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(text)
    if not text.endswith(" or "):
        assert str(raised.value) == text


def test_models_lists_our_own_names() -> None:
    assert set(MODELS) == {"small", "tiny"}
    for name in MODELS:
        assert math.prod(make_model(name, num_points=2, input_size=32).grid().shape) == 64


# Backbone, head, input, points, channels per point -> parameters. In millions: SimplePose 34.0, 53.0, 68.6 and HRNet 28.5, 63.6
# (their papers), H3R 9.69 and 0.60 at 98 points, 9.67 and 0.59 at 68 (its code).
PUBLISHED = [
    ("resnet18", "deconv", 256, 5, 1, 15_373_637),
    ("resnet50", "deconv", (192, 256), 17, 1, 33_999_697),
    ("resnet50", "deconv", 256, 16, 1, 33_999_440),
    ("resnet101", "deconv", (192, 256), 17, 1, 52_991_825),
    ("resnet152", "deconv", (192, 256), 17, 1, 68_635_473),
    ("hrnet_w32", "branch", (192, 256), 17, 1, 28_536_113),
    ("hrnet_w48", "branch", (192, 256), 17, 1, 63_595_745),
    ("hrnet_w18", "h3r", 256, 98, 2, 9_688_620),
    ("hrnet_w18", "h3r", 256, 68, 2, 9_672_420),
    ("mobilenetv2_h3r", None, 256, 98, 2, 595_728),
    ("mobilenetv2_h3r", None, 128, 68, 2, 586_608),
]


@pytest.mark.parametrize(("backbone", "head", "size", "points", "channels", "expected"), PUBLISHED)
def test_the_papers_networks_have_their_size_and_shape(
    backbone: str, head: str | None, size: int | tuple[int, int], points: int, channels: int, expected: int
) -> None:
    options = {"num_points": points, "input_size": size, "channels_per_point": channels}
    with torch.device("meta"):  # Shapes without numbers.
        model = make_model(backbone, head=head, **options).eval()  # type: ignore[arg-type]
        width, height = (size, size) if isinstance(size, int) else size
        logits = model(torch.empty(2, 3, height, width))
    assert num_weights(model) == expected
    maps = (2, points, 2) if channels == 2 else (2, points)
    assert logits.shape == (*maps, height // 4, width // 4)


def test_the_h3r_head_is_concat_without_biases() -> None:
    with torch.device("meta"):
        with_bias = make_model("hrnet_w18_small", num_points=7, input_size=64)
        without = make_model("hrnet_w18_small", num_points=7, input_size=64, head="h3r")
    gone = set(with_bias.state_dict()) - set(without.state_dict())
    assert gone == {"network.head.mix.0.bias", "network.head.logits.bias"}


def test_the_branch_head_reads_the_finest_branch_and_leaves_nothing_unused() -> None:
    with torch.device("meta"):
        model = make_model("hrnet_w18_small", num_points=7, input_size=64, head="branch")
    assert model.network.head.logits.in_channels == 16
    assert len(model.network.features.stage4[-1].fuse_layers) == 1
    assert len(model.network.features.stage4[0].fuse_layers) in (1, 4)


def test_mobilenet_of_h3r_ends_at_a_sixteenth() -> None:
    model = make_model("mobilenetv2_h3r", num_points=3, input_size=(48, 80)).eval()
    assert [level.shape[1:] for level in model.network.features(images((48, 80)))[1:]] == [
        (24, 20, 12),
        (32, 10, 6),
        (96, 5, 3),
    ]
    assert model(images((48, 80))).shape == (2, 3, 20, 12)
