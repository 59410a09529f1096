"""A table as data: what its rows and columns say, and what they say together in a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from heatpoint._checks import message, one_of, unknown_name
from heatpoint.recipes import Recipe, get_recipe
from heatpoint.recipes.changes import effective, label_of

FOLDER = Path(__file__).with_name("data")
SCALES = ("paper", "small")
KEYS = ("title", "claims", "note", "unit", "digits", "source", "small", "small_note", "rows", "columns", "published")


@dataclass(frozen=True)
class Source:
    """Where the number of a cell comes from.

    Args:
        recipe: Name of the recipe that is trained; "*" in it stands for `of`, so that rows name methods and columns data.
        of: What "*" in `recipe` stands for.
        changes: Fields of the recipe that differ; see `heatpoint.recipes.changes`.
        readout: How the maps are read, as `heatpoint evaluate --readout` takes it; "" as in the recipe.
        split: Split that is scored; "" as in the recipe.
        test: Changes that hold in testing only, of "data.": other boxes, say.
        metric: Path of the score in what `evaluate` returns for a decoder, such as "nme/inter_ocular".
        factor: What it is multiplied by (100 for percent).
        start: A recipe, and under "changes" its changes: the run of seed 0 whose weights all seeds start from.
        weights: Name of a published model that is scored instead of a training; see `heatpoint.tables.published`.
        compute: Name of a computation that needs no training; see `heatpoint.tables.computed`. "mean" is the mean of the
            row's other cells, seed by seed.
        argument: Of that computation.
    """

    recipe: str = ""
    of: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    readout: str = ""
    split: str = ""
    test: Mapping[str, Any] = field(default_factory=dict)
    metric: str = ""
    factor: float = 1.0
    start: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    compute: str = ""
    argument: Any = None

    def run(self, seed: int) -> str:
        """Name of the run that a number comes from: cells with equal recipes and changes share it."""
        if self.weights:
            return self.weights
        changes = effective(get_recipe(self.recipe), self.changes)
        begun = self.beginning
        return label_of(self.recipe, changes | ({"model.start": begun.run(0)} if begun else {}), seed)

    @property
    def beginning(self) -> Source | None:
        """The run whose weights this one starts from, if any."""
        return Source(self.start["recipe"], changes=self.start.get("changes", {})) if self.start else None


def comparable(recipe: Recipe) -> Recipe:
    """A recipe without what differs between equal runs: its note, and the folder in which the weights lie that it starts from."""
    model = replace(recipe.model, start=Path(recipe.model.start).parent.name if recipe.model.start else "")
    return replace(recipe, note="", model=model)


@dataclass(frozen=True)
class Cell:
    """One number of a table: where it stands, where it comes from, and what the paper prints there."""

    row: str
    column: str
    source: Source
    published: float | None


@dataclass(frozen=True)
class Table:
    """A table of one of the papers at one scale.

    Args:
        name: "sampling-argmax/1", "h3r/8".
        title: What it shows.
        scale: "paper" is the published setting, "small" a stand-in for data and machines at hand.
        rows: Names of the rows, in order.
        columns: Names of the columns, in order.
        cells: By row and column; a stand-in may lack some.
        claims: What the paper reads in it.
        note: What differs from the paper at this scale.
        unit: Of the numbers.
        digits: Behind the point, as the paper prints them.
    """

    name: str
    title: str
    scale: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    claims: str = ""
    note: str = ""
    unit: str = ""
    digits: int = 2

    def cell(self, row: str, column: str) -> Cell | None:
        """The cell at a place, if there is one."""
        return next((cell for cell in self.cells if (cell.row, cell.column) == (row, column)), None)


def table_names() -> list[str]:
    """Names of all tables, by paper and number.

    >>> "h3r/8" in table_names()
    True
    """
    found = [path.stem.rpartition("-") for path in FOLDER.glob("*.json")]
    return [f"{paper}/{number}" for paper, _, number in sorted(found, key=lambda parts: (parts[0], _order(parts[2])))]


def load_table(name: str, *, scale: str = "paper") -> Table:
    """Reads a table of this package.

    Args:
        name: From `table_names()`.
        scale: "paper", or "small" for what can be trained on two cores with the data at hand.

    Raises:
        ValueError: If there is no such table or scale.

    >>> load_table("sampling-argmax/8").columns[0], load_table("h3r/7", scale="small").rows[-1]
    ('Soft', 'all')
    """
    one_of("load_table", "scale", scale, SCALES)
    if name not in table_names():
        raise ValueError(unknown_name("load_table", "table", name, table_names()))
    paper, _, number = name.partition("/")
    return table_from_dict(name, json.loads((FOLDER / f"{paper}-{number}.json").read_text("utf-8")), scale=scale)


def table_from_dict(name: str, values: Mapping[str, Any], *, scale: str) -> Table:
    """A table from the content of a file.

    Rows and columns are objects with a "name" and any fields of `Source`; "small" holds what differs at that scale, or null
    where the scale has no such row or column. Later words win: table, row, column, then the same three at the scale;
    "changes" are merged. What has another "name" at the scale has no published value there.

    Raises:
        ValueError: If a key is unknown or the numbers do not fit rows and columns.
    """
    unknown = [key for key in values if key not in KEYS]
    if unknown:
        raise ValueError(unknown_name("table_from_dict", f"key of {name}", unknown[0], KEYS))
    rows, columns, published = values["rows"], values["columns"], values["published"]
    if len(published) != len(rows) or any(len(line) != len(columns) for line in published):
        rule = f"hold {len(rows)} rows of {len(columns)} values"
        raise ValueError(message("table_from_dict", f"published of {name}", rule, [len(line) for line in published]))
    cells = []
    for row, line in zip(rows, published, strict=True):
        for column, value in zip(columns, line, strict=True):
            parts = [values.get("source", {}), row, column]
            if scale == "small":
                parts += [values.get("small", {}), row.get("small", {}), column.get("small", {})]
            if all(part is not None for part in parts):
                names = _name(row, scale), _name(column, scale)
                # What has another name at this scale is something else than what the paper measured.
                is_same = names == (str(row["name"]), str(column["name"]))
                cells.append(Cell(*names, _source(name, parts), value if is_same else None))
    kept = {(cell.row, cell.column) for cell in cells}
    return Table(
        name=name,
        title=values["title"],
        scale=scale,
        rows=tuple(dict.fromkeys(_name(r, scale) for r in rows if any(k[0] == _name(r, scale) for k in kept))),
        columns=tuple(dict.fromkeys(_name(c, scale) for c in columns if any(k[1] == _name(c, scale) for k in kept))),
        cells=tuple(cells),
        claims=values.get("claims", ""),
        note=values.get("note", "") if scale == "paper" else values.get("small_note", ""),
        unit=values.get("unit", ""),
        digits=values.get("digits", 2),
    )


def _name(part: Mapping[str, Any], scale: str) -> str:
    small = part.get("small") or {}
    return str(small["name"] if scale == "small" and "name" in small else part["name"])


def _source(name: str, parts: list[Mapping[str, Any]]) -> Source:
    found = Source()
    known = [item.name for item in fields(Source)]
    for part in parts:
        for key, value in part.items():
            if key in ("name", "small"):
                continue
            if key not in known:
                raise ValueError(unknown_name("table_from_dict", f"key of {name}", key, known))
            if key in ("changes", "test"):
                value = {**getattr(found, key), **{k: _tuples(v) for k, v in value.items()}}
            found = replace(found, **{key: value})
    return replace(found, recipe=found.recipe.replace("*", found.of))


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _order(number: str) -> tuple[int, str]:
    digits = "".join(c for c in number if c.isdigit())
    return (int(digits or 0), number)
