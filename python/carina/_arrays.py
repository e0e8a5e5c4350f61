"""Arrays from users, checked before the core sees them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.errors import ShapeError


def plane(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return `values` as two dimensions of `dtype`, or say what they are."""
    array = np.asarray(values)
    if array.ndim != 2:
        raise ShapeError(
            f"{what}: expected shape (rows, columns), got {list(array.shape)}"
        )
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        return np.asarray(array, dtype=dtype)
