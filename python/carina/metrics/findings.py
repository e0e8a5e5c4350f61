"""Measures of findings, and thresholds for them."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from carina import _core
from carina.errors import InvalidValueError
from carina.metrics._checks import (
    Average,
    Policy,
    UndefinedMetricWarning,
    pair,
    vector,
)


def auroc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Area under the receiver operating characteristic; ties count as one half.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, findings)
        Labels 0, 1, -1 (uncertain) or NaN (unknown).
    y_score : array-like of the same shape
        Scores, higher for presence.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    average : {"macro", None}, default="macro"
        For several findings: their mean, leaving out undefined ones, or all.

    Returns
    -------
    float, or ndarray of shape (findings,)
        NaN, with a warning that says why, where undefined.

    Raises
    ------
    ShapeError
        If the shapes differ.
    InvalidValueError
        If a label is none of the above, or the score of a known row is NaN.

    References
    ----------
    .. [1] Hanley and McNeil, "The meaning and use of the area under a receiver
       operating characteristic (ROC) curve", Radiology 143, 1982.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _measure("auroc", y_true, y_score, policy, average)


def auprc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Average precision, the area under the precision-recall steps.

    Parameters and returns are those of :func:`auroc`; chance is the prevalence.
    """
    return _measure("auprc", y_true, y_score, policy, average)


def accuracy(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Share of rows on the right side of `threshold`; see :func:`auroc`."""
    return _measure("accuracy", y_true, y_score, policy, average, threshold)


def sensitivity(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Share of positives at or above `threshold`; see :func:`auroc`."""
    return _measure("sensitivity", y_true, y_score, policy, average, threshold)


def specificity(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Share of negatives below `threshold`; see :func:`auroc`."""
    return _measure("specificity", y_true, y_score, policy, average, threshold)


def ppv(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Share of positives among rows at or above `threshold`; see :func:`auroc`."""
    return _measure("ppv", y_true, y_score, policy, average, threshold)


def npv(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Share of negatives among rows below `threshold`; see :func:`auroc`."""
    return _measure("npv", y_true, y_score, policy, average, threshold)


def f1(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float = 0.5,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Harmonic mean of sensitivity and positive predictive value.

    Parameters and returns are those of :func:`sensitivity`.
    """
    return _measure("f1", y_true, y_score, policy, average, threshold)


def brier(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Mean squared error of probabilities in [0, 1]; see :func:`auroc`."""
    return _measure("brier", y_true, y_score, policy, average)


def ece(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    bins: int = 15,
    policy: Policy = "ignore",
    average: Average = "macro",
) -> Any:
    """Measure the expected calibration error of the probability of presence.

    The mean over rows of |mean probability - frequency| in the row's bin.

    Parameters
    ----------
    y_true, y_score, policy, average
        As for :func:`auroc`; scores are probabilities in [0, 1].
    bins : int, default=15
        Bins of equal width; bin i holds [i / bins, (i + 1) / bins).

    Returns
    -------
    float, or ndarray of shape (findings,)
        Zero is perfect.

    References
    ----------
    .. [1] Naeini et al., "Obtaining well calibrated probabilities using
       Bayesian binning", AAAI 2015.
    """
    return _measure("ece", y_true, y_score, policy, average, bins=bins)


def youden_threshold(
    y_true: ArrayLike, y_score: ArrayLike, *, policy: Policy = "ignore"
) -> float:
    """Threshold with the largest sensitivity + specificity - 1.

    The highest of equals; rows at or above it are called positive.

    Parameters
    ----------
    y_true, y_score : array-like of shape (n,)
        As for :func:`auroc`; both classes are needed.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    """
    return _threshold("youden", y_true, y_score, 0.0, policy)


def threshold_at_sensitivity(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sensitivity: float,
    policy: Policy = "ignore",
) -> float:
    """Highest threshold with at least this `sensitivity`, in (0, 1]."""
    return _threshold("sensitivity", y_true, y_score, sensitivity, policy)


def threshold_at_specificity(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    specificity: float,
    policy: Policy = "ignore",
) -> float:
    """Lowest threshold with at least this `specificity`, in (0, 1].

    When the highest score is a negative's, it may lie just above all scores.
    """
    return _threshold("specificity", y_true, y_score, specificity, policy)


def _measure(
    name: str,
    y_true: ArrayLike,
    y_score: ArrayLike,
    policy: Policy,
    average: Average,
    threshold: float = 0.5,
    bins: int = 15,
) -> Any:
    truth, score, flat = pair(y_true, y_score)
    if average not in ("macro", None):
        raise InvalidValueError(f"average: got {average!r}, expected 'macro' or None")
    values = np.empty(truth.shape[1])
    for i in range(truth.shape[1]):
        values[i], reason = _core.measure(
            name,
            truth[:, i],
            score[:, i],
            policy=policy,
            threshold=threshold,
            bins=bins,
        )
        if reason is not None:
            where = "" if flat else f" of column {i}"
            _undefined(f"{name}{where} is undefined: {reason}")
    if flat:
        return float(values[0])
    if average is None:
        return values
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _undefined(text: str) -> None:
    warnings.warn(text, UndefinedMetricWarning, stacklevel=4)


def _threshold(
    kind: str, y_true: ArrayLike, y_score: ArrayLike, wish: float, policy: Policy
) -> float:
    truth, score = vector(y_true, "y_true"), vector(y_score, "y_score")
    return float(_core.find_threshold(kind, truth, score, wish=wish, policy=policy))
