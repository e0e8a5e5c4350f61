"""Arrays from users, checked before the core sees them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.errors import InvalidValueError, ShapeError


def plane(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return `values` as two dimensions of `dtype`, or say what they are."""
    array = np.asarray(values)
    if array.ndim != 2:
        raise ShapeError(
            f"{what}: expected shape (rows, columns), got {list(array.shape)}"
        )
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        return np.asarray(array, dtype=dtype)


def cube(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return `values` as three dimensions of `dtype`, or say what they are."""
    array = np.asarray(values)
    if array.ndim != 3:
        raise ShapeError(f"{what}: expected shape (z, y, x), got {list(array.shape)}")
    if array.dtype.kind not in "buif":
        raise InvalidValueError(f"{what}: expected numbers, found dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        return np.asarray(array, dtype=dtype)


def by_rows(
    call: Callable[[NDArray[np.float64], bool], NDArray[np.float64]],
    values: ArrayLike,
    width: int,
    *,
    back: bool,
) -> NDArray[np.float64]:
    """Map one row of `width` numbers, or many, by a call that takes many."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (1, 2):
        raise ShapeError(
            f"expected shape ({width},) or (N, {width}), got {list(table.shape)}"
        )
    return call(np.atleast_2d(table), back).reshape(table.shape)


def is_frame(table: Any) -> bool:
    """Say whether `table` is a data frame, of pandas, polars or ours."""
    return hasattr(table, "columns") and hasattr(table, "to_numpy")


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values in [0, 1] of logits of any size, without overflow."""
    # Both branches see only what they can hold.
    small = np.exp(-np.abs(logits))
    scores: NDArray[np.float64] = np.where(logits >= 0, 1, small) / (1 + small)
    return scores


def places(ids: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return where each of the `wanted` ids stands; errors name no id."""
    known = {name: place for place, name in enumerate(ids)}
    found = [known[name] for name in wanted if name in known]
    if len(found) < len(wanted):
        raise InvalidValueError(
            f"index: found {len(wanted) - len(found)} ids that the data set does not "
            f"have, expected {len(wanted)} of its own"
        )
    return found


def place(index: int, count: int) -> int:
    """Return where the element of an index stands, which may count from the end."""
    if not -count <= index < count:
        # IndexError is what ends iteration over a sequence.
        raise IndexError(f"index: found {index}, expected below {count}")
    return index % count


def chosen(index: Any, count: int, ids: Callable[[], Sequence[str]]) -> list[int]:
    """Return where the elements stand that booleans, integers or ids choose."""
    wanted = np.asarray(index)
    if wanted.ndim == 1 and wanted.dtype == bool:
        if len(wanted) != count:
            raise InvalidValueError(
                f"mask: expected {count} booleans, found {len(wanted)}"
            )
        return np.flatnonzero(wanted).tolist()
    if wanted.ndim == 1 and (wanted.dtype.kind in "iu" or wanted.size == 0):
        return [place(int(i), count) for i in wanted]
    if wanted.ndim == 1 and all(isinstance(name, str) for name in wanted):
        return places(ids(), wanted.tolist())
    raise InvalidValueError(
        "index: expected an int, a slice, or booleans, integers or ids (n,), "
        f"found {type(index).__name__}"
    )
