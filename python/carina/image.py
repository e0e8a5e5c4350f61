"""Films: reading them from files and arrays, looking at them."""

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._arrays import plane
from carina._files import PathLike
from carina.errors import InvalidValueError
from carina.rendering import Picture
from carina.rendering.film import film_picture

PREVIEW_SIDE = 384


class Image:
    """A film: float32 pixels with what a reader must know about them.

    Made by :func:`carina.read`. Holds no names, identifiers or dates.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Image) -> None:
        self._core = core

    def to_numpy(self) -> NDArray[np.float32]:
        """Return the pixels, in modality units or in display units where windowed.

        Returns
        -------
        ndarray of shape (rows, columns), float32
            Read-only and without a copy: it shares the film's memory.
        """
        return self._core.to_numpy()

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> NDArray[np.float32]:
        """Convert for numpy; see :meth:`to_numpy`."""
        pixels = self.to_numpy()
        if dtype is not None and np.dtype(dtype) != pixels.dtype:
            if copy is False:
                raise ValueError("a film converts to another dtype only by a copy")
            return pixels.astype(dtype)
        return pixels.copy() if copy else pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._core.shape

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Size of a pixel (row spacing, column spacing) in mm, when known."""
        return self._core.spacing

    @property
    def modality(self) -> str:
        """DICOM modality (``"DX"``, ``"CR"``, …); empty when unknown."""
        return self._core.modality

    @property
    def view(self) -> str:
        """How the beam went: ``"PA"``, ``"AP"``, ``"LATERAL"`` or ``"UNKNOWN"``."""
        return self._core.view

    @property
    def orientation(self) -> str:
        """Where x and y point in the patient, as :attr:`Volume.orientation` has it.

        ``"LI"`` (left and feet) for a frontal film as it usually hangs; empty when
        the file does not say.
        """
        return self._core.orientation

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value that the display pipeline can give, when known."""
        return self._core.range

    @property
    def history(self) -> list[str]:
        """What was done to the pixels, in order."""
        return self._core.history

    def save_png(self, path: PathLike) -> None:
        """Write the film as a 16-bit grey PNG, its range spread over all levels.

        Parameters
        ----------
        path : path-like
            Where to write; the file is either whole or absent.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        self._core.save_png(Path(path))

    def show(
        self,
        window: str | Sequence[float] | None = None,
        *,
        boxes: Any = None,
        masks: Any = None,
        heatmap: Any = None,
        heat_range: Sequence[float] | None = None,
        side: int = 512,
    ) -> Picture:
        """Show the film with square millimetres, and what lies over it.

        Parameters
        ----------
        window : sequence of 2 floats or str, optional
            The values that become black and white; by default :attr:`range`. Names
            (:func:`carina.hu_windows`) are for slices of a CT.
        boxes : optional
            ``study.boxes``, a mapping of names to boxes (x0, y0, x1, y1) or rows of
            them, or boxes alone, in the film's pixels. None in place of a box is
            named in the legend as not found.
        masks : optional
            ``study.masks``, a mapping of names to masks (rows, columns), or a mask: of
            booleans, or of numbers that are all 0 or 1.
        heatmap : optional
            An array (rows, columns) or a mapping of one name to it. Its lowest values
            are clear; :meth:`Geometry.heatmap_to_original` brings a model's map here.
        heat_range : sequence of 2 floats, optional
            The ends of the colours; the map's lowest and highest value by default.
        side : int, default=512
            Pixels along the longer side, 16 to 2048.

        Returns
        -------
        Picture
            Static HTML in a notebook; ``plot`` draws it with matplotlib.

        Raises
        ------
        InvalidValueError, ShapeError
            If the window or an overlay does not fit the film.
        """
        return film_picture(
            self,
            window=window,
            side=side,
            boxes=boxes,
            masks=masks,
            heatmap=heatmap,
            heat_range=heat_range,
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the film in grey, with square millimetres; see also :meth:`show`.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots()
        low, high = self.range or (None, None)
        down, across = self.spacing or (1.0, 1.0)
        ax.imshow(
            self.to_numpy(), cmap="gray", vmin=low, vmax=high, aspect=down / across
        )
        ax.set_axis_off()
        return ax

    def __repr__(self) -> str:
        rows, columns = self.shape
        parts = [f"{rows} x {columns}"]
        if self.modality:
            parts.append(self.modality)
        if self.view != "UNKNOWN":
            parts.append(self.view)
        if self.spacing is not None:
            parts.append(f"{self.spacing[0]:.4g} x {self.spacing[1]:.4g} mm")
        if self.range is not None:
            parts.append(f"range {self.range[0]:g} to {self.range[1]:g}")
        return f"Image({', '.join(parts)})"

    def thumbnail(self, side: int = PREVIEW_SIDE) -> str:
        """Give the film as an HTML picture of at most `side` pixels a side."""
        return self.show(side=side).thumbnail()

    def _repr_html_(self) -> str:
        steps = "".join(f"<li>{html.escape(step)}</li>" for step in self.history)
        return f"<div>{self.show(side=PREVIEW_SIDE).body()}<ol>{steps}</ol></div>"

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {
            "spacing": self.spacing,
            "modality": self.modality,
            "view": self.view,
            "orientation": self.orientation,
            "range": self.range,
            "history": self.history,
        }
        return _rebuild, (np.array(self.to_numpy()), facts)


def read_film(
    source: PathLike | bytes | ArrayLike | Image,
    *,
    window: str | bool | int = "auto",
    frame: int | None = None,
) -> Image:
    """Read a film; see :func:`carina.read`."""
    if isinstance(source, Image):
        return source
    if isinstance(source, (str, os.PathLike)):
        source = Path(source)
    elif not isinstance(source, (bytes, bytearray)):
        return from_array(source)
    if frame is not None and frame < 0:
        raise InvalidValueError(f"frame: expected 0 or more, found {frame}")
    return Image(_core.read_film(source, frame=frame, **_window(window)))


def decode(source: PathLike | bytes) -> NDArray[Any]:
    """Decode a DICOM file to the numbers it stores, before any look-up table.

    Parameters
    ----------
    source : path-like or bytes
        The file, or what it holds.

    Returns
    -------
    ndarray of shape (frames, rows, columns, samples), axes of length 1 left out
        In the file's own type: uint8 to int32, float32 or float64. Colours stay
        as they are stored.

    Raises
    ------
    MissingFileError, FileError
        If the file cannot be opened.
    FormatError
        If it is no DICOM image or a damaged one.
    """
    stored: NDArray[Any] = _core.decode_dicom(
        source if isinstance(source, (bytes, bytearray)) else Path(source)
    )
    return stored


def _window(window: str | bool | int) -> dict[str, Any]:
    if window == "auto" and isinstance(window, str):
        return {}
    if isinstance(window, (bool, np.bool_)):
        return {"apply_window": bool(window)}
    if window in ("on", "off"):
        return {"apply_window": window == "on"}
    if isinstance(window, (int, np.integer)):
        if window < 0:
            raise InvalidValueError(f"window: expected 0 or more, found {window}")
        return {"window_index": int(window)}
    if isinstance(window, str):
        return {"window_name": window}
    raise InvalidValueError(f"window: expected text, bool or int, found {window!r}")


def from_array(source: ArrayLike) -> Image:
    """Make a film of pixels (rows, columns); see :func:`carina.read`."""
    pixels = np.asarray(source)
    if pixels.dtype.kind not in "buif":
        raise InvalidValueError(f"image: expected numbers, found dtype {pixels.dtype}")
    full = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}.get(pixels.dtype.name)
    history = [f"array of {pixels.dtype.name}"]
    return Image(
        _core.Image(
            plane("image", pixels, np.float32),
            range=None if full is None else (0.0, full),
            history=history,
        )
    )


def _rebuild(pixels: NDArray[np.float32], facts: dict[str, Any]) -> Image:
    return Image(_core.Image(pixels, **facts))
