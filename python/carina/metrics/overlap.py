"""Overlap of masks and of boxes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina.errors import ShapeError


def dice(y_true: ArrayLike, y_pred: ArrayLike, *, empty: float = np.nan) -> float:
    """Dice overlap of two masks.

    Parameters
    ----------
    y_true, y_pred : array-like of bool, of equal shape
        The masks; non-zero is inside.
    empty : float, default=nan
        The value when both are empty. When one is, it is zero.
    """
    return _overlap("dice", y_true, y_pred, empty)


def iou(y_true: ArrayLike, y_pred: ArrayLike, *, empty: float = np.nan) -> float:
    """Intersection over union of two masks; parameters as for :func:`dice`."""
    return _overlap("iou", y_true, y_pred, empty)


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of `a` with every box of `b`.

    Parameters
    ----------
    a : array-like of shape (n, 4)
        Left, top, right, bottom, in any unit.
    b : array-like of shape (m, 4)
        As `a`.

    Returns
    -------
    ndarray of shape (n, m)
        Zero where a box has no area.
    """
    boxes = [np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (a, b)]
    table: NDArray[np.float64] = _core.box_iou(*boxes)
    return table


def _overlap(kind: str, y_true: ArrayLike, y_pred: ArrayLike, empty: float) -> float:
    a, b = np.asarray(y_true).astype(bool), np.asarray(y_pred).astype(bool)
    if a.shape != b.shape:
        raise ShapeError(
            f"y_pred: expected shape {a.shape}, as y_true, got {list(b.shape)}"
        )
    return float(_core.mask_overlap(kind, a.ravel(), b.ravel(), empty))
