"""The protocol of semantic search: graded relevance of the first few found."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._labels import column_names, column_of, is_named
from carina._means import clustered_means
from carina._setup import Setup
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError
from carina.metrics._checks import floats
from carina.queries import Queries, QueriesLike, list_queries
from carina.result import MACRO, Measurement, Result

Direction = Literal["text_to_image", "image_to_image", "image_to_report"]
Grades = Mapping[str, ArrayLike] | ArrayLike

_PERFECT = 1 - 1e-9


def search_result(
    model: Any,
    dataset: Dataset,
    setup: Setup,
    *,
    queries: QueriesLike | None = None,
    grades: Grades | None = None,
    k: int = 5,
    direction: Direction = "text_to_image",
) -> Result:
    """Measure a search by graded relevance; see :func:`carina.evaluate`."""
    if k < 1:
        raise InvalidValueError(f"k: found {k}, expected at least 1")
    if direction == "text_to_image":
        asked = _queries(dataset, queries, grades)
        rows, clusters = _by_words(model, dataset, asked, grades, k, setup)
        unit = "queries"
    elif direction in ("image_to_image", "image_to_report"):
        if queries is not None or grades is not None:
            raise InvalidValueError(
                f"queries, grades: expected none for {direction!r}: the films ask, and "
                "labels grade"
            )
        rows, clusters = _by_films(model, dataset, direction, k, setup)
        unit = "patients"
    else:
        raise InvalidValueError(
            f"direction: found {direction!r}, expected 'text_to_image', "
            "'image_to_image' or 'image_to_report'"
        )
    what = setup.data or f"{len(dataset)} studies"
    return Result(
        rows,
        protocol=setup.protocol(
            f"search, {direction.replace('_', ' ')}",
            f"{what}; baseline: random order",
            clusters,
            unit=unit,
        ),
    )


def _queries(
    dataset: Dataset, queries: QueriesLike | None, grades: Grades | None
) -> Queries:
    """Take the queries given, those of the grades, or the built-in set that fits."""
    if queries is not None:
        return Queries.of(queries)
    if is_named(grades):
        return Queries.of(column_names(grades))
    known = {finding.lower() for finding in dataset.findings}
    for name in list_queries():
        asked = Queries.of(name)
        if all(f.lower() in known for query in asked for f in query.findings):
            return asked
    raise InvalidValueError(
        f"queries: none of the built-in sets ({', '.join(list_queries())}) asks only "
        f"for what the data know: {', '.join(dataset.findings)}; give queries=…"
    )


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


def _by_words(
    model: Any,
    dataset: Dataset,
    queries: Queries,
    grades: Grades | None,
    k: int,
    setup: Setup,
) -> tuple[list[Measurement], int]:
    table, notes = _table(dataset, queries, grades)
    films = model.embed(dataset, progress=setup.progress)
    read = ~np.isnan(films).any(axis=(1, 2))
    if not read.any():
        raise InvalidValueError("dataset: found no film that can be read")
    alike = similarity(films[read], model.encode_text(queries.texts)).T
    scores = [
        _scored(grade[read], score, k)
        for grade, score in zip(table, alike, strict=True)
    ]
    values = np.array([score[0] for score in scores])  # (queries, metrics)
    trivial = np.array([score[1] for score in scores])
    metrics = _metrics(k)
    groups = list(dict.fromkeys(query.group for query in queries if query.group))
    groups = groups if len(groups) > 1 else []
    member = np.array([[query.group == group for group in groups] for query in queries])
    rows = []
    for column, metric in enumerate(metrics):
        own, base = values[:, column], trivial[:, column]
        for row, query in enumerate(queries):
            known = read & ~np.isnan(table[row])
            relevant = int((table[row][known] > 0).sum())
            note = notes[row] if relevant else "no film is relevant"
            rows.append(
                Measurement(
                    query.text,
                    metric,
                    float(own[row]),
                    baseline=float(base[row]),
                    n=int(known.sum()),
                    positives=relevant,
                    note=note,
                )
            )
        member_of = member.reshape(len(queries), len(groups))
        columns = np.where(member_of, own[:, None], np.nan)
        found = clustered_means(
            np.column_stack([columns, own]), None, n=setup.n, seed=setup.seed
        )
        for place, name in enumerate([*groups, MACRO]):
            inside = member_of[:, place] if name != MACRO else np.ones(len(own), bool)
            chance = base[inside & ~np.isnan(own)]
            # The paper counts perfect queries; the others are means.
            times = float(len(chance)) if metric.startswith("perfect") else 1.0
            rows.append(
                Measurement(
                    name,
                    metric,
                    found[place].value * times,
                    found[place].low * times,
                    found[place].high * times,
                    float(chance.mean()) * times if len(chance) else float("nan"),
                    found[place].n,
                )
            )
    return rows, len(queries)


def _by_films(
    model: Any,
    dataset: Dataset,
    direction: str,
    k: int,
    setup: Setup,
) -> tuple[list[Measurement], int]:
    labels = np.where(dataset.labels == -1, np.nan, dataset.labels)
    reports = [text.strip() for text in dataset.reports]
    told = ~np.isnan(labels).all(axis=1)
    to_report = direction == "image_to_report"
    if to_report:
        told &= np.array([bool(text) for text in reports], dtype=bool)
    if told.sum() < 2:
        raise InvalidValueError(
            f"dataset: found {int(told.sum())} studies with labels"
            f"{' and reports' if to_report else ''}, expected at least 2"
        )
    rows = np.flatnonzero(told)
    if to_report:
        films = model.embed(dataset[rows], progress=setup.progress)
        read = ~np.isnan(films).any(axis=(1, 2))
    else:
        films = model.encode(dataset[rows], progress=setup.progress)
        films = films.reshape(len(rows), -1)
        read = ~np.isnan(films).any(axis=1)
        films = films / np.maximum(np.linalg.norm(films, axis=1, keepdims=True), 1e-12)
    if not read.any():
        raise InvalidValueError("dataset: found no film that can be read")
    rows, films = rows[read], films[read]
    truth = labels[rows]
    patients = dataset.patients[rows]
    # A report that several films have is found once, and graded by the first of them.
    first = {reports[row]: at for at, row in reversed(list(enumerate(rows)))}
    pool = np.array(sorted(first.values())) if to_report else np.arange(len(rows))
    texts = None
    if to_report:
        texts = model.encode_text([reports[rows[at]] for at in pool])
    scores = []
    for at in range(len(rows)):
        if texts is not None:
            score = similarity(films[at][None], texts)[0]
            keep = np.ones(len(pool), dtype=bool)
        else:
            score = films @ films[at]
            # Other films of a patient are found too easily.
            keep = patients != patients[at]
        grade = _shared(truth[at], truth[pool])
        scores.append(_scored(np.where(keep, grade, np.nan), score, k))
    values, trivial = (np.array([score[part] for score in scores]) for part in (0, 1))
    found = clustered_means(values[:, :3], patients, n=setup.n, seed=setup.seed)
    measured = [
        Measurement(
            "all films",
            metric,
            interval.value,
            interval.low,
            interval.high,
            float(np.nanmean(trivial[:, column])) if interval.n else float("nan"),
            interval.n,
        )
        for column, (metric, interval) in enumerate(
            zip(_metrics(k)[:3], found, strict=True)
        )
    ]
    return measured, found[0].clusters


def _shared(own: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Grade by findings: 2 for the same ones, 1 for some in common, 0 for a difference.

    NaN, which takes no part, where what is known of both does not tell.
    """
    known = ~np.isnan(own) & ~np.isnan(others)
    equal = others == own
    some = (equal & (own == 1)).any(axis=1)
    differ = (known & ~equal).any(axis=1)
    return np.select([equal.all(axis=1), some, differ], [2.0, 1.0, 0.0], np.nan)


def _metrics(k: int) -> list[str]:
    return [f"ndcg@{k}", f"ndcg@{k} linear", f"precision@{k}", f"perfect@{k}"]


def _scored(
    grades: NDArray[np.float64], score: NDArray[Any], k: int
) -> tuple[list[float], list[float]]:
    """Metrics of one list, and those of a random order; NaN grades take no part."""
    known = ~np.isnan(grades)
    truth = np.ascontiguousarray(grades[known])
    if not (truth > 0).any():
        return [float("nan")] * 4, [float("nan")] * 4
    ranked = np.ascontiguousarray(score[known], dtype=np.float64)
    flat = np.zeros_like(truth)

    def measured(order: NDArray[np.float64]) -> list[float]:
        gains = [
            _core.ndcg(truth, order, truth, k, gain)
            for gain in ("exponential", "linear")
        ]
        return [*gains, _core.hits_at("precision", truth, order, k, 0)]

    # Items of equal score share their gains: the mean over all orders.
    own, trivial = measured(ranked), measured(flat)
    return [*own, float(own[0] >= _PERFECT)], [*trivial, _chance_of_perfect(truth, k)]


def _chance_of_perfect(truth: NDArray[np.float64], k: int) -> float:
    """Probability that a random order begins as well as can be."""
    ideal = np.sort(truth)[::-1][:k]
    left = {grade: int((truth == grade).sum()) for grade in set(ideal.tolist())}
    chance, remaining = 1.0, len(truth)
    for grade in ideal.tolist():
        chance *= left[grade] / remaining
        left[grade] -= 1
        remaining -= 1
    return chance


def _table(
    dataset: Dataset, queries: Queries, grades: Grades | None
) -> tuple[NDArray[np.float64], list[str]]:
    """Grades (queries, studies), and a note for each query."""
    if grades is None:
        graded = [query._graded(dataset) for query in queries]
        table = np.array([grade for grade, _ in graded])
        untold = "no attributes: sides, degrees and devices are not told apart"
        return table, ["" if told else untold for _, told in graded]
    if is_named(grades):
        known = column_names(grades)
        missing = [text for text in queries.texts if text not in known]
        if missing:
            raise InvalidValueError(f"grades: none for {missing}")
        columns = [
            floats(column_of(grades, text), f"grades: column {text!r}")
            for text in queries.texts
        ]
        if any(column.shape != (len(dataset),) for column in columns):
            shapes = sorted({column.shape for column in columns})
            raise ShapeError(
                f"grades: expected one for each of {len(dataset)} studies, "
                f"got shapes {shapes}"
            )
        table = np.array(columns)
    else:
        table = floats(cast(ArrayLike, grades), "grades")
        if table.shape != (len(queries), len(dataset)):
            raise ShapeError(
                f"grades: expected shape ({len(queries)}, {len(dataset)}), one row a "
                f"query, got {list(table.shape)}"
            )
    odd = table[~np.isnan(table) & ~((table >= 0) & (table <= 64))]
    if len(odd):
        raise InvalidValueError(f"grades: found {odd[0]:g}, expected 0 to 64 or NaN")
    return table, [""] * len(queries)
