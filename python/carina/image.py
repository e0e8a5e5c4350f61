"""Films and what models see of them: reading, recipes, geometry."""

import base64
import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina.errors import InvalidValueError, ShapeError

PathLike = str | os.PathLike[str]

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

    def plot(self, ax: Any = None) -> Any:
        """Draw the film in grey, with square millimetres.

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

    def _repr_html_(self) -> str:
        png = base64.b64encode(bytes(self._core.preview_png(PREVIEW_SIDE))).decode()
        steps = "".join(f"<li>{html.escape(step)}</li>" for step in self.history)
        return (
            f"<figure><img alt='film' src='data:image/png;base64,{png}'>"
            f"<figcaption>{html.escape(repr(self))}<ol>{steps}</ol></figcaption></figure>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {
            "spacing": self.spacing,
            "modality": self.modality,
            "view": self.view,
            "range": self.range,
            "history": self.history,
        }
        return _rebuild, (np.array(self.to_numpy()), facts)


class Geometry:
    """The map between the pixels of a film and those that a model sees.

    Coordinates are continuous: the pixel in row ``r`` and column ``c`` covers
    ``[c, c + 1] x [r, r + 1]`` and has its centre at ``(c + 0.5, r + 0.5)``.
    Points are (x, y), boxes (x0, y0, x1, y1) at pixel edges.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Geometry) -> None:
        self._core = core

    @classmethod
    def from_json(cls, text: str) -> "Geometry":
        """Read a map that :meth:`to_json` wrote."""
        return cls(_core.Geometry.from_json(text))

    def to_json(self) -> str:
        """Write the map as JSON."""
        return self._core.to_json()

    @property
    def original_shape(self) -> tuple[int, int]:
        """Rows and columns of the film."""
        return _whole(self._core.facts()["original"])

    @property
    def model_shape(self) -> tuple[int, int]:
        """Rows and columns of what the model sees."""
        return _whole(self._core.facts()["model"])

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Size of the film's pixels (row, column) in mm, when known."""
        return self._core.spacing

    @property
    def model_spacing(self) -> tuple[float, float] | None:
        """Size of the model's pixels (row, column) in mm, when known."""
        return self._core.model_spacing

    def to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the film to the model's canvas.

        Parameters
        ----------
        points : array-like of shape (2,) or (N, 2)
            x and y in original pixels.

        Returns
        -------
        ndarray of the same shape, float64

        Raises
        ------
        ShapeError
            If the last axis is not 2.
        """
        return self._rows(self._core.points, points, 2, back=False)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the model's canvas to the film; see :meth:`to_model`."""
        return self._rows(self._core.points, points, 2, back=True)

    def box_to_model(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes of the film to the model's canvas, clipped to it.

        Parameters
        ----------
        boxes : array-like of shape (4,) or (N, 4)
            x0, y0, x1, y1: pixel edges, in original pixels.

        Returns
        -------
        ndarray of the same shape, float64

        Raises
        ------
        ShapeError
            If the last axis is not 4.
        """
        return self._rows(self._core.boxes, boxes, 4, back=False)

    def box_to_original(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes of the model's canvas to the film, clipped to it."""
        return self._rows(self._core.boxes, boxes, 4, back=True)

    def mask_to_model(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask of the film (rows, columns), by the nearest pixel."""
        return self._core.mask(_plane("mask", mask, np.bool_), back=False)

    def mask_to_original(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask of any resolution over the model's canvas to the film.

        Parameters
        ----------
        mask : array-like of shape (h, w), bool

        Returns
        -------
        ndarray of shape (rows, columns), bool
            False where the model did not look.
        """
        return self._core.mask(_plane("mask", mask, np.bool_), back=True)

    def heatmap_to_original(self, heatmap: ArrayLike) -> NDArray[np.float32]:
        """Map a heat map of any resolution over the canvas to the film, bilinearly.

        Parameters
        ----------
        heatmap : array-like of shape (h, w)
            A grid of token scores, say.

        Returns
        -------
        ndarray of shape (rows, columns), float32
            0 where the model did not look.
        """
        return self._core.heatmap(_plane("heat map", heatmap, np.float32))

    def millimetres(self, points: ArrayLike) -> NDArray[np.float64]:
        """Give points or boxes of the film in mm from its top left corner.

        Parameters
        ----------
        points : array-like of shape (..., 2) or (..., 4)
            x, y or x0, y0, x1, y1 in original pixels.

        Raises
        ------
        InvalidValueError
            If the film has no spacing.
        """
        if self.spacing is None:
            raise InvalidValueError("spacing: expected millimetres, the film has none")
        values = np.asarray(points, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] not in (2, 4):
            raise ShapeError(
                f"points: expected shape (..., 2) or (..., 4), got {list(values.shape)}"
            )
        down, across = self.spacing
        scale = np.array([across, down] * (values.shape[-1] // 2))
        return np.asarray(values * scale, dtype=np.float64)

    @staticmethod
    def _rows(call: Any, values: ArrayLike, width: int, *, back: bool) -> Any:
        table = np.asarray(values, dtype=np.float64)
        if table.ndim not in (1, 2):
            raise ShapeError(
                f"expected shape ({width},) or (N, {width}), got {list(table.shape)}"
            )
        mapped = call(np.atleast_2d(table), back=back)
        return mapped.reshape(table.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        return f"Geometry({self._core.describe()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Geometry.from_json, (self.to_json(),)


class Recipe:
    """The steps from a film to a model's input, as data.

    Recipes are equal when their steps are; what two unequal recipes made must
    not be mixed, so keep :attr:`hash` beside every embedding.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Recipe) -> None:
        self._core = core

    @classmethod
    def film(cls, size: int) -> "Recipe":
        """Our default: display range to [0, 1], black border, antialiased bilinear.

        Parameters
        ----------
        size : int
            Height and width in pixels.
        """
        return cls(_core.Recipe.film(size))

    @classmethod
    def preset(cls, name: str) -> "Recipe":
        """Return a built-in recipe; :meth:`presets` lists them.

        Raises
        ------
        InvalidValueError
            If there is none of this name.
        """
        return cls(_core.Recipe.preset(name))

    @staticmethod
    def presets() -> list[str]:
        """List the names of the built-in recipes."""
        return _core.recipe_presets()

    @classmethod
    def from_steps(cls, steps: Sequence[dict[str, Any]]) -> "Recipe":
        """Make a recipe of steps, each a dict with its name under ``"step"``.

        Raises
        ------
        ConfigError
            If a step is misspelt or impossible; the message names it.
        """
        return cls.from_json(json.dumps({"steps": list(steps)}))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read a recipe that :meth:`to_json` or a person wrote.

        Raises
        ------
        ConfigError
            If a step is misspelt or impossible; the message names it.
        """
        return cls(_core.Recipe.from_json(text))

    def to_json(self) -> str:
        """Write the recipe as canonical JSON."""
        return self._core.to_json()

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps as dicts."""
        steps: list[dict[str, Any]] = json.loads(self.to_json())["steps"]
        return steps

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return self._core.hash()

    @property
    def output_shape(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) that comes out, when it does not depend on the film."""
        return self._core.output_shape

    def apply(self, image: "Image | ArrayLike") -> tuple[NDArray[np.float32], Geometry]:
        """Make a model's input of a film.

        Parameters
        ----------
        image : Image or array-like of shape (rows, columns)

        Returns
        -------
        pixels : ndarray of shape (C, H, W), float32
        geometry : Geometry
            The map between the film's pixels and those of `pixels`.

        Raises
        ------
        InvalidValueError
            If a pixel is NaN or infinite.
        ShapeError
            If the film is smaller than the middle to be kept.
        """
        film = image if isinstance(image, Image) else _from_array(image)
        pixels, geometry = self._core.apply(film._core)
        return pixels, Geometry(geometry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Recipe({self.hash[:8]}: {' -> '.join(self._core.describe())})"

    def _repr_html_(self) -> str:
        steps = "".join(f"<li>{html.escape(s)}</li>" for s in self._core.describe())
        return f"Recipe <code>{self.hash[:8]}</code><ol>{steps}</ol>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe.from_json, (self.to_json(),)


def read(
    source: PathLike | ArrayLike | Image,
    *,
    window: str | bool | int = "auto",
    frame: int | None = None,
) -> Image:
    """Read a film from a DICOM, PNG, JPEG or TIFF file or an array.

    Parameters
    ----------
    source : path-like or array-like of shape (rows, columns)
        A file, whose content decides its format, or pixels.
    window : {"auto", "on", "off"}, bool, int or str
        For DICOM. ``"auto"`` applies the file's first VOI look-up table or window
        to films and leaves CT, MR and PET in their units; ``True`` and ``False``
        (or ``"on"``, ``"off"``) decide for all; a number picks a window, counted
        from 0, and any other text the window that the file explains by this name.
    frame : int, optional
        For files with several frames: which one, counted from 0; the first by
        default.

    Returns
    -------
    Image
        White is high, and ``history`` says what was done.

    Raises
    ------
    MissingFileError, FileError
        If the file cannot be opened.
    FormatError
        If it is no image or a damaged one.
    ShapeError
        If the array is not two-dimensional.
    InvalidValueError
        If a pixel is NaN or infinite.

    References
    ----------
    DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality), C.11.2 (windows).
    """
    if isinstance(source, Image):
        return source
    if not isinstance(source, (str, os.PathLike)):
        return _from_array(source)
    if frame is not None and frame < 0:
        raise InvalidValueError(f"frame: expected 0 or more, found {frame}")
    return Image(_core.read_film(Path(source), frame=frame, **_window(window)))


def decode(path: PathLike) -> NDArray[Any]:
    """Decode a DICOM file to the numbers it stores, before any look-up table.

    Parameters
    ----------
    path : path-like

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
    stored: NDArray[Any] = _core.decode_dicom(Path(path))
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


def _from_array(source: ArrayLike) -> Image:
    pixels = np.asarray(source)
    if pixels.dtype.kind not in "buif":
        raise InvalidValueError(f"image: expected numbers, found dtype {pixels.dtype}")
    full = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}.get(pixels.dtype.name)
    history = [f"array of {pixels.dtype.name}"]
    return Image(
        _core.Image(
            _plane("image", pixels, np.float32),
            range=None if full is None else (0.0, full),
            history=history,
        )
    )


def _plane(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    plane = np.asarray(values)
    if plane.ndim != 2:
        raise ShapeError(
            f"{what}: expected shape (rows, columns), got {list(plane.shape)}"
        )
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        return np.asarray(plane, dtype=dtype)


def _whole(pair: tuple[float, float]) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])


def _rebuild(pixels: NDArray[np.float32], facts: dict[str, Any]) -> Image:
    return Image(_core.Image(pixels, **facts))
