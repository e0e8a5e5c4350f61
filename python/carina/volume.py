"""CT volumes: voxels that know where they lie in the patient."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._arrays import cube, interval, numbers
from carina._files import PathLike
from carina.errors import InvalidValueError
from carina.organs import Organs
from carina.rendering.views import VolumeViews
from carina.volume_geometry import VolumeGeometry

_MOST = 2**53
"""Up to here every whole number is a float."""

Box = Sequence[int] | NDArray[Any]


class Volume(VolumeViews):
    """A three-dimensional image: float32 voxels (z, y, x) in HU, for a CT.

    Made by :func:`carina.read` and :func:`read_volume`. As they read it, z counts
    up to the head, y to the back and x to the patient's left (``"LPS"``); the
    array's first slice is the lowest. Holds no names, identifiers or dates.

    Every step gives a new volume, whose :attr:`geometry` leads back to the volume
    as it was read.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Volume) -> None:
        self._core = core

    @classmethod
    def from_array(
        cls,
        voxels: ArrayLike,
        *,
        spacing: float | Sequence[float],
        origin: Sequence[float] = (0.0, 0.0, 0.0),
        direction: ArrayLike | None = None,
        modality: str = "",
    ) -> "Volume":
        """Make a volume of an array.

        Parameters
        ----------
        voxels : array-like of shape (z, y, x)
            Hounsfield units, for a CT.
        spacing : float or sequence of 3 floats
            Distance of the voxels along (z, y, x) in mm.
        origin : sequence of 3 floats, optional
            Centre of the first voxel, (x, y, z) in mm, LPS.
        direction : array-like of shape (3, 3), optional
            Rows: where the axes z, y, x point, as unit vectors (x, y, z). By
            default to the head, the back and the left.
        modality : str, optional
            As DICOM has it, ``"CT"`` for example.

        Raises
        ------
        ShapeError
            If there are not three dimensions, or the grid has other numbers.
        InvalidValueError
            If a voxel is NaN or infinite, or the grid impossible.
        """
        array = cube("volume", voxels, np.float32)
        axes = [[0, 0, 1], [0, 1, 0], [1, 0, 0]] if direction is None else direction
        grid = {
            "shape": list(array.shape),
            "spacing": numbers("spacing", spacing, (3,), spread=True).tolist(),
            "origin": numbers("origin", origin, (3,)).tolist(),
            "direction": numbers("direction", axes, (3, 3)).tolist(),
        }
        history = [f"array of {np.asarray(voxels).dtype.name}"]
        text = json.dumps(grid)
        return cls(_core.Volume(array, text, modality=modality, history=history))

    def with_voxels(self, voxels: ArrayLike) -> "Volume":
        """Put other values of the same shape, a mask for example, in this place.

        Raises
        ------
        ShapeError
            If the shape is not that of the volume.
        """
        return Volume(
            _core.Volume(
                cube("volume", voxels, np.float32),
                self._core.grid_json(),
                original=self._original(),
                history=[f"array of {np.asarray(voxels).dtype.name}"],
            )
        )

    def _original(self) -> str:
        return json.dumps(json.loads(self.geometry.to_json())["original"])

    def to_numpy(self) -> NDArray[np.float32]:
        """Return the voxels.

        Returns
        -------
        ndarray of shape (z, y, x), float32
            Read-only and without a copy: it shares the volume's memory.
        """
        return self._core.to_numpy()

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> NDArray[np.float32]:
        """Convert for numpy; see :meth:`to_numpy`."""
        voxels = self.to_numpy()
        if dtype is not None and np.dtype(dtype) != voxels.dtype:
            if copy is False:
                raise ValueError("a volume converts to another dtype only by a copy")
            return voxels.astype(dtype)
        return voxels.copy() if copy else voxels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        return self._core.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of the voxels along (z, y, x) in mm; always the true one."""
        return self._core.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel, (x, y, z) in mm, LPS."""
        return self._core.origin

    @property
    def direction(self) -> NDArray[np.float64]:
        """Where the axes z, y, x point: rows of unit vectors (x, y, z), LPS."""
        return np.asarray(self._core.direction, dtype=np.float64)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Matrix (4, 4) from the index (z, y, x, 1) of a voxel to (x, y, z, 1) in mm.

        The patient's axes are DICOM's: left, back, head (LPS).
        """
        return self._core.affine()

    @property
    def orientation(self) -> str:
        """Where x, y and z point, a letter each: ``"LPS"`` for left, back, head."""
        return self._core.orientation

    @property
    def modality(self) -> str:
        """DICOM modality (``"CT"``, …); empty when the file does not say."""
        return self._core.modality

    @property
    def history(self) -> list[str]:
        """What was done to the voxels, in order."""
        return self._core.history

    @property
    def geometry(self) -> VolumeGeometry:
        """The map between the volume as it was read and this one."""
        return VolumeGeometry(self._core.geometry)

    def reorient(self, orientation: str = "LPS") -> "Volume":
        """Turn the axes; voxels move, none is made up.

        Parameters
        ----------
        orientation : str, default="LPS"
            Where x, y and z are to point: one letter each of L or R, P or A, S or I.
        """
        return Volume(self._core.reorient(orientation))

    def resample(
        self,
        spacing: float | Sequence[float] | None = None,
        *,
        shape: Sequence[int] | None = None,
        nearest: bool = False,
    ) -> "Volume":
        """Give the same box other voxels.

        Parameters
        ----------
        spacing : float or sequence of 3 floats, optional
            Distance (z, y, x) in mm; whole voxels come as near to it as they can,
            and :attr:`spacing` says what it became.
        shape : sequence of 3 ints, optional
            Number of voxels (z, y, x) instead.
        nearest : bool, default=False
            Take the nearest voxel, for masks and labels, rather than interpolate
            trilinearly. Places are those of ``torch.nn.functional.interpolate``
            with ``align_corners=False`` (``"nearest-exact"``); nothing is smoothed.
        """
        if shape is not None and spacing is None:
            return Volume(self._core.resize(_three("shape", shape), nearest))
        if spacing is not None and shape is None:
            steps = numbers("spacing", spacing, (3,), spread=True).tolist()
            return Volume(self._core.resample(steps, nearest))
        raise InvalidValueError("resample: expected either spacing or shape")

    def crop(
        self,
        box: Box,
        *,
        size: Sequence[int] | None = None,
        fill: float = -1024.0,
    ) -> "Volume":
        """Cut out a box.

        Parameters
        ----------
        box : sequence of 6 ints
            (z0, y0, x0, z1, y1, x1) in voxels, the last ones not included.
        size : sequence of 3 ints, optional
            Grow the box evenly to at least this many voxels (z, y, x), as far as
            the volume goes, and resize what was cut out to exactly as many: the
            crop of M3FM [1]_. Without it the box is cut as it is.
        fill : float, default=-1024
            The value beyond the volume, air by default.

        References
        ----------
        .. [1] Niu et al., "Medical multimodal multitask foundation model for lung
           cancer screening", Nature Communications, 2025.
        """
        edges = _whole("box", box, 6)
        if size is None:
            return Volume(self._core.crop(edges, fill))
        return Volume(self._core.crop_resize(edges, _three("size", size)))

    def window(self, window: str | Sequence[float]) -> "Volume":
        """Map a window of Hounsfield units to [0, 1] and clip outside it.

        Parameters
        ----------
        window : str or sequence of 2 floats
            A name (:func:`hu_windows` lists them) or the lowest and highest value.
        """
        if isinstance(window, str):
            return Volume(self._core.window(name=window))
        return Volume(self._core.window(ends=interval("window", window)))

    def tiles(
        self, size: Sequence[int], *, overlap: float = 0.0, fill: float = -1024.0
    ) -> Iterator["Volume"]:
        """Cut the volume into tiles of one size that cover it, one after the other.

        Parameters
        ----------
        size : sequence of 3 ints
            Voxels of a tile (z, y, x).
        overlap : float, default=0
            The part of its length, from 0 up to 1, that a tile shares with the next
            one at least.
        fill : float, default=-1024
            The value where the volume is smaller than a tile.

        Yields
        ------
        Volume
            Each with the geometry that leads back to the volume as it was read.
        """
        boxes = self._core.tiles(_three("size", size), overlap)
        return (Volume(self._core.crop(box, fill)) for box in boxes)

    def organs(self) -> Organs:
        """Find the lungs and the heart of a chest CT, without a learnt model.

        Returns
        -------
        Organs
            Boxes of the ``"left_lung"``, ``"right_lung"``, ``"lungs"`` and
            ``"heart"``, and masks of the lungs. Lung that is dense (consolidation,
            effusion) is not found, so such boxes may be small; the heart has only a
            box, the soft tissue between the lungs.

        Raises
        ------
        InvalidValueError
            If the values cannot be Hounsfield units.
        """
        labels, boxes = self._core.organs()
        return Organs(labels, boxes, self._core.grid_json())

    def save(self, path: PathLike) -> None:
        """Write a NIfTI file; integers of up to 16 bits as int16, others as float32.

        Parameters
        ----------
        path : path-like
            A name that ends in ``.nii`` or ``.nii.gz``; the file is either whole or
            absent.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        self._core.save(Path(path))

    def __repr__(self) -> str:
        parts = [" x ".join(map(str, self.shape))]
        if self.modality:
            parts.append(self.modality)
        parts.append(" x ".join(f"{step:.4g}" for step in self.spacing) + " mm")
        parts.append(self.orientation)
        return f"Volume({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {
            "original": self._original(),
            "modality": self.modality,
            "history": self.history,
        }
        return _rebuild, (np.array(self.to_numpy()), self._core.grid_json(), facts)


def _rebuild(voxels: NDArray[np.float32], grid: str, facts: dict[str, Any]) -> Volume:
    return Volume(_core.Volume(voxels, grid, **facts))


def _whole(what: str, values: Any, count: int) -> list[int]:
    array = numbers(what, values, (count,))
    if (array != np.round(array)).any() or (np.abs(array) > _MOST).any():
        raise InvalidValueError(
            f"{what}: expected {count} whole numbers, found {values!r}"
        )
    return [int(value) for value in array]


def _three(what: str, values: Any) -> list[int]:
    sides = _whole(what, values, 3)
    if min(sides) < 1:
        raise InvalidValueError(f"{what}: expected sides of at least 1, found {sides}")
    return sides


def hu_windows() -> dict[str, tuple[float, float]]:
    """Return the windows of Hounsfield units that have a name: lowest and highest."""
    return dict(_core.hu_windows())
