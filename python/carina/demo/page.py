"""One HTML page without outside parts: text, tables, films, intervals."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from carina._files import write_text
from carina.image import Image
from carina.result import Result

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #1c2733; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
td, th { padding: 0.15rem 0.7rem; border-bottom: 1px solid #d8dee6; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.films { display: flex; flex-wrap: wrap; gap: 0.7rem; }
figure { margin: 0; width: 10.5rem; font-size: 0.75rem; }
figure img { width: 100%; background: #000; }
figcaption { color: #4a5a6a; }
.note { color: #4a5a6a; font-size: 0.9rem; }
"""


class Shown(Protocol):
    """Anything that shows itself in a notebook."""

    def _repr_html_(self) -> str: ...


class Page:
    """A page that grows section by section.

    Parameters
    ----------
    title : str
        The page's title.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = [f"<h1>{html.escape(title)}</h1>"]

    def section(self, title: str, text: str = "") -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(title)}</h2>")
        if text:
            self._parts.append(f"<p>{html.escape(text)}</p>")

    def note(self, text: str) -> None:
        """Add a remark."""
        self._parts.append(f"<p class='note'>{html.escape(text)}</p>")

    def show(self, thing: Shown) -> None:
        """Add anything that shows itself as HTML."""
        self._parts.append(thing._repr_html_())

    def films(self, films: Sequence[Image], captions: Sequence[str]) -> None:
        """Add films side by side, each with a caption."""
        figures = "".join(
            f"<figure>{film.thumbnail()}<figcaption>{html.escape(text)}</figcaption>"
            "</figure>"
            for film, text in zip(films, captions, strict=True)
        )
        self._parts.append(f"<div class='films'>{figures}</div>")

    def forest(self, result: Result, metric: str = "auroc") -> None:
        """Add the intervals of a result as a picture."""
        self._parts.append(forest(result, metric))

    def write(self, path: Path) -> None:
        """Write the page."""
        body = "\n".join(self._parts)
        write_text(
            path,
            f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style></head>"
            f"<body>{body}</body></html>\n",
        )


def forest(result: Result, metric: str) -> str:
    """Draw the intervals of a result as SVG, chance as a dashed line."""
    rows = [row for row in result if row.metric == metric and row.value == row.value]
    left, width, step = 170, 420, 22
    low = min(0.4, *(row.low for row in rows if row.low == row.low), 0.5)

    def x(value: float) -> float:
        return left + (value - low) / (1 - low) * width

    height = step * len(rows) + 30
    parts = [
        f"<svg width='{left + width + 90}' height='{height}' role='img' "
        "font-family='system-ui' font-size='13'>"
    ]
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        dash = " stroke-dasharray='4 3'" if tick == 0.5 else ""
        parts.append(
            f"<line x1='{x(tick):.1f}' x2='{x(tick):.1f}' y1='0' y2='{height - 20}' "
            f"stroke='#c3ccd6'{dash}/><text x='{x(tick):.1f}' y='{height - 5}' "
            f"text-anchor='middle' fill='#4a5a6a'>{tick}</text>"
        )
    for place, row in enumerate(rows):
        y = step * place + 14
        if row.low == row.low:
            parts.append(
                f"<line x1='{x(row.low):.1f}' x2='{x(row.high):.1f}' y1='{y}' y2='{y}' "
                "stroke='#2a6db0' stroke-width='2'/>"
            )
        parts.append(
            f"<circle cx='{x(row.value):.1f}' cy='{y}' r='4' fill='#2a6db0'/>"
            f"<text x='{left - 10}' y='{y + 4}' text-anchor='end'>"
            f"{html.escape(row.finding)}</text>"
            f"<text x='{left + width + 10}' y='{y + 4}'>{row.value:.3f}</text>"
        )
    return "".join(parts) + "</svg>"
