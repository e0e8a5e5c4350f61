"""Painted planes side by side, with what they show in words and colours."""

import base64
import html
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina.errors import InvalidValueError
from carina.rendering.colours import Colour, heat
from carina.rendering.overlays import Overlays
from carina.rendering.paint import Pixels, png

_BESIDE = 60
"""Pixels of a legend that are no words."""


@dataclass(frozen=True)
class Panel:
    """One painted plane.

    Attributes
    ----------
    pixels : ndarray of shape (H, W, 1 or 3), uint8
    title : str
        Which plane it is.
    edges : str
        What lies at the left, right, top and bottom: a letter each, or empty.
    extent : tuple of float
        Where the left, right, bottom and top edges lie in the source's array.
    steps : pair of float
        Millimetres per row and per column, or their ratio where they are unknown.
    """

    pixels: Pixels
    title: str
    edges: str
    extent: tuple[float, float, float, float]
    steps: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Height and width in millimetres."""
        left, right, bottom, top = self.extent
        return abs(top - bottom) * self.steps[0], abs(right - left) * self.steps[1]

    def html(self) -> str:
        """Return the plane between the letters of its edges."""
        left, right, top, bottom = list(self.edges) or [""] * 4
        middle = f"{left} {picture_tag(self.pixels, self.title or 'film')} {right}"
        lines = (html.escape(self.title), top, middle.strip(), bottom)
        return "<br>".join(line for line in lines if line)


@dataclass(frozen=True)
class Picture:
    """Planes as a reading room shows them; made by ``show`` and ``montage``.

    It shows itself in a notebook as static HTML, which stays when the notebook is
    saved, and :meth:`plot` draws it with matplotlib.
    """

    panels: tuple[Panel, ...]
    caption: str
    legend: tuple[tuple[str, Colour], ...] = ()
    scale: tuple[str, float, float] | None = None
    columns: int = 4

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture with matplotlib, in the coordinates of the source's array.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of them, optional
            One for each plane; a new figure by default.

        Returns
        -------
        matplotlib Axes, or ndarray of them where there are several planes

        Raises
        ------
        InvalidValueError
            If there are fewer axes than planes.
        """
        from matplotlib.patches import Patch

        count, own = len(self.panels), ax is None
        if own:
            from matplotlib import pyplot

            columns = min(count, self.columns)
            rows = -(-count // columns)
            _, ax = pyplot.subplots(
                rows,
                columns,
                squeeze=False,
                figsize=(3 * columns, 3 * rows),
                layout="constrained",
            )
            for axis in ax.flat[count:]:
                axis.set_axis_off()
        axes = np.ravel(ax)
        if len(axes) < count:
            raise InvalidValueError(f"ax: expected {count} axes, found {len(axes)}")
        # The same room in millimetres gives all planes one scale.
        room = np.max([panel.size for panel in self.panels], axis=0)
        for axis, panel in zip(axes, self.panels, strict=False):
            _draw(axis, panel, room)
        if self.legend:
            handles = [Patch(color=_share(c), label=name) for name, c in self.legend]
            look = {"handles": handles, "fontsize": "small"}
            if own:  # there is room below the planes
                _legend_below(axes[0].figure, look)
            else:
                axes[count - 1].legend(**look, loc="lower right")
        if self.scale is not None:
            _bar(list(axes[:count]), *self.scale)
        return axes[0] if count == 1 else axes[:count]

    def thumbnail(self) -> str:
        """Return the first plane as an HTML picture, without words."""
        return picture_tag(self.panels[0].pixels, self.panels[0].title or "film")

    def body(self) -> str:
        """Return the planes, the legend and the caption as static HTML."""
        # A table, and attributes in place of styles, because code hosts strip those.
        cell = "<td align='center' style='text-align:center;white-space:nowrap' nowrap>"
        cells = [f"{cell}{panel.html()}</td>" for panel in self.panels]
        rows = "".join(
            f"<tr>{''.join(cells[start : start + self.columns])}</tr>"
            for start in range(0, len(cells), self.columns)
        )
        return f"<table>{rows}</table>{self.words()}"

    def words(self) -> str:
        """Return the caption and the legend as static HTML."""
        lines = [html.escape(self.caption), self._key()]
        return "<br>".join(line for line in lines if line)

    def _key(self) -> str:
        parts = [
            f"{picture_tag(_swatch(colour), 'colour')} {html.escape(name)}"
            for name, colour in self.legend
        ]
        if self.scale is not None:
            name, low, high = self.scale
            colours = heat(np.linspace(0, 1, 128)).astype(np.uint8)
            bar = picture_tag(np.tile(colours, (12, 1, 1)), "colours")
            ends = [
                f"{0 if abs(v) < (high - low) / 1000 else v:.3g}" for v in (low, high)
            ]
            parts.append(f"{html.escape(name)}: {ends[0]} {bar} {ends[1]}")
        return " &nbsp; ".join(parts)

    def _repr_html_(self) -> str:
        return f"<div>{self.body()}</div>"

    def __repr__(self) -> str:
        planes = f"{len(self.panels)} plane{'s' if len(self.panels) != 1 else ''}"
        return f"Picture({planes}: {self.caption})"


def picture_tag(pixels: Pixels, words: str) -> str:
    """Return an HTML picture that needs no file."""
    data = base64.b64encode(png(pixels)).decode()
    words = html.escape(words, quote=True)
    return f"<img align='middle' alt='{words}' src='data:image/png;base64,{data}'>"


def key(
    overlays: Overlays, drawn: set[str], unseen: str = "not in these planes"
) -> tuple[tuple[tuple[str, Colour], ...], tuple[str, float, float] | None]:
    """Return the legend, which also says what cannot be seen, and the colour bar."""
    legend = []
    for layer in overlays.layers:
        note = layer.note or ("" if layer.name in drawn else unseen)
        legend.append((f"{layer.name} ({note})" if note else layer.name, layer.colour))
    warm = overlays.heat
    if warm is None:
        return tuple(legend), None
    name = warm.name if warm.low < warm.high else f"{warm.name} (the same everywhere)"
    return tuple(legend), (name, warm.low, warm.high)


def _draw(axis: Any, panel: Panel, room: NDArray[np.float64]) -> None:
    """Draw a plane in the middle of `room` (height, width) in mm."""
    from matplotlib.patheffects import withStroke

    axis.imshow(
        panel.pixels.squeeze(-1) if panel.pixels.shape[-1] == 1 else panel.pixels,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=panel.extent,
        aspect=panel.steps[0] / panel.steps[1],
    )
    ends = np.reshape(panel.extent, (2, 2))  # of columns, then of rows
    first, length = ends[:, 0], ends[:, 1] - ends[:, 0]
    grown = np.stack([first + length / 2] * 2, axis=1)
    halves = np.sign(length) * room[::-1] / (2 * np.array(panel.steps[::-1]))
    grown += np.stack([-halves, halves], axis=1)
    axis.set(xlim=grown[0], ylim=grown[1])
    axis.set_axis_off()
    axis.set_title(panel.title, fontsize="small")
    places = ((0.01, 0.5), (0.99, 0.5), (0.5, 0.99), (0.5, 0.01))
    sides = (("left", "center"), ("right", "center"), ("center", "top"))
    for letter, place, (across, down) in zip(
        panel.edges, places, (*sides, ("center", "bottom")), strict=False
    ):
        text = axis.text(*(first + place * length), letter, ha=across, va=down)
        text.set(
            color="white", path_effects=[withStroke(linewidth=2, foreground="black")]
        )


def _legend_below(figure: Any, look: dict[str, Any]) -> None:
    """Put a legend below the planes, in as many columns as the figure is wide."""
    renderer, room = figure.canvas.get_renderer(), figure.bbox.width
    for columns in range(min(4, len(look["handles"])), 0, -1):
        legend = figure.legend(**look, loc="outside lower center", ncols=columns)
        wide = legend.get_window_extent(renderer).width
        if wide <= room:
            return
        if columns > 1:
            legend.remove()
    for text in legend.get_texts():
        name = text.get_text()
        most = len(name)
        while most > 8 and text.get_window_extent(renderer).width > room - _BESIDE:
            most -= 2
            text.set_text(fill(name, most, max_lines=3, placeholder="…"))


def _bar(axes: list[Any], name: str, low: float, high: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = ListedColormap(heat(np.linspace(0, 1, 256)) / 255)
    mappable = ScalarMappable(Normalize(low, high), colours)
    axes[0].figure.colorbar(mappable, ax=axes, label=name, shrink=0.8)


def _swatch(colour: Colour) -> Pixels:
    return np.full((12, 12, 3), colour, dtype=np.uint8)


def _share(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
