"""Arrays from users, checked before the core sees them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.errors import InvalidValueError, ShapeError

_FARTHEST = 1e15
"""Beyond it a coordinate is no place, and products of it would overflow."""


def plane(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return `values` as two dimensions of `dtype`, or say what they are."""
    return _grid(what, values, dtype, "rows, columns")


def cube(what: str, values: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Return `values` as three dimensions of `dtype`, or say what they are."""
    return _grid(what, values, dtype, "z, y, x")


def _grid(what: str, values: ArrayLike, dtype: Any, axes: str) -> NDArray[Any]:
    array = _array(what, values)
    if array.ndim != len(axes.split(", ")):
        raise ShapeError(f"{what}: expected shape ({axes}), got {list(array.shape)}")
    if array.dtype.kind not in "buif":
        raise InvalidValueError(f"{what}: expected numbers, found dtype {array.dtype}")
    if dtype is np.bool_:
        return binary(what, array)
    with np.errstate(over="ignore"):  # what overflows is reported as infinite
        return np.asarray(array, dtype=dtype)


def binary(what: str, array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of booleans, or of numbers that are all 0 or 1."""
    if array.dtype == bool:
        return array
    other = array[(array != 0) & (array != 1)]
    if other.size:
        raise InvalidValueError(
            f"{what}: expected booleans, or numbers that are all 0 or 1, found "
            f"{other[0]}: make probabilities a mask by a threshold first"
        )
    return array.astype(np.bool_)


def numbers(
    what: str, values: ArrayLike, shape: tuple[int, ...], *, spread: bool = False
) -> NDArray[np.float64]:
    """Return finite numbers of one shape; with `spread`, one may stand for all."""
    array = doubles(what, values)
    if spread and array.ndim == 0:
        array = np.broadcast_to(array, shape)
    if array.shape != shape:
        raise ShapeError(
            f"{what}: expected shape {list(shape)}, got {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise InvalidValueError(
            f"{what}: expected finite numbers, found {array.tolist()}"
        )
    return array


def interval(what: str, ends: Any) -> tuple[float, float]:
    """Return two finite numbers, the first below the second."""
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise InvalidValueError(
            f"{what}: expected (low, high), found {ends!r}"
        ) from None
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InvalidValueError(
            f"{what}: expected low < high, found {low:g} and {high:g}"
        )
    return low, high


def points_by_rows(
    call: Callable[[NDArray[np.float64], bool], NDArray[np.float64]],
    values: ArrayLike,
    width: int,
    *,
    back: bool,
) -> NDArray[np.float64]:
    """Map one point of `width` numbers, or many, by a call that takes many."""
    return _by_rows(call, doubles("points", values), width, back)


def boxes_by_rows(
    call: Callable[[NDArray[np.float64], bool], NDArray[np.float64]],
    values: ArrayLike,
    width: int,
    *,
    back: bool,
) -> NDArray[np.float64]:
    """Map one box of `width` edges, or many, by a call that takes many."""
    table = doubles("boxes", values)
    wrong = table[~(np.abs(table) <= _FARTHEST)]
    # Clipping would make a box of what is none.
    if wrong.size:
        raise InvalidValueError(
            f"boxes: expected finite edges, at most {_FARTHEST:g} away, found "
            f"{wrong[0]}"
        )
    return _by_rows(call, table, width, back)


def _by_rows(
    call: Callable[[NDArray[np.float64], bool], NDArray[np.float64]],
    table: NDArray[np.float64],
    width: int,
    back: bool,
) -> NDArray[np.float64]:
    if table.ndim not in (1, 2):
        raise ShapeError(
            f"expected shape ({width},) or (N, {width}), got {list(table.shape)}"
        )
    return call(np.atleast_2d(table), back).reshape(table.shape)


def _array(what: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):  # numpy's, of rows that differ in length
        raise InvalidValueError(
            f"{what}: expected an array of numbers, found {type(values).__name__}"
        ) from None


def doubles(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return `values` as numbers, or say what they are."""
    array = _array(what, values)
    try:
        if array.dtype.kind not in "buifO":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidValueError(
            f"{what}: expected numbers, found dtype {array.dtype}"
        ) from None


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
