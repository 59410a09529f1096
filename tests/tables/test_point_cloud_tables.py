"""The tables of point clouds: a recipe named by row and column together, and a column that is a mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from heatpoint.recipes import get_recipe
from heatpoint.recipes.changes import changed
from heatpoint.tables import Filled, Table, fill, filling, load_table, plan
from heatpoint.tables.printing import missing, to_dict, to_markdown
from heatpoint.tables.table import Cell, table_from_dict
from keypointnet_root import SYNSET, make_root

SILENT = Console(quiet=True)
VALUES = {
    "title": "two rows and their mean",
    "digits": 1,
    "source": {"metric": "nme/box"},
    "rows": [{"name": "soft", "recipe": "*-soft_argmax"}, {"name": "log", "recipe": "*-log_score"}],
    "columns": [
        {"name": "a", "of": "synthetic"},
        {"name": "b", "of": "mtfl", "small": None},
        {"name": "mean", "compute": "mean", "small": {"name": "mean of one"}},
    ],
    "published": [[1.0, 2.0, 1.5], [3.0, 4.0, 3.5]],
}


def measured(monkeypatch: pytest.MonkeyPatch, table: Table, found: dict[str, Filled], out: Path) -> Any:
    """What `fill` makes of cells that hold these numbers, by recipe."""

    def of(cell: Cell, seeds: Any, jobs: Any) -> Filled:
        return found[cell.source.recipe]

    monkeypatch.setattr(filling, "_fill_cell", of)
    return fill(table, seeds=(0, 1), out=out, console=SILENT)


def test_a_star_in_a_recipe_stands_for_the_columns_data() -> None:
    table = table_from_dict("t/1", VALUES, scale="paper")
    names = [[table.cell(row, column).source.recipe for column in ("a", "b")] for row in table.rows]  # type: ignore[union-attr]
    assert names == [["synthetic-soft_argmax", "mtfl-soft_argmax"], ["synthetic-log_score", "mtfl-log_score"]]
    small = table_from_dict("t/1", VALUES, scale="small")
    assert small.columns == ("a", "mean of one")
    assert [cell.published for cell in small.cells] == [1.0, None, 3.0, None]


def test_a_mean_is_taken_seed_by_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = table_from_dict("t/1", VALUES, scale="paper")
    found = {
        "synthetic-soft_argmax": Filled((1.0, 3.0)),
        "mtfl-soft_argmax": Filled((5.0, 8.0)),
        "synthetic-log_score": Filled((1.0,), "not trained yet"),
        "mtfl-log_score": Filled((2.0, 2.0)),
    }
    filled = measured(monkeypatch, table, found, tmp_path)
    assert list(filled) == [(row, column) for row in table.rows for column in table.columns]
    mean = filled[("soft", "mean")]
    assert mean.values == (3.0, 5.5)
    assert mean.spread == pytest.approx(2.5 / 2**0.5)
    # A mean of some of the cells would be another number.
    assert filled[("log", "mean")] == Filled(missing="a mean over 2 cells, of which 1 are not filled")
    assert "a mean over 2 cells, of which 1 are not filled (1 cell)" in missing(filled)
    text = to_markdown(table, filled, seeds=(0, 1))
    assert "| soft | 2.0 ± 1.4 (1) | 6.5 ± 2.1 (2) | 4.2 ± 1.8 (1.5) |" in text
    assert "| log | 1.0 [n = 1] (3) | 2.0 ± 0.0 (4) | – (3.5) |" in text
    cells = {
        (cell["row"], cell["column"]): cell
        for cell in json.loads(json.dumps(to_dict(table, filled, seeds=(0, 1))))["cells"]
    }
    assert cells[("soft", "mean")]["runs"] == []
    assert cells[("soft", "mean")]["values"] == [3.0, 5.5]
    assert set(plan(table, seeds=(0,), out=tmp_path)) == {f"{name}-seed0" for name in found}


@pytest.mark.parametrize(("number", "metric", "kind"), [(6, "pck/euclidean/0.01", ""), (7, "das/mean", "-skeleton")])
def test_the_published_means_are_those_of_the_published_rows(number: int, metric: str, kind: str) -> None:
    table = load_table(f"sampling-argmax/{number}")
    assert len(table.rows) == 7
    assert len(table.columns) == 17
    for row in table.rows:
        cells = [cell for cell in table.cells if cell.row == row]
        values = [cell.published for cell in cells[:-1] if cell.published is not None]
        # Sixteen values and their mean, each rounded to a tenth.
        assert sum(values) / 16 == pytest.approx(cells[-1].published, abs=0.1)
        assert cells[-1].source.compute == "mean"
        for cell in cells[:-1]:
            assert cell.source.metric == metric
            recipe = changed(get_recipe(cell.source.recipe), cell.source.changes)
            assert recipe.task == ("skeleton" if kind else "cloud")
            assert recipe.data.dataset.startswith("keypointnet_")
    assert {cell.source.changes["option.num_samples"] for cell in table.cells if "N_s" in cell.row} == {1, 5, 10, 30}


@pytest.mark.parametrize("number", [6, 7])
def test_the_small_scale_renders_its_shapes(number: int) -> None:
    table = load_table(f"sampling-argmax/{number}", scale="small")
    assert table.columns == ("synthetic airplanes", "synthetic chairs", "synthetic tables", "mean of the three")
    assert all(cell.published is None for cell in table.cells)
    for cell in table.cells:
        if not cell.source.compute:
            assert get_recipe(cell.source.recipe).data.dataset == cell.column.replace(" ", "_")


@pytest.mark.parametrize(
    ("number", "row", "column", "value"),
    [
        (6, "Soft", "Cap", 8.3),
        (6, "Samp. Gau. (N_s = 1)", "Ves.", 33.3),
        (6, "Samp. Gau. (N_s = 30)", "Avg", 39.9),
        (7, "Soft w/ D.R.", "Kni.", 69.3),
        (7, "Samp. Gau. (N_s = 5)", "Ves.", 41.2),
        (7, "Soft w/ V.R.", "Tab.", 85.1),
    ],
)
def test_published_values_stand_where_the_paper_has_them(number: int, row: str, column: str, value: float) -> None:
    cell = load_table(f"sampling-argmax/{number}").cell(row, column)
    assert cell is not None
    assert cell.published == value


def test_a_part_of_a_set_that_is_too_small_empties_its_own_cells_only(tmp_path: Path) -> None:
    root = make_root(tmp_path, file="mug.json")
    (root / "splits" / "test.txt").write_text(f"{SYNSET}-cc")
    values = {**VALUES, "rows": [{"name": "soft", "recipe": "*-soft_argmax"}], "published": [[1.0, 2.0, 1.5]]}
    values["columns"] = [{"name": "Mug", "of": "keypointnet_mug"}, {"name": "Cap", "of": "keypointnet_cap"}]
    values["published"] = [[1.0, 2.0]]
    table = table_from_dict("t/1", values, scale="paper")
    filled = fill(table, seeds=(0,), out=tmp_path / "out", data_root=tmp_path, console=SILENT)
    assert filled[("soft", "Mug")] == Filled(
        missing="keypointnet_mug here is too small a part of the set. train: validation_fraction must leave at least one of the "
        "clouds to train on and one to validate with, got 2 and 0. Change it, or --limit."
    )
    assert "cap" in filled[("soft", "Cap")].missing
    assert not list((tmp_path / "out").rglob("*.safetensors"))
