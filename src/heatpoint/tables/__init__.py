"""Tables of the two papers: rows, columns, recipes, metrics and published values as data, and what fills them.

A table is a JSON file in `data/`. A cell is what its table, its row and its column say together: a recipe and changes to it, a
readout, a split, and the score to show. Filling it trains what is missing; rows whose data are missing say so.
"""

from heatpoint.tables.filling import Filled, fill, plan
from heatpoint.tables.table import SCALES, Cell, Source, Table, load_table, table_names

__all__ = ["SCALES", "Cell", "Filled", "Source", "Table", "fill", "load_table", "plan", "table_names"]
