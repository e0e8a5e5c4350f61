"""The protocol of visual questions: asked, graded, and by topic."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina._means import clustered_means
from carina._setup import Setup
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError
from carina.metrics.answers import Judge, grade_answers
from carina.result import Measurement, Result

# Data sets call the topics of the protocol by names of their own.
_TOPICS = {
    "pres": "presence",
    "pos": "location",
    "position": "location",
    "side": "location",
    "size": "severity",
    "type": "severity",
}


@dataclass(frozen=True)
class _Asked:
    """Questions of a data set, one after the other."""

    rows: NDArray[np.int64]
    questions: list[str]
    truths: list[str]
    topics: list[str]
    open: NDArray[np.bool_]


def vqa_result(
    model: Any,
    dataset: Dataset,
    setup: Setup,
    *,
    answers: Sequence[str] | Sequence[Sequence[str]] | None = None,
    judge: Judge | None = None,
    train: Dataset | None = None,
) -> Result:
    """Grade answers to the questions of a data set; see :func:`carina.evaluate`."""
    asked = _asked(dataset)
    given, unread = _answers(model, dataset, asked, answers, setup.progress)
    grades = _grades(asked, given, judge)
    if judge is None:
        # Else an open answer would count where it is right, and nowhere else.
        grades[asked.open] = np.nan
    grades[unread] = np.nan
    guess = _commonest(
        asked if train is None else _asked(train), closed_only=judge is None
    )
    trivial = _grades(asked, [guess.get(topic, "") for topic in asked.topics], None)
    # Both are means over the same questions; the judge is not asked about a guess.
    trivial = np.where(np.isnan(grades), np.nan, np.nan_to_num(trivial))
    names = ["all", *_in_order(asked.topics)]
    member = np.array([[name in ("all", t) for name in names] for t in asked.topics])
    columns = np.where(member, grades[:, None], np.nan)
    intervals = clustered_means(
        columns, dataset.patients[asked.rows], n=setup.n, seed=setup.seed
    )
    rows = []
    for column, (name, found) in enumerate(zip(names, intervals, strict=True)):
        inside = member[:, column]
        base = trivial[inside & ~np.isnan(trivial)]
        ungraded = int(np.isnan(grades[inside]).sum())
        rows.append(
            Measurement(
                name,
                "grade",
                found.value,
                found.low,
                found.high,
                float(base.mean()) if len(base) else float("nan"),
                found.n,
                None,
                _note(ungraded, int(unread[inside].sum())),
            )
        )
    where = "other data given for it" if train is not None else "the data themselves"
    if judge is not None and asked.open.any():
        where += ", right in open questions by the truth's own words only"
    what = (
        setup.data or f"{len(asked.questions)} questions about {len(dataset)} studies"
    )
    return Result(
        rows,
        protocol=setup.protocol(
            "vqa",
            f"{what}; baseline: the commonest answer of a topic in {where}",
            intervals[0].clusters,
        ),
    )


def _asked(dataset: Dataset) -> _Asked:
    rows, questions, truths, topics = [], [], [], []
    for row, study in enumerate(dataset):
        for question in study.questions:
            topic = question.topic.strip().lower()
            rows.append(row)
            questions.append(question.question)
            truths.append(question.answer)
            topics.append(_TOPICS.get(topic, topic) or "other")
    if not rows:
        raise InvalidValueError(
            "dataset: found no questions, expected studies with questions and answers"
        )
    # What no rule can grade is open, whatever is answered.
    silent = grade_answers(questions, truths, [""] * len(truths))
    is_open = np.array([grade is None for grade in silent])
    return _Asked(np.array(rows), questions, truths, topics, is_open)


def _answers(
    model: Any,
    dataset: Dataset,
    asked: _Asked,
    answers: Sequence[Any] | None,
    progress: bool | None,
) -> tuple[list[str], NDArray[np.bool_]]:
    """Answers in the order asked, and which films could not be read."""
    count = len(asked.questions)
    if answers is not None:
        flat: list[Any] = []
        for answer in answers:
            flat.extend([answer] if isinstance(answer, str) else answer)
        if len(flat) != count:
            raise ShapeError(
                f"answers: expected {count}, one for each question, got {len(flat)}"
            )
        return [str(answer) for answer in flat], np.zeros(count, dtype=bool)
    said = ask(model, dataset[asked.rows], asked.questions, "vqa", progress)
    return [a or "" for a in said], np.array([a is None for a in said])


def ask(
    model: Any,
    films: Dataset,
    questions: list[str],
    task: str,
    progress: bool | None,
) -> list[str | None]:
    """Ask of each film its question; None where the film could not be read.

    A question that leaves no room for an answer has an empty one.
    """
    if getattr(model, "ask", None) is None:
        raise InvalidValueError(
            "model: it cannot answer (it has no decoder); give answers=…"
        )
    said = model.ask(films, questions, task=task, progress=progress)
    if len(said) != len(questions):
        raise ShapeError(
            f"model.ask: expected {len(questions)} answers, got {len(said)}"
        )
    return [None if _is_unread(answer) else str(answer.text) for answer in said]


def _is_unread(answer: Any) -> bool:
    error = getattr(answer, "error", None)
    # What is wrong with the question says so first; else it is the film.
    return bool(error) and not str(error).startswith("question: ")


def _grades(
    asked: _Asked, answers: list[str], judge: Judge | None
) -> NDArray[np.float64]:
    grades = grade_answers(asked.questions, asked.truths, answers, judge=judge)
    return np.array([np.nan if g is None else g for g in grades], dtype=np.float64)


def _commonest(asked: _Asked, *, closed_only: bool) -> dict[str, str]:
    """Return the commonest answer of each topic; of equals, the alphabet's first."""
    counts: dict[str, Counter[str]] = {}
    for topic, truth, is_open in zip(
        asked.topics, asked.truths, asked.open, strict=True
    ):
        # A guess must be one at the questions that take part.
        if not (closed_only and is_open):
            counts.setdefault(topic, Counter())[truth.strip().lower()] += 1
    return {t: min(c, key=lambda a: (-c[a], a)) for t, c in counts.items()}


def _in_order(topics: list[str]) -> list[str]:
    first = [t for t in ("presence", "location", "severity") if t in topics]
    return [*first, *sorted(set(topics) - set(first))]


def _note(ungraded: int, unread: int) -> str:
    parts = []
    if ungraded - unread:
        parts.append(f"{ungraded - unread} open questions need a judge")
    if unread:
        parts.append(f"{unread} films could not be read")
    return "; ".join(parts)
