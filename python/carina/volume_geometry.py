"""The way between a volume as it was read and what became of it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._arrays import boxes_by_rows, cube, points_by_rows


class VolumeGeometry:
    """The map between a volume as it was read and what a model sees.

    Coordinates are continuous: voxel ``i`` covers ``[i, i + 1]`` and has its centre
    at ``i + 0.5``. Points are (z, y, x), boxes (z0, y0, x0, z1, y1, x1) at voxel
    edges; patient points are (x, y, z) in mm towards left, back and head (LPS).
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.VolumeGeometry) -> None:
        self._core = core

    @classmethod
    def from_json(cls, text: str) -> "VolumeGeometry":
        """Read a map that :meth:`to_json` wrote."""
        return cls(_core.VolumeGeometry.from_json(text))

    def to_json(self) -> str:
        """Write the map as JSON."""
        return self._core.to_json()

    @property
    def original_shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of the volume as it was read."""
        z, y, x = self._core.shapes[0]
        return z, y, x

    @property
    def model_shape(self) -> tuple[int, int, int]:
        """Voxels (z, y, x) of what the model sees."""
        z, y, x = self._core.shapes[1]
        return z, y, x

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance (z, y, x) of the voxels of the volume as it was read, in mm."""
        z, y, x = self._core.spacings[0]
        return z, y, x

    @property
    def model_spacing(self) -> tuple[float, float, float]:
        """Distance (z, y, x) of the voxels that the model sees, in mm."""
        z, y, x = self._core.spacings[1]
        return z, y, x

    def to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (z, y, x) of the original volume to the model's.

        Parameters
        ----------
        points : array-like of shape (3,) or (N, 3)

        Returns
        -------
        ndarray of the same shape, float64
        """
        return points_by_rows(self._core.points, points, 3, back=False)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (z, y, x) of the model's volume to the original."""
        return points_by_rows(self._core.points, points, 3, back=True)

    def to_patient(self, points: ArrayLike) -> NDArray[np.float64]:
        """Give points (z, y, x) of the original volume as (x, y, z) in mm, LPS."""
        return points_by_rows(self._core.patient, points, 3, back=False)

    def from_patient(self, points: ArrayLike) -> NDArray[np.float64]:
        """Give patient points (x, y, z) in mm as (z, y, x) in the original volume."""
        return points_by_rows(self._core.patient, points, 3, back=True)

    def box_to_model(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes of the original volume to the model's, clipped to it.

        Parameters
        ----------
        boxes : array-like of shape (6,) or (N, 6)
            z0, y0, x0, z1, y1, x1: voxel edges.

        Raises
        ------
        ShapeError
            If the last axis is not 6.
        InvalidValueError
            If an edge is not finite.
        """
        return boxes_by_rows(self._core.boxes, boxes, 6, back=False)

    def box_to_original(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map boxes of the model's volume to the original, clipped to it."""
        return boxes_by_rows(self._core.boxes, boxes, 6, back=True)

    def mask_to_model(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask (z, y, x) of the original volume, by the nearest voxel.

        It holds booleans, or numbers that are all 0 or 1.
        """
        return self._core.mask(cube("mask", mask, np.bool_), back=False)

    def mask_to_original(self, mask: ArrayLike) -> NDArray[np.bool_]:
        """Map a mask of any resolution over the model's volume to the original.

        Parameters
        ----------
        mask : array-like of shape (d, h, w)
            Booleans, or numbers that are all 0 or 1.

        Returns
        -------
        ndarray of shape (z, y, x), bool
            False where the model did not look.
        """
        return self._core.mask(cube("mask", mask, np.bool_), back=True)

    def heatmap_to_original(self, heatmap: ArrayLike) -> NDArray[np.float32]:
        """Map a heat map of any resolution to the original volume, trilinearly.

        Parameters
        ----------
        heatmap : array-like of shape (d, h, w)
            A grid of token scores, say.

        Returns
        -------
        ndarray of shape (z, y, x), float32
            0 where the model did not look.
        """
        return self._core.heatmap(cube("heat map", heatmap, np.float32))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolumeGeometry) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        return f"VolumeGeometry({self._core.describe()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return VolumeGeometry.from_json, (self.to_json(),)
