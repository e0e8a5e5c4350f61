"""Labels in any of the forms that people keep them in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina._arrays import is_frame
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError
from carina.metrics._checks import floats


@dataclass(frozen=True)
class _Column:
    """One label with its name, as a column of a data frame has it."""

    name: str
    values: NDArray[Any]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.values, dtype=dtype)


def is_named(y: Any) -> bool:
    return isinstance(y, Mapping) or is_frame(y)


def column_names(y: Any) -> list[str]:
    return [str(name) for name in (y if isinstance(y, Mapping) else y.columns)]


def column_of(y: Any, name: str) -> Any:
    keys = list(y) if isinstance(y, Mapping) else list(y.columns)
    return y[next(key for key in keys if str(key) == name)]


def own_truth(X: Any, y: Any, groups: Any = None) -> tuple[Any, Any]:
    """Labels and patients: those given, else those that a data set brings along.

    A data set's own label matrix gets its names back, which arrays do not have.
    """
    if not isinstance(X, Dataset):
        if y is None:
            msg = "y: found None, expected labels; only a Dataset brings its own"
            raise InvalidValueError(msg)
        return y, groups
    groups = X.patients if groups is None else groups
    own = isinstance(y, np.ndarray) and np.array_equal(y, X.labels, equal_nan=True)
    if y is not None and not own:
        return y, groups
    if not X.findings:
        raise InvalidValueError("dataset: found no findings; give y=…")
    if y is None and len(X.findings) == 1:
        return _Column(X.findings[0], X.labels[:, 0]), groups
    return dict(zip(X.findings, X.labels.T, strict=True)), groups


def read_labels(
    y: Any,
) -> tuple[NDArray[np.float64], tuple[str, ...], NDArray[Any] | None]:
    """Labels (n, L), their names, and the two classes where there is one label."""
    if is_named(y):
        names = column_names(y)
        if not names:
            raise ShapeError("y: expected at least one column, got none")
        columns = [floats(column_of(y, n), f"y: column {n!r}") for n in names]
        if any(c.ndim != 1 or len(c) != len(columns[0]) for c in columns):
            shapes = [list(c.shape) for c in columns]
            raise ShapeError(f"y: expected columns of equal length, got {shapes}")
        return np.stack(columns, axis=1), tuple(names), None
    name = getattr(y, "name", None)
    array = labels_of(y)
    if array.ndim == 2:
        try:
            labels = np.ascontiguousarray(array, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"y: not an array of labels: {error}") from error
        return labels, tuple(f"label_{i}" for i in range(array.shape[1])), None
    if array.ndim != 1 or len(array) == 0:
        raise ShapeError(
            f"y: expected shape (n,) or (n, labels) with n > 0, got {list(array.shape)}"
        )
    classes = _classes(array)
    return (
        codes_of(array, classes)[:, None],
        (str(name) if name is not None else "label",),
        classes,
    )


def labels_of(y: Any) -> NDArray[Any]:
    """Return labels as an array; texts beside a missing value stay texts."""
    try:
        array = np.asarray(y)
        # numpy would write NaN out as one more text.
        if array.dtype.kind == "U" and isinstance(y, list | tuple) and array.ndim == 1:
            array = array if all(isinstance(v, str) for v in y) else np.array(y, "O")
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"y: not an array of labels: {error}") from error
    return array


def _missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark what is unknown: NaN, None, and what pandas has for them."""
    if array.dtype.kind == "f":
        empty: NDArray[np.bool_] = np.isnan(array)
        return empty
    if array.dtype.kind != "O":
        return np.zeros(len(array), dtype=bool)
    # NA compared with itself is NA, which is neither true nor false.
    return np.array(
        [v is None or type(v).__name__ == "NAType" or v != v for v in array], dtype=bool
    )


def _classes(array: NDArray[Any]) -> NDArray[Any]:
    """Return the two classes of one label; 0 and 1 unless it has others."""
    found = array[~_missing(array)]
    known = np.unique(np.array(found.tolist()) if found.dtype.kind == "O" else found)
    if known.dtype.kind == "b":
        return np.array([False, True])
    if known.dtype.kind in "iuf" and np.isin(known, (0, 1, -1)).all():
        return np.array([0, 1])
    if len(known) != 2:
        raise InvalidValueError(
            f"y: found {len(known)} classes, expected 2; for more, give one column each"
        )
    return known


def codes_of(array: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.float64]:
    """Labels 0 and 1 of one label's classes; numbers keep -1 and NaN."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(f"y: expected shape (n,), got {list(array.shape)}")
    labels = np.full(len(array), np.nan)
    known = ~_missing(array)
    if classes.dtype.kind in "iu" and classes.tolist() == [0, 1]:
        try:
            labels[known] = array[known].astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"y: not an array of labels: {error}") from error
        return labels
    if set(array[known].tolist()) - set(classes.tolist()):
        raise InvalidValueError(
            f"y: found a class that the fit did not see, expected {classes.tolist()}"
        )
    labels[known] = array[known] == classes[1]
    return labels
