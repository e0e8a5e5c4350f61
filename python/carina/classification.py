"""Findings scored: AUROC and its kin with intervals, each and on average."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from carina import _core
from carina._progress import Bar
from carina.errors import InvalidValueError, ShapeError
from carina.metrics import Policy
from carina.metrics._checks import codes, pair
from carina.result import MACRO, Measurement, Protocol, Result

__all__ = ["classification_result"]

_NOTES = {"ece": "resampling adds to it: the interval lies high"}
_AT_THRESHOLD = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")


def classification_result(
    findings: Sequence[str],
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    metrics: Sequence[str] = ("auroc", "auprc"),
    thresholds: float | Mapping[str, float] = 0.5,
    bins: int = 15,
    policy: Policy = "ignore",
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    protocol: str = "classification",
    data: str = "",
    command: str = "",
    recipe_hash: str | None = None,
    progress: bool | None = None,
) -> Result:
    """Score findings, each and on average, with patient-clustered intervals.

    Parameters
    ----------
    findings : sequence of str
        Names of the columns.
    y_true : array-like of shape (n,) or (n, findings)
        Labels 0, 1, -1 (uncertain) or NaN (unknown).
    y_score : array-like of the same shape
        Scores; probabilities in [0, 1] for "brier" and "ece".
    groups : array-like of shape (n,), optional
        The patient of each row.
    metrics : sequence of str, default=("auroc", "auprc")
        Names as for :func:`carina.metrics.bootstrap`.
    thresholds : float or mapping of str to float, default=0.5
        For metrics at a threshold: one for all findings, or one each.
    bins : int, default=15
        Bins of "ece".
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    n, seed, level
        As for :func:`carina.metrics.bootstrap`.
    protocol, data, command, recipe_hash
        Kept with the numbers; see :class:`Protocol`.
    progress : bool, optional
        Show a bar; by default in notebooks and terminals.

    Returns
    -------
    Result
        For each metric a row for each finding, and their mean where there are
        several. A finding of a single class gets a NaN and a note.
    """
    truth, score, _ = pair(y_true, y_score)
    names = [str(name) for name in findings]
    if len(names) != truth.shape[1]:
        raise ShapeError(
            f"findings: expected {truth.shape[1]} names, as many as columns, "
            f"got {len(names)}"
        )
    patients = codes(groups, len(truth))
    cuts = _cuts(names, thresholds)
    known = ~np.isnan(truth) & ((truth >= 0) | (policy != "ignore"))
    present = (truth == 1) | ((truth == -1) & (policy == "ones"))
    counts, positives = known.sum(axis=0), present.sum(axis=0)
    rows: list[Measurement] = []
    for metric in metrics:
        # One cut for all columns: scores are moved so that it is zero.
        moved = metric in _AT_THRESHOLD
        used = score - cuts if moved else score
        options: dict[str, Any] = {
            "policy": policy,
            "threshold": 0.0 if moved else 0.5,
            "bins": bins,
        }
        with Bar(metric, show=progress, unit="resample") as bar:
            found = _core.bootstrap_measure(
                metric,
                truth,
                used,
                patients,
                n=n,
                seed=seed,
                level=level,
                watch=bar,
                **options,
            )
        baselines = []
        for i, (name, (value, low, high, skipped)) in enumerate(
            zip(names, found, strict=False)
        ):
            note = _skips(skipped, n) or _NOTES.get(metric, "")
            if math.isnan(value):
                note = (
                    _core.measure(metric, truth[:, i], used[:, i], **options)[1] or ""
                )
            share = positives[i] / counts[i] if counts[i] else math.nan
            baseline = _core.measure_baseline(metric, share)
            baselines.append(math.nan if math.isnan(value) else baseline)
            rows.append(
                Measurement(
                    name,
                    metric,
                    value,
                    low,
                    high,
                    baseline,
                    int(counts[i]),
                    int(positives[i]),
                    note,
                )
            )
        if len(names) > 1:
            rows.append(_macro(metric, found[-1], baselines, truth, known, n))
    clusters = len(np.unique(patients))
    return Result(
        rows,
        protocol=Protocol(
            protocol, data, command, recipe_hash, seed, n, level, clusters, policy
        ),
    )


def _macro(
    metric: str,
    found: tuple[float, float, float, int],
    baselines: list[float],
    truth: Any,
    known: Any,
    n: int,
) -> Measurement:
    value, low, high, skipped = found
    defined = [b for b in baselines if not math.isnan(b)]
    baseline = float(np.mean(defined)) if defined else math.nan
    note = _skips(skipped, n)
    left_out = sum(map(math.isnan, baselines)) if defined else 0
    if left_out:
        note = f"mean of {len(defined)} findings; {note}".rstrip("; ")
    rows = int(known.any(axis=1).sum())
    return Measurement(MACRO, metric, value, low, high, baseline, rows, None, note)


def _cuts(names: list[str], thresholds: float | Mapping[str, float]) -> Any:
    if not isinstance(thresholds, Mapping):
        return np.full(len(names), float(thresholds))
    missing = [name for name in names if name not in thresholds]
    if missing:
        raise InvalidValueError(f"thresholds: none for {', '.join(missing)}")
    return np.array([float(thresholds[name]) for name in names])


def _skips(skipped: int, n: int) -> str:
    return f"undefined on {skipped} of {n} resamples" if skipped else ""
