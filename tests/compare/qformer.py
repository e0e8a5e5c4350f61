"""What the stage of the Q-Former brings: zero-shot AUROC and retrieval, with it or not.

A model with a Q-Former learns synthetic films and their reports by contrast alone, then
by its own stage (contrast, match and caption; the image encoder stays as it is). Asked
are films of patients that it has not seen: the mean AUROC over findings by the largest
cosine over queries, and how often a film's report, or one of the same words, is among
the five most alike. Intervals: 95 %, over patients; the difference is paired. Chance is
an AUROC of 0.5 and the recall given.

Usage: ``python tests/compare/qformer.py [--studies 1600] [--seed 0] [--json PATH]``
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
from carina.evaluation import retrieval_quality
from carina.metrics import auroc, bootstrap
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "qformer.json"


def figure(value: float, low: float, high: float) -> list[float]:
    """List a value and the ends of its interval."""
    return [round(float(end), 4) for end in (value, low, high)]


def scores(model: ca.Model, films: ca.Dataset) -> NDArray[np.float64]:
    """Zero-shot scores, one column a finding."""
    table = model.zero_shot(films, "phantom", progress=False)
    return np.asarray(table.select(*films.findings).to_numpy(), dtype=np.float64)


def gain(truths: NDArray[np.float64], both: NDArray[np.float64]) -> float:
    """Mean AUROC of the right half of the columns less that of the left half."""
    half = both.shape[1] // 2
    before, after = auroc(truths, both, average=None).reshape(2, half).mean(1)
    return float(after - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1600)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    films = ca.phantom(given.studies, seed=given.seed, size=given.size, progress=False)
    parts = films.split(fractions={"train": 0.75, "test": 0.25}, seed=given.seed)
    test = parts["test"]
    truth = np.asarray(test.labels, dtype=np.float64)
    options = {"groups": test.patients, "seed": given.seed, "progress": False}
    model = ca.create("elixr", size="qformer", image_size=given.size, seed=given.seed)
    rows: dict[str, Any] = {"studies": given.studies, "test": len(test)}
    asked = []
    for stage in ("contrastive", "qformer"):
        start = time.perf_counter()
        ca.train(
            model,
            parts["train"],
            stage,
            epochs=given.epochs,
            batch_size=32,
            seed=given.seed,
            progress=False,
        )
        spent = time.perf_counter() - start
        asked.append(scores(model, test))
        found = bootstrap("auroc", truth, asked[-1], **options)
        retrieval = retrieval_quality(model, test, k=(5,), progress=False)
        rows[stage] = {
            "seconds": round(spent, 1),
            "auroc": figure(found.value, found.low, found.high),
            "recall@5": {
                name: [*figure(value, low, high), round(chance, 4)]
                for name, value, low, high, chance in zip(
                    *(retrieval[c] for c in ("direction", "recall", "low", "high")),
                    retrieval["chance"],
                    strict=True,
                )
            },
        }
        print(stage, json.dumps(rows[stage]), flush=True)
    both = np.hstack([truth, truth]), np.hstack(asked)
    found = bootstrap(gain, *both, **options)
    rows["gain"] = figure(found.value, found.low, found.high)
    written = ca.caption(model, test[:3], progress=False)
    rows["captions"] = [
        {"written": text, "report": report}
        for text, report in zip(written, test[:3].reports, strict=True)
    ]
    print("gain", rows["gain"], *rows["captions"], sep="\n")
    given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
