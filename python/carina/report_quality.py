"""The protocol of report quality: is a report right, and if not, what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._means import clustered_means
from carina._setup import Setup
from carina.corruption import CORRUPTIONS, corrupt
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError
from carina.questions import ask
from carina.result import MACRO, Measurement, Result
from carina.table import Table

_WRONG = CORRUPTIONS[1:]
_UNREADABLE = "unreadable"
_SOME = "some error"


@dataclass(frozen=True)
class ReportCheck:
    """A report to judge: one study's, with at most one wrong fact.

    Parameters
    ----------
    row : int
        The study's place in the data set.
    kind : str
        What is wrong, one of :data:`carina.corruption.CORRUPTIONS`.
    text : str
        The report to judge.
    answer : str
        The right answer; see :class:`carina.Corruption`.
    """

    row: int
    kind: str
    text: str = field(repr=False)
    answer: str = field(repr=False)


def report_checks(
    dataset: Dataset, *, seed: int = 0, progress: bool | None = None
) -> list[ReportCheck]:
    """Make what the protocol ``"report_quality"`` asks about, in its order.

    Parameters
    ----------
    dataset : Dataset
        Studies with reports.
    seed : int, default=0
        Seed of the errors.
    progress : bool, optional
        Whether to show bars.

    Returns
    -------
    list of ReportCheck
        For each study with a report: the report as it is, and with one error of each
        kind that fits it.

    Raises
    ------
    InvalidValueError
        If no study has a report.
    """
    reports = [text.strip() for text in dataset.reports]
    made = [
        corrupt(dataset, kind, seed=seed, progress=progress) for kind in CORRUPTIONS
    ]
    checks = [
        ReportCheck(row, one.kind, one.text or "", one.answer)
        for row, of_row in enumerate(zip(*made, strict=True))
        for one in of_row
        if one and reports[row]
    ]
    if not checks:
        raise InvalidValueError("dataset: found no reports, expected studies with them")
    return checks


def report_quality_result(
    model: Any,
    dataset: Dataset,
    setup: Setup,
    *,
    answers: Sequence[Any] | None = None,
    train: Dataset | None = None,
    prompts: Any = None,
) -> Result:
    """Judge reports with and without errors; see :func:`carina.evaluate`."""
    checks = report_checks(dataset, seed=setup.seed, progress=setup.progress)
    said, how = _answers(model, dataset, checks, answers, train, prompts, setup)
    read = [_read(answer) for answer in said]
    true = np.array([check.kind for check in checks])
    # A film that could not be read leaves its reports out; a silent answer is wrong.
    judged = np.array(["" if kind is None else kind for kind, _ in read])
    left_out = np.array([answer is None for answer in said])
    right = (judged == "none") == (true == "none")
    right &= ~np.isin(judged, (_UNREADABLE, ""))
    detected = np.where(left_out, np.nan, right)
    named = np.where(left_out, np.nan, judged == true)
    corrections = any(text for _, text in read)
    corrected = np.where(
        left_out | (true == "none"),
        np.nan,
        [
            kind not in (None, "none")
            and _core.corrects(
                check.text,
                text,
                check.answer.partition(":")[2],
                dataset[check.row].report.text,
            )
            for (kind, text), check in zip(read, checks, strict=True)
        ],
    )
    patients = dataset.patients[[check.row for check in checks]]
    member = true[:, None] == np.array(CORRUPTIONS)
    rows = _rows("detected", detected, member, patients, setup)
    rows += _rows("named", named, member, patients, setup)
    if corrections:
        rows += _rows("corrected", corrected, member, patients, setup)
    what = setup.data or f"{len(checks)} reports of {len(dataset)} studies"
    return Result(
        rows,
        protocol=setup.protocol(
            "report quality",
            f"{what}; judged by {how}; baseline: always none",
            len(np.unique(patients[~left_out])),
        ),
        tables={"judged (columns) by what is wrong": _confusion(true, judged)},
    )


def _answers(
    model: Any,
    dataset: Dataset,
    checks: list[ReportCheck],
    answers: Sequence[Any] | None,
    train: Dataset | None,
    prompts: Any,
    setup: Setup,
) -> tuple[list[Any], str]:
    if answers is not None:
        if len(answers) != len(checks):
            raise ShapeError(
                f"answers: expected {len(checks)}, one for each of "
                f"report_checks(dataset, seed={setup.seed}), got {len(answers)}"
            )
        return list(answers), "answers given"
    if train is not None:
        from carina.similarity_judge import SimilarityJudge

        judge = SimilarityJudge(
            model, prompts=prompts, seed=setup.seed, progress=setup.progress
        )
        judge.fit(train)
        return judge.answers(dataset, checks), "similarity"
    films = dataset[[check.row for check in checks]]
    texts = [check.text for check in checks]
    return ask(
        model, films, texts, "report_check", setup.progress
    ), "the model's answers"


def _read(answer: Any) -> tuple[str | None, str]:
    """Read what an answer calls wrong, and its correction."""
    if answer is None:
        return None, ""
    if isinstance(answer, (bool, np.bool_)):
        return (_SOME if answer else "none"), ""
    kind, correction = _core.read_judgement(str(answer))
    return kind or _UNREADABLE, correction


def _rows(
    metric: str,
    values: NDArray[np.float64],
    member: NDArray[np.bool_],
    patients: NDArray[Any],
    setup: Setup,
) -> list[Measurement]:
    """Shares by kind, then balanced: the mean of right reports and of wrong ones."""
    columns = np.where(member, values[:, None], np.nan)

    def balanced(means: NDArray[np.float64]) -> NDArray[np.float64]:
        wrong = means[1:][~np.isnan(means[1:])]
        mean = wrong.mean() if len(wrong) else np.nan
        return np.array([mean if np.isnan(means[0]) else (means[0] + mean) / 2])

    found = clustered_means(
        columns, patients, combine=balanced, n=setup.n, seed=setup.seed
    )
    rows = []
    for name, interval in zip([*CORRUPTIONS, MACRO], found, strict=True):
        baseline = {"none": 1.0, MACRO: 0.5}.get(name, 0.0)
        note = "balanced: right reports count half" if name == MACRO else ""
        if metric == "corrected":
            baseline, note = 0.0, ""
        if interval.n == 0 or (name == "none" and metric == "corrected"):
            continue
        count = interval.n if name != MACRO else int((~np.isnan(values)).sum())
        rows.append(
            Measurement(
                name,
                metric,
                interval.value,
                interval.low,
                interval.high,
                baseline,
                count,
                None,
                note,
            )
        )
    return rows


def _confusion(true: NDArray[Any], judged: NDArray[Any]) -> Table:
    seen = [k for k in (*CORRUPTIONS, _SOME, _UNREADABLE) if (judged == k).any()]
    columns: dict[str, list[Any]] = {"true": [k for k in CORRUPTIONS if k in true]}
    for kind in seen:
        columns[kind] = [
            int(((true == t) & (judged == kind)).sum()) for t in columns["true"]
        ]
    return Table(columns)
