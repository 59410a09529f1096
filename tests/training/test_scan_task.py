"""Surfaces end to end, and each part of it by hand: losses, reading, ordering, bands, the flip test, scores in scan pixels."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from heatpoint.cli.scan_scores import columns, more, numbers
from heatpoint.cli.train import parse
from heatpoint.datasets import synthetic_clouds, synthetic_scans
from heatpoint.datasets.scan import Scan, ScanSet
from heatpoint.inference.scans import ScanPredictor
from heatpoint.localizers import make_localizer
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.recipes.scan_config import ScanDataConfig
from heatpoint.scan_frame import ScanFrame
from heatpoint.skeleton import Skeleton
from heatpoint.support import Grid
from heatpoint.training import Trained, evaluate, fit, read_header
from heatpoint.training.scan_data import ScanBatch, ScanDataset, read_scans, stored_spacing, with_spacing
from heatpoint.training.scan_losses import label_loss, label_maps
from heatpoint.training.scan_scores import scores_of_surfaces
from heatpoint.training.surfaces import ScanFound, Surfaces, locate_surfaces, located_rows, to_scan
from heatpoint.training.tasks import get_task
from heatpoint.transforms.scans import flattening_rows
from runs import SILENT

TASK: Any = get_task("scan")
TINY = ("--limit", "10", "--input", "32", "40", "--batch-size", "2", "--epochs", "2", "--validation-fraction", "0.2")


def tiny(method: str = "soft_argmax", *more: str) -> Recipe:
    return parse([f"oct-synthetic-{method}", *TINY, *more])[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe = tiny("soft_argmax", "--ordering", "cumulative", "--order-weight", "0.1", "--label-weight", "0.5")
    return fit(recipe, out=tmp_path_factory.mktemp("scans") / "run", console=SILENT)


def test_a_run_on_scans_is_scored_in_their_pixels(run: Any) -> None:
    scores = run.scores["scores"]["recipe"]
    assert list(scores["mad_px"]) == ["ILM", "OPL/HFL-ONL", "ONL-BMEIS", "RPE-choroid", "overall"]
    assert scores["columns"] == 10 * 4 * 128  # All columns of the scans, not the 32 of the input.
    assert scores["mad_um"]["overall"] == pytest.approx(3.87 * scores["mad_px"]["overall"])
    assert scores["violations"] == 0
    assert run.scores["protocol"]["ordering"] == "cumulative"
    assert run.scores["task"] == "scan"
    with run.paths["history"].open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["validation_mad_px"]) > 0


def test_scores_are_printed_as_many_as_headers(run: Any) -> None:
    row = run.scores["scores"]["recipe"]
    assert len(columns(row)) == len(numbers(row)) == 10
    assert "0 of 3840 pairs" in more(row, run.scores)[0]
    assert more(row, run.scores)[1].startswith("MAD px overall by subset: ")


def test_evaluating_again_gives_the_same_and_a_flip_test_another_score(run: Any) -> None:
    again = evaluate(run.paths["best"])
    assert again["scores"]["recipe"]["mad_px"] == run.scores["scores"]["recipe"]["mad_px"]
    plain = evaluate(run.paths["best"], flip_test=True, readouts=("argmax",), limit=4)
    assert plain["scores"]["recipe"]["mad_px"] != again["scores"]["recipe"]["mad_px"]
    assert set(plain["scores"]) == {"recipe", "argmax"}
    assert plain["scores"]["argmax"]["columns"] == 4 * 4 * 128


def test_the_predictor_finds_what_the_evaluation_scores(run: Any) -> None:
    predictor = ScanPredictor.load(run.paths["best"])
    scans = synthetic_scans(10, split="test")
    errors = [np.abs(predictor(scan).rows - scan.rows).mean() for scan in scans.samples]
    assert np.mean(errors) == pytest.approx(run.scores["scores"]["recipe"]["mad_px"]["overall"], rel=1e-5)


def test_a_run_starts_from_the_features_of_another(run: Any, tmp_path: Path) -> None:
    recipe = tiny("log_score", "--start", str(run.paths["best"]), "--epochs", "1", "--label-weight", "0.5")
    found = fit(recipe, out=tmp_path / "run", console=SILENT)
    assert math.isfinite(found.scores["scores"]["recipe"]["mad_px"]["overall"])


def scan_set(*, seed: int = 0, width: int = 24, height: int = 30, num: int = 3) -> ScanSet:
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(num):
        rows = np.sort(rng.uniform(4, 25, (2, width)), axis=0)
        visible = rng.random((2, width)) > 0.2
        image = rng.random((height, width)).astype(np.float32)
        tags = frozenset({"odd"} if index % 2 else {"even"})
        samples.append(Scan(image, np.where(visible, rows, 0.0), visible, f"s{index}", group=f"g{index}", tags=tags))
    return ScanSet("own", "test", Skeleton(("upper", "lower")), tuple(samples))


def batch_of(recipe: Recipe, scans: ScanSet) -> ScanBatch:
    data = TASK.dataset(scans, recipe, is_training=False)
    found: ScanBatch = TASK.collate([data[0, index] for index in range(len(data))])
    return found


def loss_of(recipe: Recipe, batch: ScanBatch, model: Any, grid: Grid) -> Tensor:
    localizer = make_localizer(recipe.localizer, grid, **recipe.localizer_options)
    found: Tensor = TASK.loss(model, localizer, batch, recipe, progress=0.5, generator=torch.Generator().manual_seed(0))
    return found


WEIGHTS = {"model.label_weight": 0.7, "model.ordering": "isotonic", "model.order_weight": 0.3}


def test_the_loss_is_the_sum_of_its_parts() -> None:
    recipe = changed(tiny("log_score"), WEIGHTS)
    batch = batch_of(recipe, scan_set())
    torch.manual_seed(0)
    model, grid = TASK.build_model(recipe, 2)
    whole = loss_of(recipe, batch, model, grid)
    logits, labels = model.with_labels(batch.images)
    plain = loss_of(changed(recipe, {"model.label_weight": 0.0, "model.order_weight": 0.0}), batch, model, grid)
    rows = located_rows(make_localizer("log_score", grid), logits, ordering="isotonic")
    error = (rows - batch.rows).abs()[batch.visible].mean()
    label = label_loss(labels, *label_maps(batch.rows, batch.visible, num_rows=40))
    torch.testing.assert_close(whole, plain + 0.7 * label + 0.3 * error)
    gradient = torch.autograd.grad(error, model.logits.weight)[0]
    assert bool(gradient.any())


def test_columns_that_are_missing_weigh_nothing() -> None:
    recipe = changed(tiny("soft_argmax"), WEIGHTS)
    batch = batch_of(recipe, scan_set())
    assert not bool(batch.visible.all())
    model, grid = TASK.build_model(recipe, 2)
    moved = batch._replace(rows=torch.where(batch.visible, batch.rows, 17.0))
    torch.testing.assert_close(loss_of(recipe, batch, model, grid), loss_of(recipe, moved, model, grid))
    localizer = make_localizer(recipe.localizer, grid)
    errors = [TASK.validation_errors(model, localizer, part, recipe) for part in (batch, moved)]
    torch.testing.assert_close(*errors)
    nothing = batch._replace(visible=torch.zeros_like(batch.visible))
    loss = loss_of(recipe, nothing, model, grid)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not bool(p.grad.any()) for p in model.parameters() if p.grad is not None)
    assert TASK.validation_errors(model, localizer, nothing, recipe).shape == (0,)


def test_validation_errors_are_in_rows_of_the_scan() -> None:
    recipe = tiny()
    batch = batch_of(recipe, scan_set())
    assert batch.rows_per_input_row.tolist() == pytest.approx([30 / 40] * 3)
    localizer = make_localizer("soft_argmax", Grid((40,)))
    errors = TASK.validation_errors(Fixed(peaks(batch.rows, 40)), localizer, batch, recipe)
    shown = [(row.round() - row).abs()[seen].mean() for row, seen in zip(batch.rows, batch.visible, strict=True)]
    torch.testing.assert_close(errors, torch.stack(shown) * 0.75)


class Fixed(nn.Module):
    """A network that sees nothing."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def peaks(rows: Tensor, num_rows: int) -> Tensor:
    """Maps with all mass on the cell nearest to each row."""
    cells = rows.round().clamp(0, num_rows - 1).long()
    return torch.where(torch.arange(num_rows) == cells[..., None], 0.0, -torch.inf)


def test_label_maps_count_the_surfaces_above_a_pixel() -> None:
    rows = torch.tensor([[[0.5, 2.0, 4.2], [3.5, 2.0, 4.2]], [[1.0, 1.0, 0.0], [2.0, 5.0, 5.5]]])
    visible = torch.tensor([[[True, True, True], [True, True, False]], [[True] * 3, [True] * 3]])
    labels, counts = label_maps(rows, visible, num_rows=7)
    for b in range(2):
        for x in range(3):
            expected = [sum(r > float(rows[b, s, x]) for s in range(2)) for r in range(7)]
            assert labels[b, :, x].tolist() == expected
    assert counts.tolist() == [[True, True, False], [True, True, True]]


def test_the_label_loss_is_cross_entropy_plus_dice() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (2, 5, 4), generator=generator)
    counts = torch.tensor([[True, False, True, True], [True, True, False, True]])
    entropy, number = 0.0, 0
    both, sizes = [0.0] * 3, [0.0] * 3
    for b in range(2):
        for r in range(5):
            for x in range(4):
                if not counts[b, x]:
                    continue
                raw = [math.exp(float(v)) for v in logits[b, :, r, x]]
                p = [v / sum(raw) for v in raw]
                true = int(labels[b, r, x])
                entropy -= math.log(p[true])
                number += 1
                for layer in range(3):
                    both[layer] += p[layer] * (layer == true)
                    sizes[layer] += p[layer] + (layer == true)
    dice = sum((2 * b + 1) / (s + 1) for b, s in zip(both, sizes, strict=True)) / 3
    assert float(label_loss(logits, labels, counts)) == pytest.approx(entropy / number + 1 - dice, rel=1e-5)


def test_bands_are_quantiles_and_stay_around_the_rows_when_ordered() -> None:
    logits = 3 * torch.randn(2, 3, 7, 12, generator=torch.Generator().manual_seed(4))
    localizer = make_localizer("soft_argmax", Grid((12,)))
    found = locate_surfaces(Fixed(logits), {"": localizer}, torch.zeros(2, 1, 12, 7), level=0.8)[""]
    p = torch.softmax(logits.double(), dim=-1)
    for part, level in ((found.low, 0.1), (found.high, 0.9)):
        # Under uniform cells the cdf is a broken line through the cells' edges.
        for place in np.ndindex(2, 3, 7):
            edges = np.concatenate([[0.0], np.cumsum(p[place].numpy())])
            assert float(part[place]) == pytest.approx(np.interp(level, edges, np.arange(13) - 0.5), abs=1e-4)
    for method in ("cumulative", "isotonic"):
        kept = locate_surfaces(Fixed(logits), {"": localizer}, torch.zeros(2, 1, 12, 7), ordering=method)[""]
        assert bool((kept.rows.diff(dim=1) >= 0).all())
        assert bool((kept.low <= kept.rows).all())
        assert bool((kept.rows <= kept.high).all())


def test_a_flip_test_averages_the_scan_and_its_mirror_image() -> None:
    logits = torch.randn(1, 2, 5, 9, generator=torch.Generator().manual_seed(2))
    localizer = make_localizer("soft_argmax", Grid((9,)))
    images = torch.zeros(1, 1, 9, 5)
    plain = locate_surfaces(Fixed(logits), {"": localizer}, images)[""]
    both = locate_surfaces(Fixed(logits), {"": localizer}, images, flip_test=True)[""]
    for one, two in zip(plain, both, strict=True):
        torch.testing.assert_close(two, (one + one.flip(-1)) / 2)


def test_what_is_located_comes_back_to_the_scan() -> None:
    frame = ScanFrame.around(np.linspace(8, 14, 11), (11, 40), (11, 10), rows=20.0)
    rows = torch.linspace(2, 7, 22, dtype=torch.float64).reshape(1, 2, 11)
    found = to_scan(Surfaces(rows, rows - 1, rows + 2, torch.full_like(rows, 3.0), rows / 10), 0, frame)
    np.testing.assert_allclose(found.rows, frame.rows_to_scan(rows[0].numpy()))
    np.testing.assert_allclose(found.rows - found.low, 2.0)
    np.testing.assert_allclose(found.high - found.rows, 4.0)
    np.testing.assert_allclose(found.variance, 12.0)
    np.testing.assert_allclose(found.confidence, rows[0].numpy() / 10)


def test_scores_by_hand() -> None:
    scans = scan_set(num=4)
    rng = np.random.default_rng(7)
    found, peak = [], []
    for scan in scans.samples:
        rows = scan.rows + rng.normal(0, 2, scan.rows.shape)
        confidence = rng.random(scan.rows.shape)
        found.append(ScanFound(rows, rows - 1.5, rows + 1.0, np.ones_like(rows), confidence))
        peak.append(replace(found[-1], confidence=-np.abs(rows - scan.rows)))
    scores = scores_of_surfaces(found, scans, peaks=peak)
    which, inside, errors, sure = [], [], [], []
    for item, scan in zip(found, scans.samples, strict=True):
        for s, x in np.argwhere(scan.visible):
            which.append(s)
            inside.append(item.low[s, x] <= scan.rows[s, x] <= item.high[s, x])
            errors.append(abs(item.rows[s, x] - scan.rows[s, x]))
            sure.append(item.confidence[s, x])
    assert scores["columns"] == len(errors)
    assert scores["mad_px"]["overall"] == pytest.approx(np.mean(errors))
    assert scores["band"]["coverage"]["overall"] == pytest.approx(np.mean(inside))
    assert scores["band"]["coverage"]["lower"] == pytest.approx(
        np.mean([i for i, s in zip(inside, which, strict=True) if s])
    )
    assert scores["band"]["width_px"] == pytest.approx(2.5)
    assert scores["correlation"]["confidence"]["row"] == pytest.approx(np.corrcoef(sure, np.negative(errors))[0, 1])
    assert scores["correlation"]["peak"]["row"] == pytest.approx(1.0)
    assert scores["correlation"]["peak"]["scan"] == pytest.approx(1.0)
    assert {tag: part["num_scans"] for tag, part in scores["subsets"].items()} == {"even": 2, "odd": 2}
    assert "mad_um" not in scores
    assert set(scores["per_subject"]) == {"g0", "g1", "g2", "g3"}


def test_a_spacing_of_ones_own_fills_what_the_files_leave_open() -> None:
    scans = scan_set()
    known = replace(scans, samples=(replace(scans.samples[0], axial_um=2.0), *scans.samples[1:]))
    assert [scan.axial_um for scan in with_spacing(known, 3.9).samples] == [2.0, 3.9, 3.9]
    assert with_spacing(known, 0.0) is known
    assert TASK.fingerprint(known) != TASK.fingerprint(scans)
    assert TASK.fingerprint(scans) == TASK.fingerprint(scan_set())
    protocol = TASK.protocol(tiny(), scans.skeleton, known, flip_test=None)
    assert protocol["axial_um"] == [2.0, None]


def spaced(scans: ScanSet, *spacings: float | None) -> ScanSet:
    pairs = zip(scans.samples, spacings, strict=True)
    return replace(scans, samples=tuple(replace(scan, axial_um=um) for scan, um in pairs))


def test_weights_say_by_which_spacing_their_scans_were_flattened() -> None:
    recipe = tiny()
    open_, known = scan_set(), spaced(scan_set(), 2.0, 5.0, 3.0)
    none = spaced(scan_set(num=0))
    assert TASK.facts(recipe, known, spaced(scan_set(num=2), 7.0, 9.0)) == {"axial_um": 5.0}
    assert TASK.facts(recipe, known, none) == {"axial_um": 3.0}
    assert TASK.facts(recipe, open_, none) == {"axial_um": None}
    assert TASK.facts(recipe, spaced(scan_set(), 2.0, None, 3.0), none) == {"axial_um": None}
    assert TASK.facts(recipe, known, open_) == {"axial_um": None}
    told = changed(recipe, {"data.axial_um": 4.0})
    assert TASK.facts(told, open_, none) == TASK.facts(told, known, none) == {"axial_um": 4.0}


def test_files_of_weights_without_a_spacing_have_that_of_their_recipe() -> None:
    told, other = (changed(tiny(), {"data.axial_um": um}) for um in (4.0, 9.0))
    model, grid = TASK.build_model(told, 2)
    made = Trained(model, make_localizer("soft_argmax", grid), other, Skeleton(("upper", "lower")), {})
    assert stored_spacing(made) == 9.0
    assert stored_spacing(replace(made, header={"recipe": told.to_dict()})) == 4.0
    assert stored_spacing(replace(made, header={"recipe": tiny().to_dict()})) is None
    assert stored_spacing(replace(made, header={"recipe": told.to_dict(), "axial_um": 3.0})) == 3.0
    assert stored_spacing(replace(made, header={"recipe": told.to_dict(), "axial_um": None})) is None


def test_a_spacing_in_testing_changes_micrometres_alone(tmp_path: Path) -> None:
    shown = ("--flatten", "--crop-rows", "100", "--epochs", "1")
    scans = synthetic_scans(4, size=(32, 130))
    bare = spaced(scans, *[None] * 4)
    for name, given in (("spaced", scans), ("bare", bare)):
        best = fit(tiny("soft_argmax", *shown), out=tmp_path / name, console=SILENT, train=given).paths["best"]
        assert read_header(best)["axial_um"] == (3.87 if name == "spaced" else None)
        # By 9 µm per row the line would lie elsewhere, see `test_the_spacing_moves_the_line`.
        plain, other = (evaluate(best, point_set=bare, changes={"data.axial_um": um}) for um in (3.87, 9.0))
        rows, moved = (found["scores"]["recipe"] for found in (plain, other))
        assert rows["mad_px"] == moved["mad_px"]
        assert rows["band"] == moved["band"]
        assert moved["mad_um"]["overall"] == pytest.approx(9.0 * rows["mad_px"]["overall"])
        assert (plain["protocol"]["axial_um"], other["protocol"]["axial_um"]) == (3.87, 9.0)
        if name == "spaced":
            assert evaluate(best, point_set=scans)["scores"]["recipe"]["mad_px"] == rows["mad_px"]


@pytest.mark.parametrize("is_spaced", [True, False])
def test_evaluation_and_predictor_flatten_alike(tmp_path: Path, is_spaced: bool) -> None:
    shown = ("--flatten", "--crop-rows", "100", "--epochs", "1", "--flip-test")
    scans = synthetic_scans(4, size=(32, 130))
    given = scans if is_spaced else spaced(scans, *[None] * 4)
    run = fit(tiny("soft_argmax", *shown), out=tmp_path / "run", console=SILENT, train=given)
    predictor = ScanPredictor.load(run.paths["best"])
    rows = [predictor(scan).rows for scan in given.samples]
    for scan, row in zip(given.samples, rows, strict=True):
        np.testing.assert_array_equal(predictor(scan.image).rows, row)
        np.testing.assert_array_equal(predictor(scan.image, axial_um=11.0).rows, row)
    errors = [np.abs(row - scan.rows)[scan.visible] for row, scan in zip(rows, given.samples, strict=True)]
    for tested in (given, spaced(scans, *[None] * 4)):
        scores = evaluate(run.paths["best"], point_set=tested)["scores"]["recipe"]
        assert scores["mad_px"]["overall"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)


def test_the_spacing_moves_the_line() -> None:
    scans = synthetic_scans(4, size=(32, 130))
    lines = [[flattening_rows(scan.image, axial_um=um) for scan in scans.samples] for um in (3.87, 9.0, None)]
    for other in lines[1:]:
        assert max(np.abs(a - b).max() for a, b in zip(lines[0], other, strict=True)) > 5


def test_a_set_of_another_kind_of_data_is_refused(tmp_path: Path, run: Any) -> None:
    clouds = synthetic_clouds(2, category="chair")
    text = "must be a ScanSet for the recipe oct-synthetic-soft_argmax, got CloudSet"
    with pytest.raises(TypeError, match=f"train: train {text}"):
        fit(tiny(), out=tmp_path / "run", console=SILENT, train=clouds)
    with pytest.raises(TypeError, match=f"train: test {text}"):
        fit(tiny(), out=tmp_path / "run", console=SILENT, train=scan_set(), test=clouds)
    with pytest.raises(TypeError, match=f"evaluate: point_set {text}"):
        evaluate(run.paths["best"], point_set=clouds)
    assert not (tmp_path / "run").exists()


def test_examples_depend_on_epoch_and_index_alone() -> None:
    recipe = tiny()
    first = TASK.dataset(scan_set(), recipe, is_training=True)
    second = ScanDataset(scan_set(), recipe.data, augmentation=recipe.augmentation, cache_megabytes=0)
    second.preload()
    assert torch.equal(first[3, 1].image, second[3, 1].image)
    assert not torch.equal(first[3, 1].image, first[4, 1].image)
    assert first[0, 2].index == 2
    plain = TASK.dataset(scan_set(), recipe, is_training=False)
    assert torch.equal(plain[3, 1].image, plain[4, 1].image)


def test_a_flattened_scan_is_flattened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from heatpoint.training import scan_data

    calls = []
    monkeypatch.setattr(
        scan_data, "flattening_rows", lambda image, **_: calls.append(0) or np.full(image.shape[1], 20.0)
    )
    data = ScanDataset(scan_set(), ScanDataConfig(input=(16, 18), crop_rows=18))
    data.preload()
    for epoch in range(3):
        np.testing.assert_allclose(data[epoch, 0].frame.rows_to_scan(np.full((1, 16), 0.0)).std(), 0, atol=1e-9)
    assert len(calls) == 3


def test_files_are_looked_at_before_training(tmp_path: Path) -> None:
    scans = scan_set()
    path = tmp_path / "scan.png"
    on_disk = replace(scans, samples=(replace(scans.samples[0], image=path),))
    with pytest.raises(FileNotFoundError, match=r"load_scan: image must be an existing file, got .*scan\.png"):
        TASK.check_samples(on_disk, None)
    cv2.imwrite(str(path), np.full((30, 24), 99, np.uint8))
    TASK.check_samples(on_disk, None)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"scan\.png, which is truncated"):
        TASK.check_samples(on_disk, None)


def unseen(scans: ScanSet) -> ScanSet:
    hidden = (replace(s, visible=np.zeros_like(s.visible), rows=np.zeros_like(s.rows)) for s in scans.samples)
    return replace(scans, samples=tuple(hidden))


def test_sets_without_a_surface_are_refused() -> None:
    with pytest.raises(ValueError, match="train: dataset must have a visible surface in some scan, got ScanSet"):
        TASK.check_samples(unseen(scan_set()), None)
    with pytest.raises(ValueError, match="validation_fraction must hold out a scan with a visible surface, got 3"):
        TASK.check_split(tiny(), scan_set(), unseen(scan_set()))
    TASK.check_split(tiny(), scan_set(), scan_set())


def test_what_the_network_or_the_loss_cannot_do_is_refused() -> None:
    two = replace(tiny("randomized_rounding"), localizer_options={"channels": 2})
    with pytest.raises(ValueError, match=r"train: channels must be 1, got 2\. Networks of surfaces emit one map"):
        TASK.build_model(two, 2)
    recipe = changed(tiny(), WEIGHTS)
    for readout in ("argmax", "quarter_shift"):
        localizer = make_localizer("soft_argmax", Grid((40,)), readout=readout)
        with pytest.raises(
            ValueError, match=f"order_weight must be 0 where the readout has no gradient, got '{readout}'"
        ):
            TASK.check_localizer(recipe, localizer)
    TASK.check_localizer(recipe, make_localizer("randomized_rounding", Grid((40,))))
    TASK.check_localizer(tiny(), make_localizer("soft_argmax", Grid((40,)), readout="argmax"))
    with pytest.raises(ValueError, match="read_split: dataset must be one of"):
        read_scans(ScanDataConfig(dataset="mtfl"), None, "train")


def test_maps_of_values_begin_small() -> None:
    assert TASK.first_std(get_recipe("oct-irdlayers-gaussian_heatmap")) == 0.001
    assert TASK.first_std(get_recipe("oct-irdlayers-crps")) is None


@pytest.mark.slow
def test_the_real_scans_are_trained_on_and_scored(data_root: Path, tmp_path: Path) -> None:
    if not (data_root / "oct" / "irdlayers").exists():
        pytest.skip("irdlayers is absent: HEATPOINT_DATA holds no oct/irdlayers")
    recipe = parse(["oct-irdlayers-soft_argmax", "--limit", "4", "--epochs", "1"])[1]
    found = fit(recipe, out=tmp_path / "run", data_root=data_root, console=SILENT)
    scores = found.scores["scores"]["recipe"]
    assert 0 < scores["mad_px"]["overall"] < 100
    assert 4 * 4 * 400 < scores["columns"] <= 4 * 4 * 512
