"""Tables of the two papers: rows, columns, recipes, metrics and published values as data, and what fills them."""
