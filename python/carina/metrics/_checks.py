"""Arguments of metrics, checked and brought to one form."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.errors import InvalidValueError, ShapeError

Policy = Literal["ignore", "zeros", "ones"]
Average = Literal["macro"] | None


class UndefinedMetricWarning(UserWarning):
    """A metric has no value on these rows; the text says why."""


def floats(values: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what}: not an array of numbers: {error}") from error


def vector(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = floats(values, what)
    if array.ndim != 1:
        raise ShapeError(f"{what}: expected shape (n,), got {list(array.shape)}")
    return array


def pair(
    y_true: ArrayLike, y_score: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Truth and scores as (n, findings), and whether they came as (n,)."""
    truth, score = floats(y_true, "y_true"), floats(y_score, "y_score")
    if truth.ndim not in (1, 2):
        raise ShapeError(
            f"y_true: expected shape (n,) or (n, findings), got {list(truth.shape)}"
        )
    if score.shape != truth.shape:
        raise ShapeError(
            f"y_score: expected shape {truth.shape}, as y_true, got {list(score.shape)}"
        )
    if truth.ndim == 1:
        return truth[:, None], score[:, None], True
    return truth, score, False


def codes(groups: ArrayLike | None, rows: int) -> NDArray[np.int64]:
    """Return a whole number for each row's patient."""
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    names = np.asarray(groups)
    if names.shape != (rows,):
        raise ShapeError(f"groups: expected shape ({rows},), got {list(names.shape)}")
    for row, name in enumerate(names.tolist()):
        if name is None or name != name:
            raise InvalidValueError(f"groups: row {row} is missing, expected a patient")
    if names.dtype.kind == "O":
        names = names.astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64).ravel()
