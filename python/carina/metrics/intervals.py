"""Intervals and tests: the patient-clustered bootstrap, and DeLong."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.metrics import findings
from carina.metrics._checks import Average, Policy, codes, pair, vector

_NAMES: dict[Any, str] = {
    findings.auroc: "auroc",
    findings.auprc: "auprc",
    findings.accuracy: "accuracy",
    findings.sensitivity: "sensitivity",
    findings.specificity: "specificity",
    findings.ppv: "ppv",
    findings.npv: "npv",
    findings.f1: "f1",
    findings.brier: "brier",
    findings.ece: "ece",
}


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Parameters
    ----------
    value : float
        The statistic on all rows.
    low, high : float
        Ends of the interval; NaN when no resample could be used.
    level : float
        The share of resamples between the ends.
    n : int
        Rows.
    clusters : int
        Patients, or rows when no groups were given.
    resamples : int
        Resamples drawn; zero when the interval comes from a formula.
    skipped : int
        Resamples on which the statistic was undefined.
    """

    value: float
    low: float
    high: float
    level: float
    n: int
    clusters: int
    resamples: int
    skipped: int = 0

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    metric: str | Callable[..., Any],
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    policy: Policy = "ignore",
    threshold: float = 0.5,
    bins: int = 15,
    stratify: bool = False,
    average: Average = "macro",
    progress: bool | None = None,
) -> Any:
    """Percentile interval of a metric by drawing patients with replacement.

    Parameters
    ----------
    metric : str or callable
        A name ("auroc", "auprc", "accuracy", "sensitivity", "specificity",
        "ppv", "npv", "f1", "brier", "ece"), one of the functions of this
        module of those names, or any ``metric(y_true, y_score) -> float``.
    y_true, y_score : array-like of shape (n,) or (n, findings)
        As for :func:`auroc`. Findings are resampled together.
    groups : array-like of shape (n,), optional
        The patient of each row; without it each row is its own.
    n : int, default=1000
        Resamples.
    seed : int, default=0
        The same seed gives the same interval on any number of threads.
    level : float, default=0.95
        The share of resamples between the ends.
    policy, threshold, bins
        Passed to a named metric.
    stratify : bool, default=False
        Draw patients with a positive row apart from those without; for a
        single finding with few positives.
    average : {"macro", None}, default="macro"
        For several findings: the interval of their mean, or all.
    progress : bool, optional
        Show a bar; by default in notebooks and terminals.

    Returns
    -------
    Interval, or list of Interval
        Resamples on which the metric is undefined are skipped and counted.

    References
    ----------
    .. [1] Field and Welsh, "Bootstrapping clustered data", J R Stat Soc B 69,
       2007.
    """
    truth, score, flat = pair(y_true, y_score)
    patients = codes(groups, len(truth))
    name = _NAMES.get(metric, metric) if callable(metric) else metric
    clusters = len(np.unique(patients))
    with Bar("bootstrap", show=progress, unit="resample") as bar:
        if callable(name):
            if stratify:
                raise InvalidValueError("stratify: needs a named metric")
            arrays = (truth[:, 0], score[:, 0]) if flat else (truth, score)
            found = [_bootstrap_any(name, *arrays, patients, n, seed, level, bar)]
            flat = True
        else:
            found = _core.bootstrap_measure(
                name,
                truth,
                score,
                patients,
                policy=policy,
                threshold=threshold,
                bins=bins,
                stratify=stratify,
                n=n,
                seed=seed,
                level=level,
                watch=bar,
            )
    intervals = [
        Interval(value, low, high, level, len(truth), clusters, n, skipped)
        for value, low, high, skipped in found
    ]
    if flat:
        return intervals[0]
    return intervals[-1] if average == "macro" else intervals[:-1]


def _bootstrap_any(
    metric: Callable[..., Any],
    truth: NDArray[np.float64],
    score: NDArray[np.float64],
    patients: NDArray[np.int64],
    n: int,
    seed: int,
    level: float,
    bar: Bar,
) -> tuple[float, float, float, int]:
    if n < 1:
        raise InvalidValueError(f"n: got {n} resamples, expected at least 1")
    if not 0 < level < 1:
        raise InvalidValueError(f"level: got {level}, expected a share between 0 and 1")
    value = float(metric(truth, score))
    drawn = []
    for number in range(n):
        counts = _core.resample(patients, seed, number).astype(np.intp)
        rows = np.repeat(np.arange(len(patients)), counts)
        with warnings.catch_warnings():
            # A resample without positives is skipped and counted, not announced.
            warnings.simplefilter("ignore", UserWarning)
            drawn.append(float(metric(truth[rows], score[rows])))
        bar(number + 1, n, [])
    kept = np.asarray(drawn)
    kept = kept[~np.isnan(kept)]
    tail = (1 - level) / 2
    low, high = np.quantile(kept, [tail, 1 - tail]) if len(kept) else (np.nan, np.nan)
    return value, float(low), float(high), n - len(kept)


def delong(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    level: float = 0.95,
    policy: Policy = "ignore",
) -> Interval:
    """AUROC with the normal interval of DeLong's variance.

    Rows count as independent: for several rows a patient use
    :func:`bootstrap`.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        As for :func:`auroc`; at least two rows of each class.
    level : float, default=0.95
        Coverage.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.

    References
    ----------
    .. [1] DeLong et al., "Comparing the areas under two or more correlated
       receiver operating characteristic curves", Biometrics 44, 1988.
    """
    truth, score = vector(y_true, "y_true"), vector(y_score, "y_score")
    value, _, low, high = _core.delong(truth, score, policy=policy, level=level)
    return Interval(value, low, high, level, len(truth), len(truth), 0)


@dataclass(frozen=True)
class DeLongTest:
    """Two AUROCs of the same rows compared.

    Parameters
    ----------
    auroc_a, auroc_b : float
        The AUROCs.
    z : float
        The standardised difference, a - b.
    p : float
        Two-sided p of equal AUROCs.
    """

    auroc_a: float
    auroc_b: float
    z: float
    p: float


def delong_test(
    y_true: ArrayLike,
    y_score_a: ArrayLike,
    y_score_b: ArrayLike,
    *,
    policy: Policy = "ignore",
) -> DeLongTest:
    """Test whether two scores of the same rows have the same AUROC.

    Parameters are those of :func:`delong`.
    """
    return DeLongTest(
        *_core.delong_test(
            vector(y_true, "y_true"),
            vector(y_score_a, "y_score_a"),
            vector(y_score_b, "y_score_b"),
            policy=policy,
        )
    )
