"""Lungs and heart, as found in a chest CT."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carina.errors import InvalidValueError


class Organs:
    """Organs found in a volume, in its own voxels.

    Attributes
    ----------
    boxes : dict of str to tuple or None
        (z0, y0, x0, z1, y1, x1), the last ones not included; None where not found.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        boxes: dict[str, Sequence[int] | None],
        grid: str,
    ) -> None:
        self._labels = labels
        self._grid = grid  # of the volume, as JSON: elsewhere they mean nothing
        self.boxes = {
            name: None if box is None else tuple(box) for name, box in boxes.items()
        }

    def mask(self, organ: str) -> NDArray[np.bool_]:
        """Return the mask of a lung or of both.

        Parameters
        ----------
        organ : {"left_lung", "right_lung", "lungs"}

        Returns
        -------
        ndarray of shape (z, y, x), bool
        """
        numbers = {"right_lung": (1,), "left_lung": (2,), "lungs": (1, 2)}
        if organ not in numbers:
            raise InvalidValueError(
                f"organ: expected one of {', '.join(numbers)}, found {organ!r}"
            )
        return np.isin(self._labels, numbers[organ])

    def __repr__(self) -> str:
        found = [f"{name} {box}" for name, box in self.boxes.items() if box is not None]
        return f"Organs({', '.join(found) or 'none found'})"
