"""A map of stride 8 keeps a point to the last digit, if rounding is random and decoding knows it.

Rounding a coordinate to its nearest cell loses up to half a stride per axis. Random rounding goes up with a probability equal
to the fraction, so the mean over many roundings, or over the activation probabilities themselves, is the point.
"""

import torch

import heatpoint as hp
from heatpoint import readout, rounding

grid = hp.Grid((32, 24), stride=8, offset=0)
point = torch.tensor([[100.3, 77.7]], dtype=torch.float64)

print(f"the point                      {point[0].tolist()}")
for mode in ("floor", "round", "ceil"):
    cell = rounding.round_to_cells(point, grid, mode=mode)
    error = (grid.to_points(cell.double()) - point).norm()
    bias = rounding.quantization_bias(mode, grid).tolist()
    print(
        f"{mode:5s} to cell {cell[0].tolist()!s:9s}      error {error:.3f} px; mean bias of this mode {bias} px per axis"
    )

generator = torch.Generator().manual_seed(0)
draws = rounding.round_to_cells(point.expand(20_000, 2), grid, mode="random", generator=generator)
mean = grid.to_points(draws.double()).mean(dim=0)
print(f"mean of 20000 random roundings {[round(v, 3) for v in mean.tolist()]}, error {(mean - point[0]).norm():.3f} px")

probabilities = rounding.activation_probabilities(point, grid)
active = int((probabilities > 0).sum())
decoded = readout.top_k(probabilities.log(), grid, k=9)
print(f"from its {active} activation cells  {decoded[0].tolist()}, error {(decoded - point).norm():.1e} px")
