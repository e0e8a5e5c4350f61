"""Measures of ranked lists."""

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina.errors import ShapeError
from carina.metrics._checks import UndefinedMetricWarning, floats


def ndcg(
    y_true: ArrayLike,
    y_score: ArrayLike | None = None,
    *,
    k: int | None = None,
    gain: Literal["exponential", "linear"] = "exponential",
    pool: ArrayLike | None = None,
) -> float:
    """Normalised discounted cumulative gain at `k`, the mean over queries.

    Parameters
    ----------
    y_true : array-like of shape (items,) or (queries, items)
        Relevance grades, 0 to 64.
    y_score : array-like of the same shape, optional
        Scores to rank by; without it the items are in ranked order. Items of
        equal score share their gains.
    k : int, optional
        How many items count; all by default.
    gain : {"exponential", "linear"}, default="exponential"
        ``2**grade - 1``, or the grade itself as in scikit-learn.
    pool : array-like of shape (graded,) or (queries, graded), optional
        Grades of all graded items, for the ideal list; by default `y_true`.

    Returns
    -------
    float
        Queries without relevant items are left out; NaN when there is no other.

    References
    ----------
    .. [1] Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR
       techniques", ACM TOIS 20, 2002.
    """
    grades, scores = _lists(y_true, y_score)
    pools = grades if pool is None else np.atleast_2d(np.asarray(pool, np.float64))
    if len(pools) != len(grades):
        raise ShapeError(
            f"pool: expected shape ({len(grades)}, graded), got {list(pools.shape)}"
        )
    depth = grades.shape[1] if k is None else k
    return _mean(
        "ndcg",
        [
            _core.ndcg(g, s, np.ascontiguousarray(p), depth, gain)
            for g, s, p in zip(grades, scores, pools, strict=True)
        ],
    )


def precision_at_k(
    y_true: ArrayLike, y_score: ArrayLike | None = None, *, k: int
) -> float:
    """Share of relevant items (grade above 0) among the first `k`.

    The mean over queries; a list shorter than `k` counts as misses. Parameters
    are those of :func:`ndcg`.
    """
    return _hits("precision", y_true, y_score, k, None)


def recall_at_k(
    y_true: ArrayLike,
    y_score: ArrayLike | None = None,
    *,
    k: int,
    relevant: ArrayLike | None = None,
) -> float:
    """Share of relevant items that are among the first `k`, the mean over queries.

    Parameters
    ----------
    y_true, y_score
        As for :func:`ndcg`.
    k : int
        How many items count.
    relevant : int or array-like of shape (queries,), optional
        Relevant items in all, where `y_true` is only the top of the list.
    """
    return _hits("recall", y_true, y_score, k, relevant)


def retrieval_average_precision(
    y_true: ArrayLike,
    y_score: ArrayLike | None = None,
    *,
    k: int | None = None,
    relevant: ArrayLike | None = None,
) -> float:
    """Mean precision at the ranks of relevant items, the mean over queries (mAP@k).

    Parameters are those of :func:`recall_at_k`; items of equal score keep their
    order.
    """
    return _hits("average_precision", y_true, y_score, k, relevant)


def _hits(
    kind: str,
    y_true: ArrayLike,
    y_score: ArrayLike | None,
    k: int | None,
    relevant: ArrayLike | None,
) -> float:
    grades, scores = _lists(y_true, y_score)
    depth = grades.shape[1] if k is None else k
    if relevant is None:
        totals = (grades > 0).sum(axis=1)
    else:
        totals = np.broadcast_to(np.asarray(relevant, dtype=np.int64), len(grades))
    return _mean(
        f"{kind} at k",
        [
            _core.hits_at(kind, g, s, depth, int(t))
            for g, s, t in zip(grades, scores, totals, strict=True)
        ],
    )


def _mean(name: str, values: list[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    if not kept:
        warnings.warn(
            f"{name} is undefined: no relevant item in any query",
            UndefinedMetricWarning,
            stacklevel=4,
        )
        return float("nan")
    return float(np.mean(kept))


def _lists(
    y_true: ArrayLike, y_score: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    grades = np.atleast_2d(floats(y_true, "y_true"))
    if y_score is None:
        order = -np.arange(grades.shape[1], dtype=np.float64)
        return grades, np.ascontiguousarray(np.broadcast_to(order, grades.shape))
    scores = np.atleast_2d(floats(y_score, "y_score"))
    if scores.shape != grades.shape or grades.ndim != 2:
        raise ShapeError(
            f"y_score: expected shape {grades.shape}, as y_true, "
            f"got {list(scores.shape)}"
        )
    return grades, scores
