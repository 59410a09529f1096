"""One map, read as a probability density: where is the point, how sure is that, what would an error cost."""

import torch

import heatpoint as hp

# A map with two peaks, as a network emits it between two alike eyes: 16 x 24 cells, 4 input pixels apart.
grid = hp.Grid((16, 24), stride=4)
centers = grid.cell_centers()


def blob(x: float, y: float) -> torch.Tensor:
    return -((centers - torch.tensor([x, y])) ** 2).sum(dim=-1) / (2 * 5.0**2)


logits = torch.logaddexp(blob(30.3, 33.1), blob(70.8, 30.2) - 1.2)
p = hp.Density(logits, grid, basis="triangular")

print("Where?")
for name, point in {"mean": p.mean, "mode": p.mode, "median": p.median}.items():
    # The mean of two peaks lies between them, where nothing is.
    print(f"  {name:7s} x = {point[0]:5.1f}, y = {point[1]:5.1f}   P(error <= 8 px) = {p.mass_within(point, 8.0):.2f}")

print("How sure?")
deviation_x, deviation_y = p.covariance.diagonal().sqrt()
print(f"  standard deviations {deviation_x:.1f} and {deviation_y:.1f} px, entropy {p.entropy():.2f} nats")
left = p.marginal(0).cdf(torch.tensor([50.0]))
print(f"  P(left of x = 50) = {left.item():.2f}")

print("What would an answer cost?")
target = torch.tensor([31.0, 33.0])
print(f"  E|Y - target| = {p.expected_distance(target, 'l2'):.2f} px, -log p(target) = {-p.log_prob(target):.2f}")

print("What might it have been?")
generator = torch.Generator().manual_seed(0)
for x, y in p.sample((4,), generator=generator):
    print(f"  x = {x:5.1f}, y = {y:5.1f}")
