"""Planes through a volume, as a reading room holds them."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carina.errors import InvalidValueError
from carina.organs import Organs
from carina.rendering.overlays import Overlays
from carina.rendering.paint import Pixels, paint
from carina.rendering.picture import Panel

if TYPE_CHECKING:
    from carina.volume import Volume

# For each plane: the axis it is cut from, those of its rows and columns (of a volume
# whose axes point to head, back and left), and the patient's ends around it.
PLANES = {
    "axial": (0, (1, 2), "RLAP"),
    "coronal": (1, (0, 2), "RLSI"),
    "sagittal": (2, (0, 1), "APSI"),
}
_AXES = ("SI", "PA", "LR")


class Planes:
    """A volume seen with its axes pointing to head, back and left; nothing is copied.

    Attributes
    ----------
    spacing, shape : tuple
        Along (head, back, left).
    """

    def __init__(self, volume: "Volume", overlays: Overlays) -> None:
        self._volume = volume
        self._overlays = overlays
        letters = volume.orientation[::-1]  # of the axes z, y, x
        self._order = [
            next(axis for axis in range(3) if letters[axis] in ends) for ends in _AXES
        ]
        self._turned = [letters[axis] in "IAR" for axis in self._order]
        self.shape = tuple(volume.shape[axis] for axis in self._order)
        self.spacing = tuple(volume.spacing[axis] for axis in self._order)
        self._voxels = self._standing(volume.to_numpy())
        self._masks = [
            (layer, self._standing(mask))
            for layer in overlays.layers
            for mask in layer.masks
        ]
        self._boxes = [
            (layer, self._standing_box(box))
            for layer in overlays.layers
            for box in layer.boxes
        ]

    def _standing(self, array: NDArray[Any]) -> NDArray[Any]:
        flips = tuple(slice(None, None, -1 if turn else 1) for turn in self._turned)
        return array.transpose(self._order)[flips]

    def _standing_box(self, box: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = box[:3][self._order], box[3:][self._order]
        size = np.array(self.shape)
        return np.concatenate(
            [
                np.where(self._turned, size - high, low),
                np.where(self._turned, size - low, high),
            ]
        )

    def place(self, voxel: Sequence[int]) -> list[int]:
        """Turn the index (z, y, x) of a voxel to (head, back, left)."""
        return [
            self.shape[i] - 1 - voxel[axis] if turn else voxel[axis]
            for i, (axis, turn) in enumerate(
                zip(self._order, self._turned, strict=True)
            )
        ]

    def between(self, plane: str, slices: Sequence[int] | None) -> tuple[int, int]:
        """Turn a first slice and one after the last, as the array counts them."""
        across = PLANES[plane][0]
        count = self.shape[across]
        if slices is None:
            return 0, count
        ends = np.asarray(slices)
        if (
            ends.shape != (2,)
            or ends.dtype.kind not in "iu"
            or not 0 <= ends[0] < ends[1] <= count
        ):
            raise InvalidValueError(
                f"between: expected two slices from 0 up to {count}, found {slices!r}"
            )
        first, last = int(ends[0]), int(ends[1])
        return (count - last, count - first) if self._turned[across] else (first, last)

    def panel(
        self,
        plane: str,
        index: int,
        scale: Sequence[float],
        ends: tuple[float, float],
        drawn: set[str],
    ) -> Panel:
        """Paint a plane and add the names of what was drawn over it to `drawn`."""
        across, rows_columns, edges = PLANES[plane]
        boxes = [
            (layer, self._flat(plane, box))
            for layer, box in self._boxes
            if box[across] < index + 1
            and index < box[3 + across]
            and (box[:3] < self.shape).all()
            and (box[3:] > 0).all()
        ]
        masks = [(layer, self._cut(plane, mask, index)) for layer, mask in self._masks]
        masks = [(layer, mask) for layer, mask in masks if mask.any()]
        drawn.update(layer.name for layer, _ in (*boxes, *masks))
        pixels: Pixels = paint(
            self._cut(plane, self._voxels, index),
            [scale[axis] for axis in rows_columns],
            ends,
            boxes=[(layer.colour, box) for layer, box in boxes],
            masks=[(layer.colour, mask) for layer, mask in masks],
            warmth=self._overlays.warmth(
                lambda whole: self._cut(plane, self._standing(whole), index)
            ),
        )
        down, right = rows_columns
        return Panel(
            pixels,
            self._title(plane, index),
            edges,
            (*self._ends(right), *self._ends(down, up=down != 0)),
            (self.spacing[down], self.spacing[right]),
        )

    def _cut(self, plane: str, array: NDArray[Any], index: int) -> NDArray[Any]:
        across = PLANES[plane][0]
        cut: NDArray[Any] = np.take(array, index, axis=across)
        return cut if across == 0 else cut[::-1]  # the head is at the top

    def _flat(self, plane: str, box: NDArray[np.float64]) -> NDArray[np.float64]:
        _, (down, right), _ = PLANES[plane]
        low, high = box[:3], box[3:]
        top, bottom = low[down], high[down]
        if down == 0:
            top, bottom = self.shape[0] - bottom, self.shape[0] - top
        return np.array([top, low[right], bottom, high[right]])

    def _ends(self, axis: int, *, up: bool = False) -> tuple[float, float]:
        """Give where an axis begins and ends in the volume's own array."""
        ends = (0.0, float(self.shape[axis]))
        return ends[::-1] if self._turned[axis] != up else ends

    def _title(self, plane: str, index: int) -> str:
        across = PLANES[plane][0]
        own = self._order[across]
        at = self.shape[across] - 1 - index if self._turned[across] else index
        voxel = [(count - 1) / 2 for count in self._volume.shape]
        voxel[own] = at
        millimetres = (self._volume.affine @ [*voxel, 1.0])[2 - across]
        letter = _AXES[across][int(millimetres < 0)]
        return f"{plane}, {'zyx'[own]} = {at} ({letter} {abs(millimetres):.1f} mm)"


def check_plane(plane: str) -> str:
    """Return the name of a plane."""
    if plane not in PLANES:
        raise InvalidValueError(
            f"plane: expected one of {', '.join(PLANES)}, found {plane!r}"
        )
    return plane


def check_own(volume: "Volume", what: str, given: Any) -> None:
    """Refuse organs that were found in a volume of another grid."""
    if not isinstance(given, Organs):
        return
    theirs, ours = json.loads(given._grid), json.loads(volume._core.grid_json())
    if not _same(theirs, ours):
        raise InvalidValueError(
            f"{what}: expected the Organs of this very volume, found those of one of "
            f"{theirs['shape']} voxels that lies elsewhere; map them by the geometry"
        )


def onto(volume: "Volume", what: str, given: Any) -> NDArray[Any]:
    """Return a mask or heat map in the voxels of `volume`.

    An array is taken as it is; a volume is mapped through its geometry, when both
    came from the same grid.
    """
    if not hasattr(given, "geometry"):
        return np.asarray(given)
    theirs, ours = (json.loads(v._core.grid_json()) for v in (given, volume))
    if _same(theirs, ours):
        return np.asarray(given.to_numpy())
    read, original = (
        json.loads(v.geometry.to_json())["original"] for v in (given, volume)
    )
    if not _same(read, original):
        raise InvalidValueError(
            f"{what}: lies on a grid of {read['shape']} voxels that is not that of the "
            f"picture, nor of the volume as it was read, {original['shape']}"
        )
    if what == "mask":
        whole = given.geometry.mask_to_original(given.to_numpy())
        return np.asarray(volume.geometry.mask_to_model(whole))
    whole = given.geometry.heatmap_to_original(given.to_numpy())
    if not _same(ours, original):
        raise InvalidValueError(
            "heat map: lies on the grid of another step, expected that of the picture "
            "or a picture of the volume as it was read"
        )
    return np.asarray(whole)


def _same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Say whether two grids are one, to a thousandth of a millimetre."""
    return one["shape"] == two["shape"] and all(
        np.allclose(one[key], two[key], rtol=0, atol=1e-3 if key == "origin" else 1e-5)
        for key in ("spacing", "origin", "direction")
    )
