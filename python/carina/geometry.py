"""The way between the pixels of a film and those that a model sees."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._arrays import boxes_by_rows, doubles, plane, points_by_rows
from carina.errors import InvalidValueError, ShapeError


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
        return points_by_rows(self._core.points, points, 2, back=False)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the model's canvas to the film; see :meth:`to_model`."""
        return points_by_rows(self._core.points, points, 2, back=True)

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
        InvalidValueError
            If an edge is not finite.
        """
        return boxes_by_rows(self._core.boxes, boxes, 4, back=False)

    def box_to_original(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes of the model's canvas to the film, clipped to it."""
        return boxes_by_rows(self._core.boxes, boxes, 4, back=True)

    def mask_to_model(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask of the film (rows, columns), by the nearest pixel.

        It holds booleans, or numbers that are all 0 or 1.
        """
        return self._core.mask(plane("mask", mask, np.bool_), back=False)

    def mask_to_original(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask of any resolution over the model's canvas to the film.

        Parameters
        ----------
        mask : array-like of shape (h, w)
            Booleans, or numbers that are all 0 or 1.

        Returns
        -------
        ndarray of shape (rows, columns), bool
            False where the model did not look.
        """
        return self._core.mask(plane("mask", mask, np.bool_), back=True)

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
        return self._core.heatmap(plane("heat map", heatmap, np.float32))

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
        values = doubles("points", points)
        if values.ndim == 0 or values.shape[-1] not in (2, 4):
            raise ShapeError(
                f"points: expected shape (..., 2) or (..., 4), got {list(values.shape)}"
            )
        down, across = self.spacing
        scale = np.array([across, down] * (values.shape[-1] // 2))
        return np.asarray(values * scale, dtype=np.float64)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Geometry) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        return f"Geometry({self._core.describe()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Geometry.from_json, (self.to_json(),)


def _whole(pair: tuple[float, float]) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])
