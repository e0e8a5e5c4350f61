"""What a data set hands out while it is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carina import _core


@dataclass(frozen=True)
class RowError:
    """A film that could not be prepared: the study's index, and why."""

    index: int
    message: str


@dataclass(frozen=True)
class Batch:
    """Films of equal shape.

    Attributes
    ----------
    indices : ndarray of shape (B,), int64
        For each row, the study's index in the data set.
    pixels : ndarray of shape (B, C, H, W), float32
    failures : list of RowError
        The films that could not be prepared; they have no row.
    """

    indices: NDArray[np.int64]
    pixels: NDArray[np.float32]
    failures: list[RowError]

    def __repr__(self) -> str:
        shape = " x ".join(str(side) for side in self.pixels.shape)
        return f"Batch({shape}, {len(self.failures)} failures)"


def read_batches(epoch: _core.Batches) -> Iterator[Batch]:
    """Yield the batches of an epoch as the core finishes them."""
    while (batch := epoch.next()) is not None:
        indices, pixels, failed = batch
        yield Batch(
            np.array(indices, dtype=np.int64),
            pixels,
            [RowError(*row) for row in failed],
        )
