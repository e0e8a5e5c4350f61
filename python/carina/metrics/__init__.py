"""Metrics of the field, with the manners of scikit-learn.

Labels are 0 (absent), 1 (present), -1 (uncertain, counted by a named policy)
or NaN (unknown, left out). What is undefined, such as the AUROC of a finding
without positives, is NaN with an :class:`UndefinedMetricWarning` that says why.
"""

from carina.metrics._checks import Policy, UndefinedMetricWarning
from carina.metrics.answers import Judge, grade_answer, grade_answers
from carina.metrics.findings import (
    accuracy,
    auprc,
    auroc,
    brier,
    ece,
    f1,
    npv,
    ppv,
    sensitivity,
    specificity,
    threshold_at_sensitivity,
    threshold_at_specificity,
    youden_threshold,
)
from carina.metrics.intervals import (
    DeLongTest,
    Interval,
    bootstrap,
    delong,
    delong_test,
)
from carina.metrics.overlap import box_iou, dice, iou
from carina.metrics.retrieval import (
    ndcg,
    precision_at_k,
    recall_at_k,
    retrieval_average_precision,
)

__all__ = [
    "DeLongTest",
    "Interval",
    "Judge",
    "Policy",
    "UndefinedMetricWarning",
    "accuracy",
    "auprc",
    "auroc",
    "bootstrap",
    "box_iou",
    "brier",
    "delong",
    "delong_test",
    "dice",
    "ece",
    "f1",
    "grade_answer",
    "grade_answers",
    "iou",
    "ndcg",
    "npv",
    "ppv",
    "precision_at_k",
    "recall_at_k",
    "retrieval_average_precision",
    "sensitivity",
    "specificity",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
    "youden_threshold",
]
