"""Protocols: what a model is asked, how it is scored, and its numbers."""

from collections.abc import Mapping
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
