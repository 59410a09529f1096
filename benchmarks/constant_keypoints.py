"""The dual alignment score of keypoints that know nothing of the shape: the same places about every centroid.

    python benchmarks/constant_keypoints.py

Objects of a category stand upright and face the same way, so keypoints that never move beside aligned objects agree with
each other. Rows: all keypoints at the centroid; a constellation drawn once, of a given spread about it, for all objects (mean and
standard deviation over draws); one drawn anew for every object, which is what chance gives.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from heatpoint.datasets import synthetic_clouds
from heatpoint.metrics.alignment import dual_alignment

CATEGORIES = ("chair", "table", "airplane")
SPREADS = (0.01, 0.1, 0.3)


def main() -> None:
    """Prints one table for each category."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keypoints", type=int, default=8)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, arguments.keypoints, 3, generator=generator, dtype=torch.float64)

    for category in CATEGORIES:
        found = synthetic_clouds(arguments.objects, category=category, split="test").samples
        target = torch.stack([torch.from_numpy(cloud.points) for cloud in found])
        visible = torch.stack([torch.from_numpy(cloud.visible) for cloud in found])
        center = torch.stack([torch.from_numpy(cloud.xyz).mean(dim=0) for cloud in found])[:, None]
        print(f"\n{category}s, {arguments.keypoints} keypoints, % forward, backward, mean")
        rows = {"all at the centroid": [center.expand(-1, arguments.keypoints, -1)]}
        for spread in SPREADS:
            draws = [center + spread * drawn(1) for _ in range(arguments.draws)]
            rows[f"one constellation, spread {spread}"] = draws
        draws = [center + 0.1 * drawn(len(found)) for _ in range(arguments.draws)]
        rows["another for every object, spread 0.1"] = draws
        for name, places in rows.items():
            scores = 100 * torch.tensor([dual_alignment(points, target, visible) for points in places])
            spread_of = scores.std(dim=0, correction=1 if len(places) > 1 else 0)
            shown = "   ".join(
                f"{mean:5.1f} ± {std:4.1f}" for mean, std in zip(scores.mean(dim=0), spread_of, strict=True)
            )
            print(f"{name:38} {shown}")


if __name__ == "__main__":
    main()
