"""Means with patient-clustered intervals, several from the same resamples."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina.errors import InvalidValueError
from carina.metrics import Interval
from carina.metrics._checks import codes


def clustered_means(
    values: ArrayLike,
    groups: ArrayLike | None,
    *,
    combine: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval]:
    """Take the mean of each column of `values` (rows, columns), NaN left out.

    Patients are drawn with replacement. `combine` makes further numbers of the means,
    an array (means,) of an array (columns,); they get intervals from the same draws.
    """
    table = np.asarray(values, dtype=np.float64)
    if n < 1:
        raise InvalidValueError(f"n: got {n} resamples, expected at least 1")
    patients = codes(groups, len(table))
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)

    def means(counts: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(invalid="ignore", divide="ignore"):
            each = counts @ filled / (counts @ known)
        return np.concatenate([each, combine(each)]) if combine else each

    whole = means(np.ones(len(table)))
    drawn = np.array([means(_core.resample(patients, seed, i)) for i in range(n)])
    clusters = len(np.unique(patients))
    rows = [*known.sum(axis=0), *[len(table)] * (len(whole) - table.shape[1])]
    out = []
    for column, value in enumerate(whole):
        kept = drawn[~np.isnan(drawn[:, column]), column]
        low = high = float("nan")
        if len(kept) and not np.isnan(value):
            tail = (1 - level) / 2
            low, high = (float(q) for q in np.quantile(kept, [tail, 1 - tail]))
        out.append(
            Interval(
                float(value),
                low,
                high,
                level,
                int(rows[column]),
                clusters,
                n,
                n - len(kept),
            )
        )
    return out
