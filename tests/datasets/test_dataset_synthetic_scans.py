"""Rendered scans: exact surfaces, speckle as theory has it, and the same scans wherever they are rendered."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from heatpoint.datasets import SCANS, load_scan, render_scan, synthetic_scans
from heatpoint.datasets.irdlayers import SURFACES as FOUR
from heatpoint.datasets.retina_model import LEAST_UM, Retina
from heatpoint.datasets.retina_model import SURFACES as NINE
from heatpoint.datasets.synthetic_scans import DEFAULT_COUNTS, Scene, open_synthetic_scans, speckle

SIZE = (48, 150)
AXIAL_UM = 3.87


def retina(seed: int, *, size: tuple[int, int] = SIZE, axial_um: float = AXIAL_UM, is_ill: bool = False) -> Retina:
    rng = np.random.default_rng(seed)
    return Retina.draw(rng, size=size, axial_um=axial_um, lateral_um=6000 / size[0], is_ill=is_ill)


def test_scans_are_the_same_whatever_their_number() -> None:
    few, many = synthetic_scans(2, size=SIZE), synthetic_scans(3, size=SIZE)
    for one, other in zip(few.samples, many.samples, strict=False):
        assert np.array_equal(load_scan(one), load_scan(other))
        assert np.array_equal(one.rows, other.rows)
        assert (one.key, one.tags) == (other.key, other.tags)
    assert [scan.key for scan in many.samples] == ["train/0/0", "train/0/1", "train/0/2"]


def test_split_seed_and_index_give_other_scans() -> None:
    first = synthetic_scans(2, size=SIZE)
    others = [synthetic_scans(1, size=SIZE, split="test"), synthetic_scans(1, size=SIZE, seed=1)]
    rows = [first.samples[0].rows, first.samples[1].rows, *(found.samples[0].rows for found in others)]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(rows[i], rows[j])
    assert others[0].samples[0].key == "test/0/0"
    assert others[1].protocol == {"seed": 1, "size": [48, 150], "number": 1, "axial_um": 3.87}


def test_the_four_surfaces_are_four_of_the_nine() -> None:
    four, nine = synthetic_scans(2, size=SIZE), synthetic_scans(2, size=SIZE, surfaces=9)
    assert (four.skeleton.names, nine.skeleton.names) == (FOUR, NINE)
    for one, all_of in zip(four.samples, nine.samples, strict=True):
        assert np.array_equal(load_scan(one), load_scan(all_of))
        chosen = [NINE.index(name) for name in ("ILM", "OPL-ONL", "IS-OS", "BM")]
        assert np.array_equal(one.rows, all_of.rows[chosen])
        assert (one.rows.shape, all_of.rows.shape) == ((4, 48), (9, 48))
        assert one.visible.all()
        assert (one.axial_um, one.lateral_um) == (3.87, 125.0)
        assert load_scan(one).shape == (150, 48)


@pytest.mark.parametrize("size", [(48, 127), (16, 150), (90, 300)])
def test_surfaces_are_ordered_and_within_the_scan(size: tuple[int, int]) -> None:
    thin = math.inf
    for seed in range(150):
        rows = retina(seed, size=size, is_ill=seed % 2 == 1).rows(np.arange(size[0], dtype=np.float64))
        assert np.isfinite(rows).all()
        assert rows.min() >= 5.9
        assert rows.max() <= size[1] - 9
        gaps = np.diff(rows, axis=0)
        assert gaps.min() >= 0
        thin = min(thin, gaps[4].min())
        assert seed % 2 == 1 or gaps[4].min() > 5
    assert thin < 0.5  # where photoreceptors are lost, nothing of the ONL is left


def test_rows_scale_with_the_spacing() -> None:
    coarse, fine = (retina(3, size=(48, height), axial_um=um) for height, um in ((150, 3.87), (300, 1.935)))
    x = np.arange(48.0)
    assert np.abs(2 * np.ptp(coarse.rows(x), axis=0) - np.ptp(fine.rows(x), axis=0)).max() < 1e-9


def test_pixels_hold_the_share_of_the_area_below_each_surface() -> None:
    """Against counting points of a fine lattice: it errs by at most its spacing, 1/40 of a pixel, along an edge."""
    found = retina(8)
    scene = Scene.draw(np.random.default_rng(0), found, SIZE)
    width, height = SIZE
    steps = (np.arange(40) + 0.5) / 40 - 0.5
    for column in (0, 20, width - 1):
        edges = found.rows(column + np.array([-0.5, 0.0, 0.5]))
        for index in range(9):
            lines = np.interp(steps, [-0.5, 0, 0.5], edges[index])
            rows = (np.arange(height)[:, None] + steps).ravel()
            share = (rows[:, None] > lines).reshape(height, -1).mean(axis=1)
            assert np.abs(scene.below[index, :, column] - share).max() <= 1 / 40
    assert np.array_equal(scene.rows, found.rows(np.arange(width, dtype=np.float64)))


def test_the_place_of_an_edge_is_in_the_clean_picture_to_a_hundredth_of_a_row() -> None:
    """The sum of a column over an edge tells where it lies: rows of the lower brightness and rows of the upper."""
    checked = 0
    for seed in range(12):
        found = retina(seed)
        scene = Scene.draw(np.random.default_rng(seed), found, SIZE)
        for column in range(2, 46, 7):
            lines = found.rows(column + np.linspace(-0.5, 0.5, 21))
            top = int(lines[0].max()) + 2
            if lines[1].min() < top + 2:
                continue  # The first layer is too thin to hold a row of its own.
            dark, bright = scene.picture[0, column], scene.picture[top, column]
            rows = (bright * (top + 0.5) - scene.picture[: top + 1, column].sum(dtype=np.float64) - dark * -0.5) / (
                bright - dark
            )
            middle = np.interp([-0.5, 0, 0.5], np.linspace(-0.5, 0.5, 21), lines[0])
            mean = (middle[0] + 2 * middle[1] + middle[2]) / 4  # of the two straight pieces that are drawn
            assert abs(rows - mean) < 0.01
            assert abs(mean - scene.rows[0, column]) < 0.2
            checked += 1
    assert checked > 40


def test_blur_speckle_and_noise_leave_the_edges_where_they_are() -> None:
    """The mean of many pictures of one retina crosses the middle between dark and bright at the surface."""
    found = retina(1)
    scene = Scene.draw(np.random.default_rng(1), found, SIZE)
    mean = np.mean([scene.degraded(np.random.default_rng([7, i])) for i in range(150)], axis=0)
    shifts = []
    for column in range(4, 44):
        row = scene.rows[0, column]
        near = math.floor(row)
        if scene.rows[1, column] < near + 7:
            continue  # The first layer must be flat 4 rows below its surface, out of reach of the blur.
        dark, bright = mean[near - 5 : near - 2, column].mean(), mean[near + 4, column]
        shares = (mean[near - 2 : near + 4, column] - dark) / (bright - dark)
        place = int(np.argmax(shares > 0.5))
        step = shares[place] - shares[place - 1]
        shifts.append(near - 2 + place - (shares[place] - 0.5) / step - row)
    assert len(shifts) > 20
    assert abs(np.mean(shifts)) < 0.1


@pytest.mark.parametrize("looks", [1, 4])
def test_speckle_has_the_contrast_of_its_looks(looks: int) -> None:
    """Of gamma intensities with shape L the root r has squared contrast Γ(L+2r)·Γ(L)/Γ(L+r)² − 1; r lies in 0.25 to 0.5."""

    def contrast(root: float) -> float:
        logarithm = math.lgamma(looks + 2 * root) + math.lgamma(looks) - 2 * math.lgamma(looks + root)
        return math.sqrt(math.exp(logarithm) - 1)

    found, beside = [], []
    for seed in range(8):
        field = speckle(np.random.default_rng(seed), (120, 110), looks=looks)
        assert field.min() >= 0
        assert abs(field.mean() - 1) < 1e-4
        found.append(field.std())
        centred = field - 1
        beside.append([(centred[1:] * centred[:-1]).mean(), (centred[4:] * centred[:-4]).mean()] / field.var())
    # 13200 pixels, of which some 9 cohere: the contrast of a field is known to about 1/√(2·1500), 2 %.
    assert 0.93 * contrast(0.25) < min(found)
    assert max(found) < 1.07 * contrast(0.5)
    near, far = np.mean(beside, axis=0)
    assert near > 0.25
    assert abs(far) < 0.05


def test_vessels_shade_what_lies_below_the_nerve_fibres() -> None:
    found = retina(2)
    scene = Scene.draw(np.random.default_rng(3), found, SIZE)
    seen = [scene._vessels(np.random.default_rng(seed), scene.picture) for seed in range(12)]
    changed = [picture for picture in seen if not np.array_equal(picture, scene.picture)]
    assert 0 < len(changed) <= 12
    for picture in changed:
        assert np.array_equal(picture[:5], scene.picture[:5])
        below = scene.below[1] == 1
        assert (picture <= scene.picture + 1e-6)[below].all()
        assert (picture[below] / scene.picture[below]).min() < 0.9


def test_the_clean_drawing_is_smooth_within_layers() -> None:
    clean, rows = render_scan(np.random.default_rng(4), size=SIZE, degraded=False)
    noisy, same = render_scan(np.random.default_rng(4), size=SIZE)
    assert np.array_equal(rows, same)
    assert np.ptp(clean[:4]) == 0
    assert noisy[:4].std() > 0
    assert (clean.dtype, clean.shape, rows.shape) == (np.uint8, (150, 48), (9, 48))


def test_both_kinds_occur_and_have_the_layers_of_their_kind() -> None:
    samples = synthetic_scans(30, size=(32, 127), surfaces=9).samples
    tags = [next(iter(scan.tags)) for scan in samples]
    assert {"healthy", "ird"} == set(tags)
    thinnest = {
        tag: min((s.rows[5] - s.rows[4]).min() for s, t in zip(samples, tags, strict=True) if t == tag) for tag in tags
    }
    assert thinnest["ird"] < 1 < 5 < thinnest["healthy"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"number": 0}, ValueError, "synthetic_scans: number must be a whole number, at least 1, got 0."),
        ({"number": "2"}, TypeError, "synthetic_scans: number must be a whole number, at least 1, got '2'."),
        ({"split": "valid"}, ValueError, "synthetic_scans: split must be one of test, train, validation, got 'valid'."),
        ({"surfaces": 5}, ValueError, "synthetic_scans: surfaces must be 4 or 9, got 5."),
        ({"seed": -1}, ValueError, "synthetic_scans: seed must be a whole number, at least 0, got -1."),
        ({"axial_um": 0}, ValueError, "synthetic_scans: axial_um must be greater than 0, got 0."),
        (
            {"size": (128, 126)},
            ValueError,
            "synthetic_scans: size must be at least 16 columns and, at 3.87 µm per row, 127 rows, got (128, 126).",
        ),
        (
            {"size": (15, 160)},
            ValueError,
            "synthetic_scans: size must be at least 16 columns and, at 3.87 µm per row, 127 rows, got (15, 160).",
        ),
    ],
)
def test_faults_of_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        synthetic_scans(**({"number": 1} | arguments))
    assert str(caught.value).startswith(text)


def test_coarser_rows_need_fewer_of_them() -> None:
    scan = synthetic_scans(1, size=(20, 50), axial_um=10.0).samples[0]
    assert scan.rows.max() < 50 - 9
    assert scan.axial_um == 10.0
    assert math.ceil(LEAST_UM / 10.0) == 49


def test_the_default_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SCANS["synthetic_scans"] is open_synthetic_scans
    assert DEFAULT_COUNTS == {"train": 400, "validation": 50, "test": 100}
    for split in DEFAULT_COUNTS:
        monkeypatch.setitem(DEFAULT_COUNTS, split, 2)
        found = open_synthetic_scans(None, split)
        assert (found.name, found.split, len(found)) == ("synthetic_scans", split, 2)
        assert load_scan(found.samples[0]).shape == (160, 128)
    with pytest.raises(ValueError, match="synthetic_scans: split must be one of"):
        open_synthetic_scans(None, "all")


def test_rendering_is_quick() -> None:
    """20 ms are what a scan of 128 x 160 may take; the best of some, since others use the machine as well."""
    render_scan(np.random.default_rng(0))
    times = []
    for seed in range(10):
        began = time.perf_counter()
        render_scan(np.random.default_rng(seed))
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02
