"""Protocols: what a model is asked, how it is scored, and its numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.classification import classification_result
from carina.dataset import Dataset
from carina.errors import InvalidValueError
from carina.metrics import Interval, Policy, bootstrap, ndcg
from carina.model import Model
from carina.prompts import PromptBank, PromptsLike
from carina.result import Result
from carina.table import Table

PROTOCOLS = ("zero_shot", "classify")


def evaluate(
    model: Model,
    dataset: Dataset,
    protocol: Literal["zero_shot", "classify"] = "zero_shot",
    *,
    prompts: PromptsLike | None = None,
    scoring: Literal["margin", "softmax"] = "margin",
    policy: Policy = "ignore",
    n: int = 1000,
    seed: int = 0,
    data: str = "",
    command: str = "",
    progress: bool | None = None,
) -> Result:
    """Measure a model on a data set by a named protocol.

    Parameters
    ----------
    model : Model
        The model.
    dataset : Dataset
        Studies with labels.
    protocol : {"zero_shot", "classify"}
        ``"zero_shot"`` scores by words alone; ``"classify"`` scores with the head of a
        supervised stage. Both give AUROC and AUPRC for every finding, with the trivial
        baseline and patient-clustered intervals.
    prompts : PromptBank, str, mapping or sequence of str, optional
        What to say about each finding, for ``"zero_shot"``; by default ``x`` and
        ``no x``.
    scoring : {"margin", "softmax"}, default="margin"
        As for :meth:`Model.zero_shot`.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label (−1) counts as.
    n : int, default=1000
        Bootstrap resamples of patients.
    seed : int, default=0
        Seed of the resampling.
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
        If the protocol is unknown, or data set and prompts share no finding.
    """
    if protocol not in PROTOCOLS:
        msg = f"protocol: found {protocol!r}, expected one of {', '.join(PROTOCOLS)}"
        raise InvalidValueError(msg)
    if protocol == "zero_shot":
        bank = PromptBank.of(dataset.findings if prompts is None else prompts)
        shared = [f for f in bank.findings if f in dataset.findings]
        if not shared:
            msg = (
                f"prompts: found {bank.findings}, expected some of the data set's "
                f"findings {dataset.findings}"
            )
            raise InvalidValueError(msg)
        scores = model.zero_shot(
            dataset, bank.select(shared), scoring=scoring, progress=progress
        )
    else:
        shared = [f for f in model.findings if f in dataset.findings]
        if not shared:
            msg = (
                f"model: its head scores {model.findings}, expected some of the data "
                f"set's findings {dataset.findings}"
            )
            raise InvalidValueError(msg)
        scores = model.classify(dataset, progress=progress).select(*shared)
    columns = [dataset.findings.index(finding) for finding in shared]
    return classification_result(
        shared,
        dataset.labels[:, columns],
        scores.to_numpy(),
        groups=dataset.patients,
        policy=policy,
        n=n,
        seed=seed,
        protocol=protocol,
        data=data or f"{len(dataset)} studies",
        command=command,
        recipe_hash=model.fingerprint(),
        progress=progress,
    )


def search_quality(
    model: Model,
    dataset: Dataset,
    queries: Mapping[str, ArrayLike],
    *,
    k: int = 5,
    progress: bool | None = None,
) -> Table:
    """Measure text-to-film search by graded relevance.

    Parameters
    ----------
    model : Model
        The model.
    dataset : Dataset
        The films to search.
    queries : mapping of str to array-like of shape (N,)
        For each query the grade of every film, 0 for irrelevant.
    k : int, default=5
        How many films are looked at.
    progress : bool, optional
        Whether to show a bar.

    Returns
    -------
    Table
        One row a query: NDCG@k (gain 2^g − 1), precision@k, and the precision that
        films in random order would have.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317: nineteen queries, NDCG@5.
    """
    films = model.embed(dataset, progress=progress)
    rows: dict[str, list[Any]] = {
        name: []
        for name in ("query", f"ndcg@{k}", f"precision@{k}", "chance", "relevant")
    }
    for text, grades in queries.items():
        truth = np.asarray(grades, dtype=np.float64)
        if truth.shape != (len(dataset),):
            msg = (
                f"queries[{text!r}]: expected one grade for each of {len(dataset)} "
                f"films, found shape {truth.shape}"
            )
            raise InvalidValueError(msg)
        score = similarity(films, model.encode_text(text))[:, 0]
        top = np.argsort(-score, kind="stable")[:k]
        rows["query"].append(text)
        rows[f"ndcg@{k}"].append(_ndcg(truth, score, k))
        rows[f"precision@{k}"].append(float((truth[top] > 0).mean()))
        rows["chance"].append(float((truth > 0).mean()))
        rows["relevant"].append(int((truth > 0).sum()))
    return Table(rows)


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
            found = _mean_interval(hits, groups, n=n, seed=seed)
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


def _mean_interval(
    hits: NDArray[Any], groups: NDArray[Any], *, n: int, seed: int
) -> Interval:
    """Take the mean of hits, with its patient-clustered interval."""
    values = hits.astype(np.float64)
    interval: Interval = bootstrap(
        lambda _, drawn: float(np.mean(drawn)),
        values,
        values,
        groups=groups,
        n=n,
        seed=seed,
        progress=False,
    )
    return interval


def _chance(truth: NDArray[np.bool_], k: int) -> float:
    """Give the recall@k of a random order."""
    count = truth.shape[1]
    misses = count - truth.sum(axis=1).astype(np.float64)
    missed = np.ones(len(truth))
    for drawn in range(min(k, count)):
        missed *= np.clip(misses - drawn, 0, None) / (count - drawn)
    return float((1 - missed).mean())


def _ndcg(truth: NDArray[np.float64], score: NDArray[np.float32], k: int) -> float:
    """NDCG@k, or NaN where no film is relevant: the row's counts say so."""
    return float(ndcg(truth, score, k=k)) if truth.any() else float("nan")


def similarity(
    films: NDArray[np.float32], texts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosines of films (N, Q, E) and texts (T, E), the largest over the queries.

    Returns
    -------
    ndarray of shape (N, T), float32
    """
    best: NDArray[np.float32] = np.einsum("nqe,te->nqt", films, texts).max(axis=1)
    return best


def auroc_interval(
    y_true: ArrayLike, y_score: ArrayLike, groups: ArrayLike, *, seed: int = 0
) -> Interval:
    """AUROC (of several findings, the mean) with its patient-clustered interval."""
    interval: Interval = bootstrap(
        "auroc", y_true, y_score, groups=groups, seed=seed, progress=False
    )
    return interval
