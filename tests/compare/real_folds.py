"""Compare the demo's models with the trivial floor on folds of the training films.

The validation splits of the two hardest real sets are small (252 and 85 films). Here
their training films are divided into folds by patient; the recipes of
``carina demo --data`` and the floor's (32 x 32 pixels, PCA, logistic regression) learn
from the same folds and score the same held-out films. Scores are standardised within a
fold and pooled; intervals resample patients, and the difference is paired.

The recipes were chosen by folds of these films, so that the figures lean their way a
little; the intervals do not cover that.

Usage: ``python tests/compare/real_folds.py [--data ../shared/data] [--folds 3]``
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import carina as ca
import numpy as np
from carina.demo.real_recipes import counted_findings, nih, tuberculosis
from carina.metrics import auroc, bootstrap
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Scores = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"

# Components that give the floors of the two sets.
COMPONENTS = {"nih14_64": 40, "tb_lung_masks": 30}


def folds(
    films: ca.Dataset, count: int, seed: int
) -> Iterator[tuple[ca.Dataset, ca.Dataset]]:
    """Divide films by patient: what to learn from and what to score."""
    patients = np.unique(films.patients)
    np.random.default_rng(seed).shuffle(patients)
    held = {patient: place % count for place, patient in enumerate(patients)}
    fold = np.array([held[patient] for patient in films.patients])
    for one in range(count):
        yield films[fold != one], films[fold == one]


def floor(learn: ca.Dataset, check: ca.Dataset, components: int) -> Scores:
    """Score with tiny pixels, PCA and logistic regression."""
    pixels = [
        part.tensors(ca.Recipe.film(32), progress=False)[0].reshape(len(part), -1)
        for part in (learn, check)
    ]
    scores = np.zeros(check.labels.shape)
    for column, truth in enumerate(learn.labels.T):
        if len(np.unique(truth)) == 1:
            continue  # A rare finding that none of these films has; it is not counted.
        model = make_pipeline(
            PCA(components, random_state=0),
            StandardScaler(),
            LogisticRegression(max_iter=2000),
        )
        model.fit(pixels[0], truth == 1)
        scores[:, column] = model.decision_function(pixels[1])
    return scores


def score_fold(
    name: str, data: Path, learn: ca.Dataset, check: ca.Dataset, seed: int
) -> dict[str, Scores]:
    """Scores of every way of the demo, each of shape (films, findings)."""
    if name == "nih14_64":
        return nih(data, learn, check, seed, progress=False)
    found, _ = tuberculosis(data, learn, check, seed, progress=False)
    return {way: score[:, None] for way, score in found.items()}


def compare(
    name: str,
    data: Path,
    count: int,
    seed: int,
    ways: Callable[[ca.Dataset, ca.Dataset], dict[str, Scores]],
) -> list[dict[str, object]]:
    """Rows of the table of one set: the floor, and `ways` to score films of a fold."""
    films = ca.open_public(name, root=data).split_named("train")
    pooled: dict[str, list[Scores]] = {}
    held = []
    for number, (learn, check) in enumerate(folds(films, count, seed)):
        start = time.perf_counter()
        scored = {"floor": floor(learn, check, COMPONENTS[name])} | ways(learn, check)
        for way, score in scored.items():
            spread = np.maximum(score.std(0), 1e-9)
            pooled.setdefault(way, []).append((score - score.mean(0)) / spread)
        held.append(check)
        print(f"   {name} fold {number + 1}: {time.perf_counter() - start:.0f} s")
    columns = counted_findings(films) if name == "nih14_64" else [0]
    truth = np.concatenate([part.labels for part in held])[:, columns]
    patients = np.concatenate([part.patients for part in held])
    scores = {way: np.concatenate(rows)[:, columns] for way, rows in pooled.items()}
    return [
        row(name, way, truth, score, scores["floor"], patients, seed)
        for way, score in scores.items()
    ]


def row(
    name: str,
    way: str,
    truth: Scores,
    score: Scores,
    base: Scores,
    patients: NDArray[np.str_],
    seed: int,
) -> dict[str, object]:
    """Mean AUROC and its paired difference from the floor, with intervals."""

    def gain(truths: Scores, both: Scores) -> float:
        half = both.shape[1] // 2
        ours, theirs = auroc(truths, both, average=None).reshape(2, half).mean(1)
        return float(ours - theirs)

    options = {"groups": patients, "seed": seed, "progress": False}
    value = bootstrap("auroc", truth, score, **options)
    twice, both = np.hstack([truth, truth]), np.hstack([score, base])
    difference = bootstrap(gain, twice, both, **options)
    found: dict[str, object] = {"set": name, "way": way, "films": len(truth)}
    for key, interval in (("auroc", value), ("above_floor", difference)):
        ends = (interval.value, interval.low, interval.high)
        found[key] = [round(float(end), 4) for end in ends]
    print(f"   {name:<14} {way:<26} {value}   above the floor {difference}")
    return found


def tabulate(
    script: str,
    compare_set: Callable[[str, argparse.Namespace], list[dict[str, object]]],
) -> None:
    """Read the command line, compare the sets that it names, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=COMPONENTS, action="append")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{script}.json")
    args = parser.parse_args()
    command = (
        f"python tests/compare/{script}.py --folds {args.folds} --seed {args.seed}"
    )
    written: dict[str, object] = {
        "command": command,
        "interval": "95 %, percentile bootstrap over patients, paired for differences",
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for name in args.only or COMPONENTS:
        rows += compare_set(name, args)
        # Each set as it ends: the next may take long.
        text = json.dumps(written | {"rows": rows}, indent=1)
        args.json.write_text(text + "\n", encoding="utf-8")


def of_demo(name: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one set by the recipes of the demo."""

    def ways(learn: ca.Dataset, check: ca.Dataset) -> dict[str, Scores]:
        return score_fold(name, args.data, learn, check, args.seed)

    return compare(name, args.data, args.folds, args.seed, ways)


if __name__ == "__main__":
    tabulate("real_folds", of_demo)
