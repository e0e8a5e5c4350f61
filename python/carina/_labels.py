"""Labels in any of the forms that people keep them in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina._arrays import is_frame
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError


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
    if (y is None or own) and len(X.findings) > 1:
        return dict(zip(X.findings, X.labels.T, strict=True)), groups
    return (X.labels[:, 0] if y is None else y), groups


def read_labels(
    y: Any,
) -> tuple[NDArray[np.float64], tuple[str, ...], NDArray[Any] | None]:
    """Labels (n, L), their names, and the two classes where there is one label."""
    if is_named(y):
        names = column_names(y)
        if not names:
            raise ShapeError("y: expected at least one column, got none")
        columns = [np.asarray(column_of(y, n), dtype=np.float64) for n in names]
        if any(c.ndim != 1 or len(c) != len(columns[0]) for c in columns):
            shapes = [list(c.shape) for c in columns]
            raise ShapeError(f"y: expected columns of equal length, got {shapes}")
        return np.stack(columns, axis=1), tuple(names), None
    name = getattr(y, "name", None)
    array = np.asarray(y)
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


def _classes(array: NDArray[Any]) -> NDArray[Any]:
    """Return the two classes of one label; 0 and 1 unless it has others."""
    if array.dtype.kind == "b":
        return np.array([False, True])
    if array.dtype.kind in "iuf":
        known = np.unique(array[~np.isnan(array)])
        if np.isin(known, (0, 1, -1)).all():
            return np.array([0, 1])
    else:
        known = np.unique(array)
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
    if classes.dtype.kind in "iu" and classes.tolist() == [0, 1]:
        try:
            return np.asarray(array, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"y: not an array of labels: {error}") from error
    strange = set(np.unique(array).tolist()) - set(classes.tolist())
    if strange:
        raise InvalidValueError(
            f"y: found a class that the fit did not see, expected {classes.tolist()}"
        )
    labels: NDArray[np.float64] = (array == classes[1]).astype(np.float64)
    return labels
