"""Maps over the points of a cloud, without a network: where are the feet of a chair, how sure is that, how far off is it?

Writes a page to be opened in a browser, in which the chair, its maps and keypoints can be turned about.
"""

import tempfile
from pathlib import Path

import torch

import heatpoint as hp
from heatpoint.datasets import synthetic_clouds
from heatpoint.metrics.clouds import cloud_errors
from heatpoint.report.cloud_scene import CloudScene
from heatpoint.report.cloud_view import write_cloud_view

chairs = synthetic_clouds(30, category="chair", split="train")
names = [f"leg_{corner}" for corner in ("front_left", "front_right", "back_right", "back_left")]
legs = [chairs.skeleton.names.index(name) for name in names]
chair = next(sample for sample in chairs.samples if sample.visible[legs].all())
xyz, truth = torch.from_numpy(chair.xyz), torch.from_numpy(chair.points[legs])


# What a network might emit, (4, 2048): a peak at each foot, 3 % of the chair wide, and a weaker one at the next foot.
def peak(points: torch.Tensor) -> torch.Tensor:
    return -(xyz - points[:, None]).square().sum(dim=-1) / (2 * 0.03**2)


logits = torch.logaddexp(peak(truth), peak(truth.roll(-1, dims=0)) - 1.5)
cloud = hp.Points(xyz)
p = hp.Density(logits, cloud, basis={"name": "gaussian", "sigma": 0.01})

print("Located                straight   along the chair   P(error <= 0.05)")
for readout in ("argmax", "soft_argmax"):
    # The mean of two feet hangs in the air between them, and the way along the chair is long.
    found = hp.make_localizer("log_score", cloud, basis=p.basis, readout=readout).locate(logits)
    pair = (found.points[None], truth[None])
    straight, along = cloud_errors(*pair)[0], cloud_errors(*pair, distance="geodesic", clouds=xyz[None])[0]
    for k, name in enumerate(names):
        within = p.mass_within(found.points, 0.05)[k]
        print(f"{readout:12s}{name[4:]:12s}{straight[k]:7.3f}{along[k]:14.3f}{within:17.2f}")

scene = CloudScene(
    xyz.numpy(),
    found.points.numpy(),
    names=names,
    confidence=found.confidence.numpy(),
    covariance=found.covariance.numpy(),
    probabilities=logits.softmax(dim=-1).numpy(),
    truth=truth.numpy(),
    truth_names=names,
    edges=[(0, 1), (1, 2), (2, 3), (3, 0)],
)
page = write_cloud_view(Path(tempfile.gettempdir(), "heatpoint_chair.html"), scene, title=chair.key)
print(f"Turn it about: {page}")
