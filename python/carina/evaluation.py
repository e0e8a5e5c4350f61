"""Protocols: what a model is asked, how it is scored, and its numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina._means import clustered_means
from carina._models import fingerprint
from carina._setup import Setup
from carina.classification import classification_result
from carina.dataset import Dataset
from carina.errors import InvalidValueError
from carina.metrics import Interval, Judge, Policy, bootstrap
from carina.model import Model
from carina.prompts import PromptBank, PromptsLike
from carina.queries import QueriesLike
from carina.questions import vqa_result
from carina.report_quality import report_quality_result
from carina.result import Result
from carina.searching import Direction, Grades, search_result, similarity
from carina.table import Table

PROTOCOLS = ("zero_shot", "classify", "search", "vqa", "report_quality")
ProtocolName = Literal["zero_shot", "classify", "search", "vqa", "report_quality"]


def evaluate(
    model: Any,
    dataset: Dataset,
    protocol: ProtocolName = "zero_shot",
    *,
    prompts: PromptsLike | None = None,
    scoring: Literal["margin", "softmax"] = "margin",
    policy: Policy = "ignore",
    queries: QueriesLike | None = None,
    grades: Grades | None = None,
    k: int = 5,
    direction: Direction = "text_to_image",
    answers: Sequence[Any] | None = None,
    judge: Judge | None = None,
    train: Dataset | None = None,
    n: int = 1000,
    seed: int = 0,
    data: str = "",
    command: str = "",
    progress: bool | None = None,
) -> Result:
    """Measure a model on a data set by a named protocol.

    Every number has an interval over resampled patients (over queries, for a search by
    words) and the score of a trivial baseline. Films that cannot be read are left out.

    Parameters
    ----------
    model : Model
        The model; None where `answers` are given.
    dataset : Dataset
        Studies with labels, questions or reports.
    protocol : str
        ``"zero_shot"`` scores by words alone, ``"classify"`` with the head of a
        supervised stage: AUROC and AUPRC for every finding.

        ``"search"`` ranks films by words (or by films, see `direction`) and grades the
        first `k`: NDCG with both gains, precision, and how many queries are perfect.

        ``"vqa"`` grades answers to the studies' questions, in all and by topic.

        ``"report_quality"`` shows each report as it is and with one error of each kind
        that fits: whether errors are noticed, named and corrected, and a confusion
        table. Corrected is an error after which the report affirms the findings,
        devices, sides and degrees that it had (where the error lies in none of these:
        in whose place the report's own words are put). A model with a decoder is asked,
        and wrong where a report leaves no room for an answer; with `train`, a
        :class:`carina.similarity_judge.SimilarityJudge` learns to compare the report's
        claims with the film.
    prompts : PromptBank, str, mapping or sequence of str, optional
        What to say about each finding, for ``"zero_shot"`` and the judge of
        ``"report_quality"``; by default ``x`` and ``no x``.
    scoring : {"margin", "softmax"}, default="margin"
        As for :meth:`Model.zero_shot`.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label (−1) counts as.
    queries : Queries, str or sequence, optional
        For ``"search"``: a built-in set (:func:`carina.queries`), or queries of your
        own; by default the built-in set that the data's labels can grade.
    grades : mapping, DataFrame or array-like of shape (queries, studies), optional
        Grades of your own in place of the queries' rules: 0 irrelevant, NaN unknown.
    k : int, default=5
        How many of those found count.
    direction : {"text_to_image", "image_to_image", "image_to_report"}
        What searches for what. Films and reports are graded by findings in common: 2
        where all labels are known and the same, 1 for some, 0 for a difference; what
        the known labels do not tell takes no part. Where films find films, other films
        of the same patient take no part; of reports all do, the film's own included.
    answers : sequence, optional
        For ``"vqa"``: one text for each question, in the order of the studies (or a
        sequence for each study). For ``"report_quality"``: for each of
        :func:`carina.report_checks` what is wrong, as ``"none"`` or ``"laterality:
        There is a left effusion."``, or whether anything is.
    judge : callable, optional
        For ``"vqa"``: grades open questions; see
        :func:`carina.metrics.grade_answer`. Without it they take no part.
    train : Dataset, optional
        Other studies: the commonest answers of ``"vqa"``'s baseline, and what the
        judge of ``"report_quality"`` learns from.
    n : int, default=1000
        Bootstrap resamples of patients.
    seed : int, default=0
        Seed of the resampling, and of the errors in reports.
    data, command : str
        Notes on where the numbers come from; kept with them.
    progress : bool, optional
        Whether to show bars.

    Returns
    -------
    Result

    Raises
    ------
    InvalidValueError
        If the protocol is unknown, no film can be read, data set and prompts share no
        finding, or a finding that is asked for by name is not among the data set's.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317.
    """
    if protocol not in PROTOCOLS:
        msg = f"protocol: found {protocol!r}, expected one of {', '.join(PROTOCOLS)}"
        raise InvalidValueError(msg)
    if train is not None:
        dataset.check_disjoint(train)
    setup = Setup(
        n=n,
        seed=seed,
        data=data,
        command=command,
        recipe_hash=fingerprint(model),
        progress=progress,
    )
    if protocol == "search":
        return search_result(
            model,
            dataset,
            setup,
            queries=queries,
            grades=grades,
            k=k,
            direction=direction,
        )
    if protocol == "vqa":
        return vqa_result(
            model, dataset, setup, answers=answers, judge=judge, train=train
        )
    if protocol == "report_quality":
        return report_quality_result(
            model, dataset, setup, answers=answers, train=train, prompts=prompts
        )
    return _scored(model, dataset, protocol, prompts, scoring, policy, setup)


def _scored(
    model: Any,
    dataset: Dataset,
    protocol: str,
    prompts: PromptsLike | None,
    scoring: Literal["margin", "softmax"],
    policy: Policy,
    setup: Setup,
) -> Result:
    """Score findings, by words or by the head of a supervised stage."""
    if protocol == "zero_shot":
        bank = PromptBank.of(dataset.findings if prompts is None else prompts)
        common = [f for f in bank.findings if f in dataset.findings]
        # A bank is made for many data sets; what a caller names is meant for this one.
        strict = not isinstance(prompts, (str, PromptBank))
        if not common or (strict and len(common) < len(bank)):
            unknown = [f for f in bank.findings if f not in common]
            msg = (
                f"prompts: found {unknown}, expected some of the data set's "
                f"findings {dataset.findings}"
            )
            raise InvalidValueError(msg)
        scores = model.zero_shot(
            dataset, bank.select(common), scoring=scoring, progress=setup.progress
        )
    else:
        common = [f for f in model.findings if f in dataset.findings]
        if not common:
            msg = (
                f"model: its head scores {model.findings}, expected some of the data "
                f"set's findings {dataset.findings}"
            )
            raise InvalidValueError(msg)
        scores = model.classify(dataset, progress=setup.progress).select(*common)
    columns = [dataset.findings.index(finding) for finding in common]
    found = scores.to_numpy()
    read = ~np.isnan(found).all(axis=1)
    if not read.any():
        raise InvalidValueError("dataset: found no film that can be read")
    what = setup.data or f"{len(dataset)} studies"
    if lost := int((~read).sum()):
        what += f"; {lost} film{'s' if lost > 1 else ''} could not be read"
    return classification_result(
        common,
        dataset.labels[read][:, columns],
        found[read],
        groups=dataset.patients[read],
        policy=policy,
        protocol=protocol,
        **asdict(setup) | {"data": what},
    )


def retrieval_quality(
    model: Model,
    dataset: Dataset,
    *,
    k: Sequence[int] = (1, 5, 10),
    n: int = 1000,
    seed: int = 0,
    progress: bool | None = None,
) -> Table:
    """Measure how well films find their reports, and reports their films.

    A film and a text are as alike as the most alike of its queries. Reports of the
    same words count as one: any film that has them is a hit.

    Parameters
    ----------
    model : Model
        The model.
    dataset : Dataset
        Studies with reports; those without one, or without a film that can be read,
        are left out.
    k : sequence of int, default=(1, 5, 10)
        How many of the most alike are looked at.
    n : int, default=1000
        Bootstrap resamples of patients.
    seed : int, default=0
        Seed of the resampling.
    progress : bool, optional
        Whether to show bars.

    Returns
    -------
    Table
        One row a direction and `k`: recall@k (the share of queries with a hit), its
        patient-clustered interval, and the recall of a random order.

    Raises
    ------
    InvalidValueError
        If fewer than two studies are left, or a `k` is below 1.
    """
    if min(k, default=0) < 1:
        msg = f"k: found {list(k)}, expected numbers of at least 1"
        raise InvalidValueError(msg)
    reports = [text.strip() for text in dataset.reports]
    rows = np.flatnonzero([bool(text) for text in reports])
    _need_two(rows)
    films = model.embed(dataset[rows], progress=progress)
    read = ~np.isnan(films).any(axis=(1, 2))
    rows, films = rows[read], films[read]
    _need_two(rows)
    told = [reports[row] for row in rows]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(told))}
    own = np.array([numbers[text] for text in told])
    score = similarity(films, model.encode_text(list(numbers)))  # (films, texts)
    relevant = own[:, None] == np.arange(len(numbers))
    patients = np.asarray(dataset.patients)[rows]
    # A text is one query, of the patient whose report it first was.
    first = np.array([told.index(text) for text in numbers])
    directions = {
        "film to text": (score, relevant, patients),
        "text to film": (score.T, relevant.T, patients[first]),
    }
    columns: dict[str, list[Any]] = {
        name: [] for name in ("direction", "k", "recall", "low", "high", "chance")
    }
    for name, (alike, truth, groups) in directions.items():
        best = np.argsort(-alike, axis=1, kind="stable")
        for most in k:
            hits = np.take_along_axis(truth, best[:, :most], axis=1).max(axis=1)
            [found] = clustered_means(hits[:, None], groups, n=n, seed=seed)
            row = (name, most, found.value, found.low, found.high, _chance(truth, most))
            for column, value in zip(columns, row, strict=True):
                columns[column].append(value)
    return Table(columns)


def _need_two(rows: NDArray[Any]) -> None:
    if len(rows) < 2:
        msg = (
            f"dataset: found {len(rows)} films with a report that can be read, "
            "expected at least 2"
        )
        raise InvalidValueError(msg)


def _chance(truth: NDArray[np.bool_], k: int) -> float:
    """Give the recall@k of a random order."""
    count = truth.shape[1]
    misses = count - truth.sum(axis=1).astype(np.float64)
    missed = np.ones(len(truth))
    for drawn in range(min(k, count)):
        missed *= np.clip(misses - drawn, 0, None) / (count - drawn)
    return float((1 - missed).mean())


def auroc_interval(
    y_true: ArrayLike, y_score: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> Interval:
    """AUROC (of several findings, the mean) with its patient-clustered interval."""
    interval: Interval = bootstrap(
        "auroc", y_true, y_score, groups=groups, seed=seed, progress=False
    )
    return interval
