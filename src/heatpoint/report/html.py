"""One self-contained HTML page: pictures and curves inside the file, nothing fetched, readable in light and dark."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from heatpoint._checks import message
from heatpoint.report.figures import Picture
from heatpoint.training.files import write_bytes


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it: pieces of HTML made by the functions of this file, in order."""

    title: str
    pieces: tuple[str, ...]


def text(words: str) -> str:
    """A paragraph; everything in it is escaped, and what stands between backquotes is set as code.

    >>> text("run `a < b`")
    '<p>run <code>a &lt; b</code></p>'
    """
    return f"<p>{_inline(words)}</p>"


def code(words: str) -> str:
    """Lines to copy, as they are.

    >>> code("heatpoint demo")
    '<pre><code>heatpoint demo</code></pre>'
    """
    return f"<pre><code>{html.escape(words)}</code></pre>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, best: Sequence[int | None] = ()) -> str:
    """A table whose first column names the row and whose others are numbers.

    Args:
        header: Titles of the columns.
        rows: Cells, each row as long as the header.
        best: For every column the index of the row to set in bold, or None.

    Raises:
        ValueError: If a row is longer or shorter than the header.

    >>> table(["method", "error"], [["a", "2.0"], ["b", "1.0"]], best=[None, 1]).count("<strong>")
    1
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(message("table", "rows", f"hold {len(header)} cells each", f"{len(row)} in {list(row)}"))
    marked = list(best) + [None] * (len(header) - len(best))
    head = "".join(f'<th scope="col">{_inline(title)}</th>' for title in header)
    body = "".join(f"<tr>{''.join(_cells(i, row, marked))}</tr>" for i, row in enumerate(rows))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def png(image: Picture, *, colors: int | None = None) -> bytes:
    """A picture (H, W, 3) uint8 RGB as the content of a PNG file.

    Args:
        image: The picture.
        colors: From 2 to 256: reduces the picture to so many colours, about a quarter of the size. None keeps all.

    >>> import numpy as np
    >>> png(np.zeros((2, 3, 3), np.uint8))[1:4]
    b'PNG'
    """
    stream = io.BytesIO()
    whole = Image.fromarray(image)
    (whole if colors is None else whole.quantize(colors, Image.Quantize.MAXCOVERAGE, kmeans=8)).save(
        stream, format="PNG", optimize=True
    )
    return stream.getvalue()


def picture(image: Picture, *, alt: str, caption: str = "") -> str:
    """A picture (H, W, 3) uint8 RGB inside the page, as PNG.

    >>> import numpy as np
    >>> picture(np.zeros((2, 3, 3), np.uint8), alt="black")[:49]
    '<figure><img width="3" height="2" alt="black" src'
    """
    height, width = image.shape[:2]
    source = f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
    words = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
    tag = f'<img width="{width}" height="{height}" alt="{html.escape(alt)}" src="{source}">'
    return f"<figure>{tag}{words}</figure>"


def curve(figure: Figure, *, alt: str, caption: str = "") -> str:
    """A matplotlib figure inside the page, as SVG: sharp at every size."""
    stream = io.StringIO()
    # Without the date and random names, so that the same numbers give the same page.
    with rc_context({"svg.hashsalt": "heatpoint"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    data = base64.b64encode(svg[svg.index("<svg") :].encode()).decode()
    words = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
    source = f"data:image/svg+xml;base64,{data}"
    return f'<figure class="curve"><img alt="{html.escape(alt)}" src="{source}">{words}</figure>'


def gallery(figures: Sequence[str], *, columns: int) -> str:
    """Figures side by side; on a narrow screen the row can be scrolled.

    >>> gallery(["<figure></figure>"], columns=3)
    '<div class="scroll"><div class="gallery" style="--columns: 3"><figure></figure></div></div>'
    """
    return f'<div class="scroll"><div class="gallery" style="--columns: {columns}">{"".join(figures)}</div></div>'


def write_report(path: str | Path, sections: Sequence[Section], *, title: str, lead: str = "") -> Path:
    """Writes the page; it appears whole or not at all.

    Args:
        path: The file to write; its folder is made if need be.
        sections: What the page shows, in order.
        title: Heading of the page.
        lead: One or two sentences under it.

    Returns:
        The path.
    """
    path = Path(path)
    style = resources.files("heatpoint.report").joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(f"<section><h2>{_inline(s.title)}</h2>{''.join(s.pieces)}</section>" for s in sections)
    opening = f'<p class="lead">{_inline(lead)}</p>' if lead else ""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>"
        f"<body><main><header><h1>{_inline(title)}</h1>{opening}</header>{body}</main></body></html>\n"
    )
    write_bytes(path, page.encode())
    return path


def _inline(words: str) -> str:
    parts = html.escape(words, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _cells(index: int, row: Sequence[str], best: Sequence[int | None]) -> list[str]:
    cells = [f'<th scope="row">{_inline(row[0])}</th>']
    for cell, winner in zip(row[1:], best[1:], strict=True):
        words = _inline(cell)
        cells.append(f"<td>{f'<strong>{words}</strong>' if winner == index else words}</td>")
    return cells
