"""heatpoint in a loop of one's own: plain torch, two lines changed.

The task: find a bright spot in noise, at a place between pixels. `train` is the loop one has, with the two lines marked;
the loss it had was the squared difference to a Gaussian map.
"""

import torch
from torch import nn

import heatpoint as hp

SIZE, STEPS, BATCH = 48, 150, 32


def spots(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 1, 48, 48) and the true points (B, 1, 2)."""
    points = torch.empty(BATCH, 1, 2).uniform_(6, SIZE - 7, generator=generator)
    pixels = torch.arange(SIZE, dtype=torch.float32)
    x, y = pixels - points[..., :1], pixels - points[..., 1:]
    image = torch.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / (2 * 3.0**2))
    return image + 0.3 * torch.randn(image.shape, generator=generator), points


def network() -> nn.Module:
    """Emits logits (B, 1, 12, 12): a map of stride 4."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1)),
    )


def train(name: str) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    localizer = hp.make_localizer(name, hp.Grid((12, 12), stride=4))  # line 1, in place of the target maps
    for step in range(STEPS):
        images, points = spots(generator)
        loss = localizer.loss(model(images), points, progress=step / STEPS)  # line 2, in place of the squared error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    images, points = spots(generator)
    with torch.no_grad():
        found = localizer.locate(model(images))
    error = (found.points - points).norm(dim=-1).mean()
    print(
        f"{name:20s} mean error {error:.2f} px on a map whose cells are 4 px wide; confidence {found.confidence.mean():.2f}"
    )


if __name__ == "__main__":
    for name in ("soft_argmax", "sampling_argmax", "randomized_rounding"):
        train(name)
