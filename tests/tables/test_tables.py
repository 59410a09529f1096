"""Tables: their data, what fills them, and how they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heatpoint.cli import main
from heatpoint.localizers import make_localizer
from heatpoint.recipes import DataConfig, get_recipe
from heatpoint.recipes.changes import changed, effective, label_of
from heatpoint.recipes.options import parse_named
from heatpoint.support import Grid
from heatpoint.tables import SCALES, Filled, Table, fill, jobs, load_table, plan, table_names
from heatpoint.tables.computed import compute
from heatpoint.tables.filling import metric_of
from heatpoint.tables.printing import missing, to_dict, to_markdown
from heatpoint.tables.published import PUBLISHED, published_model
from heatpoint.tables.table import table_from_dict
from heatpoint.training import evaluate, images
from heatpoint.training.weights import load_weights, read_header, save_weights
from runs import SILENT

METRICS = {
    "nme/inter_ocular", "nme/inter_pupil", "nme/box", "coco/AP", "coco/AP50", "coco/AP75", "coco/APM", "coco/APL", "coco/AR",
    "coco/AR50", "coco/AR75", "coco/ARM", "coco/ARL", "oks/peak_correlation", "oks/mean",
    "mtfl/absolute_px", "mtfl/relative_percent", "mad_px/overall", "scan_std_px/overall", "pck/euclidean/0.01", "das/mean",
    "space/mpjpe_mm", "space/pa_mpjpe_mm", "activations", "pck/head/0.5", "pck/head/0.1", "pckh/hrnet/0.1/mean",
    *(f"pckh/hrnet/0.5/{row}" for row in ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean")),
    *(f"subsets/{tag}/nme/inter_ocular" for tag in ("pose", "expression", "illumination", "make-up", "occlusion", "blur")),
}  # fmt: skip
TINY = {
    "data.limit": 20,
    "data.input": 32,
    "data.validation_fraction": 0.2,
    "optimization.batch_size": 8,
    "optimization.epochs": 1,
}


def tiny_table(**more: Any) -> Table:
    values = {
        "title": "a tiny one",
        "unit": "%",
        "digits": 1,
        "source": {"recipe": "synthetic-soft_argmax", "changes": TINY, "metric": "nme/inter_ocular", "factor": 100.0},
        "rows": [{"name": "own"}, {"name": "argmax", "readout": "argmax"}],
        "columns": [{"name": "soft"}],
        "published": [[5.0], [None]],
    }
    return table_from_dict("tiny/1", {**values, **more}, scale="paper")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", table_names())
def test_every_cell_names_what_there_is(name: str, scale: str) -> None:
    table = load_table(name, scale=scale)
    assert table.cells
    assert table.title
    assert table.claims
    for cell in table.cells:
        source = cell.source
        if source.compute:
            continue
        assert source.metric in METRICS, (cell.row, cell.column)
        recipe = get_recipe(PUBLISHED[source.weights].recipe if source.weights else source.recipe)
        recipe = changed(recipe, PUBLISHED[source.weights].changes if source.weights else source.changes)
        if source.readout:
            options = {**recipe.localizer_options, "readout": parse_named(source.readout, function="t", argument="r")}
            make_localizer(recipe.localizer, Grid((16, 16), stride=4), **options)
        changed(recipe, source.test)


def test_all_tables_of_both_papers_are_there() -> None:
    paper_a = {f"sampling-argmax/{n}" for n in range(1, 9)}
    paper_b = {f"h3r/{n}" for n in range(1, 15)} | {"h3r/figure8"}
    assert set(table_names()) == paper_a | paper_b


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        ("sampling-argmax/1", "mAP@0.5", "Samp. Tri.", 87.9),
        ("sampling-argmax/2", "Samp. Gau.", "N_s = 10", 68.2),
        ("sampling-argmax/3", "Soft w/ D.R.", "Corr.", 0.082),
        ("sampling-argmax/4", "PA-MPJPE", "Soft w/ V.R.", 39.2),
        ("sampling-argmax/5", "Std. Dev.", "Samp. Tri.", 0.100),
        ("sampling-argmax/6", "Samp. Gau. (N_s = 10)", "Hel.", 3.7),
        ("sampling-argmax/7", "Samp. Gau. (N_s = 5)", "Ves.", 41.2),
        ("sampling-argmax/8", "relative, %", "Samp. Uni.", 6.86),
        ("h3r/3", "H3R", "make-up", 3.66),
        ("h3r/4", "H3R", "private, inter-pupil", 5.07),
        ("h3r/7", "1024", "64 px, H3R", 5.43),
        ("h3r/8", "96 px", "k = 7", 4.159),
        ("h3r/9", "sigma = 1.5", "k = 11", 3.857),
        ("h3r/10", "trained P1, tested P2", "pose", 9.68),
        ("h3r/11", "HRNet-W32, H3R in training and testing", "Mean@0.1", 39.3),
        ("h3r/12", "W32, 384x288, GT, H3R in training and testing", "AP .75", 0.858),
        ("h3r/13", "k = 17", "Mean@0.1", 39.053),
        ("h3r/14", "k = 125", "AR (L)", 0.831),
    ],
)
def test_published_values_stand_where_the_papers_have_them(table: str, row: str, column: str, value: float) -> None:
    cell = load_table(table).cell(row, column)
    assert cell is not None
    assert cell.published == value


def test_tables_share_the_runs_that_they_have_in_common(tmp_path: Path) -> None:
    runs = {n: set(plan(load_table(f"sampling-argmax/{n}", scale="small"), seeds=[0], out=tmp_path)) for n in (1, 2, 3)}
    assert runs[1] == runs[3]
    begun = "lspet-randomized_rounding-small+epochs=120-seed0"
    shared = f"lspet-sampling_argmax-small+start={begun}+epochs=8+learning_rate=0.001+basis={{}}+num_samples=10-seed0"
    assert runs[1] & runs[2] == {begun, *(shared.format(basis) for basis in ("uniform", "triangular", "gaussian"))}
    assert set(plan(load_table("h3r/8", scale="small"), seeds=[0], out=tmp_path)) < set(
        plan(load_table("h3r/7", scale="small"), seeds=[0], out=tmp_path)
    )


def test_a_change_to_the_recipes_own_value_is_no_change() -> None:
    recipe = get_recipe("faces300w-randomized_rounding-small")
    assert effective(recipe, {"data.input": 64, "option.label": "round"}) == {"option.label": "round"}
    with pytest.raises(ValueError, match="changed: field must be one of .*got 'imput'. Did you mean input"):
        changed(recipe, {"data.imput": 64})
    with pytest.raises(ValueError, match="changed: changes must name a field; name has no fields, got 'name.x'"):
        changed(recipe, {"name.x": 64})
    with pytest.raises(ValueError, match="changed: field must be one of .*got 'sed'"):
        changed(recipe, {"sed": 1})
    readout = {"name": "top_k", "k": 3}
    assert label_of("r", {"option.readout": readout, "a.rate": 0.25}, 1) == "r+rate=0.25+readout=top_k,k=3-seed1"


def test_a_table_is_trained_scored_and_shown_and_then_only_read(tmp_path: Path) -> None:
    table = tiny_table()
    first = fill(table, seeds=(0, 1), out=tmp_path, console=SILENT)
    own, argmax = first[("own", "soft")], first[("argmax", "soft")]
    assert len(own.values) == len(argmax.values) == 2
    assert own.values != argmax.values
    assert own.spread == pytest.approx(abs(own.values[0] - own.values[1]) / 2**0.5)
    assert own.protocol["dataset"] == "synthetic_faces"
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert [name[-6:] for name in folders] == ["-seed0", "-seed1"]
    scores = json.loads((tmp_path / folders[0] / "scores.json").read_text())["scores"]["recipe"]
    assert own.values[0] == pytest.approx(100 * scores["nme"]["inter_ocular"])
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert fill(table, seeds=(0, 1), out=tmp_path, console=SILENT, train=False) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps
    assert set(plan(table, seeds=(0, 1), out=tmp_path).values()) == {"done"}

    text = to_markdown(table, first, seeds=(0, 1))
    assert f"| own | {own.mean:.1f} ± {own.spread:.1f} (5) |" in text
    assert "Protocol: dataset synthetic_faces" in text
    found = to_dict(table, first, seeds=(0, 1))
    assert found["cells"][0]["values"] == list(own.values)
    assert found["cells"][0]["runs"] == folders
    json.dumps(found)

    # New weights are scored anew; another recipe under the same name, or another run's weights, are refused.
    model = tmp_path / folders[0] / "model.safetensors"
    state = load_weights(tmp_path / folders[1] / "model.safetensors").model.state_dict()
    save_weights(model, state, read_header(model))
    again = fill(table, seeds=(0, 1), out=tmp_path, console=SILENT, train=False)[("own", "soft")]
    assert again.values == (own.values[1], own.values[1])
    model.write_bytes((tmp_path / folders[1] / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"table: --out must hold the weights that .*-seed0 names, got others"):
        fill(table, seeds=(0,), out=tmp_path, console=SILENT, train=False)
    recipe = json.loads((tmp_path / folders[0] / "recipe.json").read_text())
    recipe["optimization"]["learning_rate"] = 0.5
    (tmp_path / folders[0] / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match=r"table: --out must hold the run that .*-seed0 names, got another"):
        fill(table, seeds=(0,), out=tmp_path, console=SILENT)


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    table = tiny_table(rows=[{"name": "own"}], published=[[5.0]])
    whole = fill(table, seeds=(0,), out=tmp_path / "a", console=SILENT)
    fill(table, seeds=(0,), out=tmp_path / "b", console=SILENT)
    (folder,) = (tmp_path / "b").iterdir()
    for name in ("scores.json", "last.safetensors"):
        (folder / name).unlink()
    assert plan(table, seeds=(0,), out=tmp_path / "b") == {folder.name: "resume"}
    assert fill(table, seeds=(0,), out=tmp_path / "b", console=SILENT) == whole


def test_what_is_missing_is_said_and_nothing_is_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fill(tiny_table(), seeds=(0,), out=tmp_path, train=False, console=SILENT)[("own", "soft")] == Filled(
        missing="not trained yet"
    )
    filled = fill(load_table("h3r/5"), seeds=(0,), out=tmp_path, data_root=tmp_path, console=SILENT)
    (text,) = missing(filled)
    assert "cofw" in text.lower()
    assert text.endswith("(2 cells)")
    assert missing({("a", "b"): Filled(missing="x")}) == ["x (1 cell)"]
    assert list(tmp_path.iterdir()) == []
    shown = to_markdown(load_table("h3r/5"), filled, seeds=(0,))
    assert "| H3R | – (3.15) | – (4.55) |" in shown
    with pytest.raises(ValueError, match="table: --seeds must be at least 1, got 0"):
        fill(tiny_table(), seeds=(), out=tmp_path)


def test_a_metric_that_a_set_has_not_is_missing(tmp_path: Path) -> None:
    table = tiny_table(rows=[{"name": "AP", "metric": "coco/AP"}], published=[[1.0]])
    found = fill(table, seeds=(0,), out=tmp_path, console=SILENT)[("AP", "soft")]
    assert found == Filled(missing="synthetic_faces has no coco/AP")
    assert metric_of({"a": {"b": None}}, "a/b") is None
    assert metric_of({"a": float("nan")}, "a") is None


def test_a_split_that_is_missing_empties_its_own_cells_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [{"name": "private", "split": "private"}, {"name": "full"}]
    table = tiny_table(rows=[{"name": "own"}], columns=columns, published=[[1.0, 2.0]])

    def scored(*given: Any, **options: Any) -> dict[str, Any]:
        if options["split"] == "private":
            raise FileNotFoundError("the private part is missing")
        return evaluate(*given, **options)

    monkeypatch.setattr(jobs, "evaluate", scored)
    filled = fill(table, seeds=(0,), out=tmp_path, console=SILENT)
    assert filled[("own", "private")] == Filled(missing="the private part is missing")
    assert len(filled[("own", "full")].values) == 1


def test_a_set_to_mix_in_is_asked_for_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(data: DataConfig, root: Path | None, split: str) -> None:
        if data.dataset == "mpii":
            raise FileNotFoundError(f"mpii {split} is missing")

    monkeypatch.setattr(images.examples, "read_split", read)
    filled = fill(load_table("sampling-argmax/4"), seeds=(0,), out=tmp_path, console=SILENT)
    assert missing(filled) == ["mpii train is missing (12 cells)"]
    assert list(tmp_path.iterdir()) == []


def test_a_cell_with_fewer_seeds_says_so() -> None:
    table = tiny_table(rows=[{"name": "own"}], published=[[5.0]])
    text = to_markdown(table, {("own", "soft"): Filled((1.0,), "not trained yet")}, seeds=(0, 1))
    assert "| own | 1.0 [n = 1] (5) |" in text


def test_published_weights_are_asked_for_by_name_and_place(tmp_path: Path) -> None:
    text = published_model("mpii-hrnet_w32-256", tmp_path / "w")
    assert text.startswith("mpii-hrnet_w32-256: put pose_hrnet_w32_256x256.pth into")
    with pytest.raises(ValueError, match="table: weights must be one of .*got 'hrnet'"):
        published_model("hrnet", tmp_path)


@pytest.mark.parametrize(("mode", "bias"), [("floor", -0.5), ("round", 0.0), ("ceil", 0.5), ("random", 0.0)])
def test_quantization_bias_is_measured(mode: str, bias: float) -> None:
    # A fraction is uniform with a deviation of 0.29 cells, random rounding's of 0.41; five standard errors of 200 000 draws.
    assert compute("quantization_bias", mode) == pytest.approx(bias, abs=5 * 0.41 / 200_000**0.5)


def test_errors_of_tables_say_what_there_is() -> None:
    with pytest.raises(ValueError, match="load_table: table must be one of .*got 'h3r/88'. Did you mean h3r/8"):
        load_table("h3r/88")
    with pytest.raises(ValueError, match="load_table: scale must be one of paper, small, got 'large'"):
        load_table("h3r/8", scale="large")
    with pytest.raises(ValueError, match="compute: name must be one of quantization_bias, got 'bias'"):
        compute("bias", "floor")
    with pytest.raises(ValueError, match=r"published of tiny/1 must hold 2 rows of 1 values, got \[1\]"):
        tiny_table(published=[[1.0]])
    with pytest.raises(ValueError, match="key of tiny/1 must be one of .*got 'titel'. Did you mean title"):
        tiny_table(titel="x")
    with pytest.raises(ValueError, match="key of tiny/1 must be one of .*got 'recipes'. Did you mean recipe"):
        tiny_table(columns=[{"name": "soft", "recipes": "x"}])


def test_small_rows_and_columns_can_be_renamed_and_left_out() -> None:
    values = {
        "title": "t",
        "source": {"recipe": "a", "metric": "m", "changes": {"data.input": 256}},
        "small": {"recipe": "b", "changes": {"data.limit": 2}},
        "rows": [{"name": "1"}, {"name": "2", "small": None}],
        "columns": [{"name": "x", "small": {"name": "y", "changes": {"data.input": 64}}}],
        "published": [[1.0], [2.0]],
    }
    table = table_from_dict("t/1", values, scale="small")
    assert (table.rows, table.columns) == (("1",), ("y",))
    assert table.cells[0].source.recipe == "b"
    assert table.cells[0].source.changes == {"data.input": 64, "data.limit": 2}
    assert table.cells[0].published is None  # It is not what the paper measured.
    assert table.cell("2", "y") is None
    paper = table_from_dict("t/1", values, scale="paper")
    assert [cell.published for cell in paper.cells] == [1.0, 2.0]


def test_the_verb_lists_plans_and_fills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "LIST", "--scale", "small", "--out", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in table_names())
    assert main(["table", "h3r/8", "--scale", "small", "--plan", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "train   faces300w-randomized_rounding-small+batch_size=16+epochs=10-seed0" in capsys.readouterr().out
    assert main(["table", "h3r/1", "--out", str(tmp_path)]) == 0
    assert "| floor | -0.500 (-0.5) |" in capsys.readouterr().out
    assert json.loads((tmp_path / "h3r-1-paper.json").read_text())["cells"][2]["published"] == 0.5
    assert "## h3r/1" in (tmp_path / "h3r-1-paper.md").read_text()
    for more in ([], ["--plan"]):
        assert main(["table", "h3r/8", "--seeds", "0", *more]) == 2
        assert "table: --seeds must be at least 1, got 0" in capsys.readouterr().err
    assert main(["table", "h3r/88"]) == 2
    assert "got 'h3r/88'. Did you mean h3r/8" in capsys.readouterr().err


def test_kept_numbers_hold_for_the_set_that_was_scored_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tiny_table()
    first = fill(table, seeds=(0,), out=tmp_path, console=SILENT)
    (folder,) = tmp_path.iterdir()
    held = json.loads((folder / "numbers.json").read_text())
    (key,) = held["found"]
    planted = 0.5
    held["found"][key]["scores"]["recipe"]["nme"]["inter_ocular"] = planted
    (folder / "numbers.json").write_text(json.dumps(held))
    assert fill(table, seeds=(0,), out=tmp_path, console=SILENT)[("own", "soft")].values == (100 * planted,)
    held["found"][key]["samples"] = "another set"
    (folder / "numbers.json").write_text(json.dumps(held))
    assert fill(table, seeds=(0,), out=tmp_path, console=SILENT) == first
    held["found"][key]["samples"] = json.loads((folder / "scores.json").read_text())["samples"]
    held["scoring"] = -1
    (folder / "numbers.json").write_text(json.dumps(held))
    assert fill(table, seeds=(0,), out=tmp_path, console=SILENT) == first


def test_a_training_has_scored_its_own_decoder_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tiny_table(rows=[{"name": "own"}], published=[[5.0]])
    fill(table, seeds=(0,), out=tmp_path, console=SILENT)
    (folder,) = tmp_path.iterdir()
    assert not (folder / "numbers.json").exists()


def test_another_process_of_a_run_scores_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tiny_table(), seeds=(0,), out=tmp_path, console=SILENT)
    (folder,) = tmp_path.iterdir()
    (folder / "numbers.json").unlink()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert fill(tiny_table(), seeds=(0,), out=tmp_path, console=SILENT)[("own", "soft")] == Filled()
    assert not (folder / "numbers.json").exists()
    assert main(["table", "h3r/1", "--out", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "other").exists()


def test_a_table_trains_what_its_cells_start_from_first(tmp_path: Path) -> None:
    start = {"recipe": "synthetic-randomized_rounding", "changes": TINY}
    table = tiny_table(rows=[{"name": "own", "start": start}], published=[[5.0]])
    names = list(plan(table, seeds=(0, 1), out=tmp_path))
    assert [name.partition("+")[0] for name in names] == [
        "synthetic-randomized_rounding",
        "synthetic-soft_argmax",
        "synthetic-soft_argmax",
    ]
    assert all(f"+start={names[0]}" in name for name in names[1:])
    first = fill(table, seeds=(0, 1), out=tmp_path / "a", console=SILENT)
    assert len(first[("own", "soft")].values) == 2
    assert {path.name for path in (tmp_path / "a").iterdir()} == set(names)
    # The folder may be moved: what a run starts from is a name, not a place.
    (tmp_path / "a").rename(tmp_path / "b")
    assert fill(table, seeds=(0, 1), out=tmp_path / "b", train=False, console=SILENT) == first
    filled = fill(table, seeds=(0,), out=tmp_path / "c", train=False, console=SILENT)
    assert filled[("own", "soft")] == Filled(missing="not trained yet")
