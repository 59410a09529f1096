"""The network of surfaces: shapes, what a map sees, labels, errors, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from heatpoint.localizers import make_localizer
from heatpoint.models import SurfaceNet
from heatpoint.support import Grid


def seeded(
    *, height: int = 40, width: int = 24, widths: tuple[int, ...] = (8, 8, 16), num_labels: int = 0
) -> SurfaceNet:
    torch.manual_seed(0)
    return SurfaceNet(3, input_size=(width, height), widths=widths, num_labels=num_labels)


def scans(*, height: int = 40, width: int = 24, number: int = 2) -> Tensor:
    return torch.rand(number, 1, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("height", "width"), [(40, 24), (37, 21), (16, 130)])
def test_one_map_per_surface_and_column_at_every_row(height: int, width: int) -> None:
    model = seeded(height=height, width=width)
    logits = model(scans(height=height, width=width))
    assert logits.shape == (2, 3, width, height)
    assert logits.is_contiguous()
    assert model.grid() == Grid((height,))
    assert model.grid(offset=0.5).offsets == (0.5,)
    located = make_localizer("soft_argmax", model.grid()).locate(logits).points
    assert located.shape == (2, 3, width, 1)


def test_columns_and_rows_are_those_of_the_scan() -> None:
    """A change of one pixel changes the maps most about its column and row."""
    model = seeded(widths=(8, 8)).eval()
    images = scans(number=1)
    changed = images.clone()
    changed[0, 0, 29, 5] += 2
    difference = (model(changed) - model(images)).detach().abs().sum(dim=(0, 1))
    column, row = divmod(int(difference.argmax()), 40)
    # Within the reach of the full resolution's convolutions: one of 5 x 5 and two of 3 x 3.
    assert abs(column - 5) <= 4
    assert abs(row - 29) <= 4


def test_a_map_sees_far_along_its_column() -> None:
    """With five levels, what lies over 100 rows below has a say in the first row, even without what normalisation spreads."""
    model = seeded(height=160, width=32, widths=(8, 8, 8, 8, 8)).eval()
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda features: features  # type: ignore[method-assign]
    images = scans(height=160, width=32, number=1).requires_grad_()
    (gradient,) = torch.autograd.grad(model(images)[0, 0, 16, 0], images)
    seen = torch.nonzero(gradient[0, 0].abs().sum(dim=1)).flatten()
    assert seen.min() == 0
    assert seen.max() >= 100


def test_scans_of_a_batch_do_not_touch() -> None:
    model = seeded().train()
    images = scans(number=3)
    alone = torch.cat([model(image[None]) for image in images])
    # The same sums, in float32, perhaps in another order.
    torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.eval()(images), alone, rtol=1e-4, atol=1e-5)


def test_labels_share_the_features() -> None:
    model = seeded(num_labels=4)
    logits, labels = model.with_labels(scans())
    assert labels.shape == (2, 4, 40, 24)
    torch.testing.assert_close(logits, model(scans()))
    labels.sum().backward()
    assert model.stem[0].weight.grad.abs().max() > 0
    assert model.logits.weight.grad is None
    last = [name for name, module in model.named_modules() if name.split(".")[-1] == "logits"]
    assert last == ["logits", "labels.logits"]


def test_every_weight_learns() -> None:
    model = seeded(num_labels=4)
    logits, labels = model.with_labels(scans())
    (logits.square().mean() + labels.square().mean()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert bool(weight.grad.isfinite().all()), name
        # A bias ahead of a normalisation of its own channel alone would have no effect.
        assert float(weight.grad.abs().max()) > 0, name


def test_it_learns_two_edges() -> None:
    """Steps on edges that differ from scan to scan: most located rows end within half a row of them."""
    torch.manual_seed(0)
    model = SurfaceNet(2, input_size=(16, 32), widths=(8, 8, 16))
    localizer = make_localizer("log_score", model.grid())
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    errors = []
    for _ in range(50):
        rows = torch.sort(torch.rand(4, 2, 1, generator=generator) * 24 + 4, dim=1).values.expand(4, 2, 16)
        above = (rows[..., None] > torch.arange(32.0)).float()
        images = (0.2 + 0.5 * above[:, 0] - 0.2 * above[:, 1]).mT[:, None]
        images = images + 0.05 * torch.randn(images.shape, generator=generator)
        logits = model(images)
        loss = localizer.loss(logits, rows[..., None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float((localizer.locate(logits).points[..., 0] - rows).detach().abs().median()))
    assert errors[0] > 3
    assert errors[-1] < 0.5


def test_errors() -> None:
    model = seeded()
    with pytest.raises(TypeError, match=r"forward: images must be floating point in \[0, 1\], got torch.uint8"):
        model(torch.zeros(1, 1, 40, 24, dtype=torch.uint8))
    for shape in ((1, 3, 40, 24), (1, 1, 24, 40), (1, 40, 24)):
        with pytest.raises(ValueError, match=r"forward: images must be \(B, 1, 40, 24\), got"):
            model(torch.zeros(shape))
    with pytest.raises(
        ValueError, match="with_labels: num_labels must be at least 2, got 0. Make the model with num_labels"
    ):
        model.with_labels(scans())
    with pytest.raises(ValueError, match="SurfaceNet: num_surfaces must be at least 1, got 0"):
        SurfaceNet(0, input_size=(24, 40))
    with pytest.raises(ValueError, match="SurfaceNet: num_labels must be 0 or at least 2, got 1"):
        SurfaceNet(3, input_size=(24, 40), num_labels=1)
    for widths in ((8,), (8, 0)):
        with pytest.raises(
            ValueError, match="SurfaceNet: widths must be the channels, at least 1, of at least 2 levels"
        ):
            SurfaceNet(3, input_size=(24, 40), widths=widths)
    with pytest.raises(
        ValueError, match=r"input_size must be at least 16 columns and rows for 5 levels, got \(24, 15\)"
    ):
        SurfaceNet(3, input_size=(24, 15), widths=(8, 8, 8, 8, 8))
