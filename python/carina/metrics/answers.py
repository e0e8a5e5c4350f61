"""Grades of free answers: 1, 0.5 or 0."""

from collections.abc import Callable, Sequence

from carina import _core
from carina.errors import InvalidValueError, ShapeError

Judge = Callable[[str, str, str], float]
"""Grades ``(question, truth, answer)``: 1, 0.5 or 0."""


def grade_answer(
    question: str,
    truth: str,
    answer: str,
    *,
    judge: Judge | None = None,
    tolerance: tuple[float, float] = (0.2, 0.4),
) -> float | None:
    """Grade one answer by rule, or by a judge where no rule can.

    Rules know yes and no (a sentence that denies is "no"; a hedged yes is half), sides
    (one of two is half), thirds of the lung, degrees (the next one is half), sizes and
    numbers. Any other truth is open: only its own words are right by rule.

    Parameters
    ----------
    question, truth, answer : str
        What was asked, what is right, and what was said.
    judge : callable, optional
        ``judge(question, truth, answer)`` for open questions; gives 1, 0.5 or 0. The
        package itself never asks a server.
    tolerance : (float, float), default=(0.2, 0.4)
        Shares of the true size within which a size is right, and half right.

    Returns
    -------
    float or None
        1, 0.5 or 0; None for an open question without a judge, unless it is answered
        in the truth's own words.

    Raises
    ------
    InvalidValueError
        If the truth is empty, or the judge gives anything else.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317.

    Examples
    --------
    >>> import carina as ca
    >>> ca.metrics.grade_answer("Which side?", "left", "on both sides")
    0.5
    """
    return grade_answers(
        [question], [truth], [answer], judge=judge, tolerance=tolerance
    )[0]


def grade_answers(
    questions: Sequence[str],
    truths: Sequence[str],
    answers: Sequence[str],
    *,
    judge: Judge | None = None,
    tolerance: tuple[float, float] = (0.2, 0.4),
) -> list[float | None]:
    """Grade many answers; see :func:`grade_answer`."""
    if len(tolerance) != 2:
        raise ShapeError(f"tolerance: expected two shares, got {len(tolerance)}")
    right, partly = (float(share) for share in tolerance)
    asked, true, said = list(questions), list(truths), list(answers)
    grades = _core.grade_answers(asked, true, said, right, partly)
    if judge is None:
        return grades
    return [
        _judged(judge, *texts) if grade is None else grade
        for grade, *texts in zip(grades, asked, true, said, strict=True)
    ]


def _judged(judge: Judge, question: str, truth: str, answer: str) -> float:
    grade = judge(question, truth, answer)
    if isinstance(grade, bool) or grade not in (0, 0.5, 1):
        raise InvalidValueError(f"judge: gave {grade!r}, expected 0, 0.5 or 1")
    return float(grade)
