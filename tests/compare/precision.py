"""Compare products in bfloat16 with products in float32: embeddings, scores and time.

Two models learn the findings of synthetic films in float32, then with products of
bfloat16 from the same start; each is asked in both precisions about films of patients
that it has not seen. Reported: the cosine between the embeddings of a film in the two
precisions, mean AUROC in float32 and what bfloat16 loses of it (paired; 95 % over
patients), and the time of encoding. Chance is an AUROC of 0.5.

Usage: ``python tests/compare/precision.py [--studies 1500] [--json PATH]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
from carina.metrics import auroc, bootstrap
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RESULTS = Path(__file__).parent / "results" / "precision.json"
VIT = {
    "arch": "vit",
    "image_size": 128,
    "patch_size": 16,
    "channels": 1,
    "dim": 192,
    "depth": 6,
    "heads": 3,
    "mlp_ratio": 4.0,
    "activation": "gelu_tanh",
    "class_token": False,
    "pool": "none",
}
TRUNKS: dict[str, dict[str, Any]] = {"resnet": {}, "vit": {"image": VIT}}


def drop(truths: Scores, both: Scores) -> float:
    """Mean AUROC of the left half of the columns less that of the right half."""
    half = both.shape[1] // 2
    full, short = auroc(truths, both, average=None).reshape(2, half).mean(1)
    return float(full - short)


def figure(interval: Any) -> list[float]:
    """List a value and the ends of its interval."""
    ends = (interval.value, interval.low, interval.high)
    return [round(float(end), 5) for end in ends]


def seconds(model: ca.Model, films: ca.Dataset, precision: Any) -> float:
    """Time the encoding of prepared films: the median of some runs."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.encode(films, precision=precision, cache="memory", progress=False)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compare(name: str, parts: dict[str, ca.Dataset], epochs: int, seed: int) -> Any:
    """Train a trunk in both precisions and ask each in both."""
    test = parts["test"]
    truth = np.asarray(test.labels, dtype=np.float64)
    rows = []
    for trained in ("f32", "bf16"):
        model = ca.create("elixr", size="tiny", seed=seed, **TRUNKS[name])
        start = time.perf_counter()
        ca.train(
            model,
            parts["train"],
            "supervised",
            epochs=epochs,
            seed=seed,
            precision=trained,
            progress=False,
        )
        spent = time.perf_counter() - start
        ask = {
            asked: {
                level: model.encode(test, level=level, precision=asked, progress=False)
                for level in ("pooled", "logits")
            }
            for asked in ("f32", "bf16")
        }
        full, half = (ask[asked]["pooled"] for asked in ("f32", "bf16"))
        norms = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
        cosine = (full * half).sum(axis=1) / norms
        scores = [np.asarray(a["logits"], dtype=np.float64) for a in ask.values()]
        options = {"groups": test.patients, "seed": seed, "progress": False}
        both = np.hstack([truth, truth]), np.hstack(scores)
        rows.append(
            {
                "trunk": name,
                "trained_in": trained,
                "train_seconds": round(spent, 1),
                "cosine_least": round(float(cosine.min()), 6),
                "cosine_mean": round(float(cosine.mean()), 6),
                "auroc_f32": figure(bootstrap("auroc", truth, scores[0], **options)),
                "drop_in_bf16": figure(bootstrap(drop, *both, **options)),
                "encode_seconds": {
                    asked: round(seconds(model, test, asked), 3) for asked in ask
                },
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    films = ca.phantom(arguments.studies, seed=arguments.seed, size=128, progress=False)
    parts = films.split(fractions={"train": 0.75, "test": 0.25}, seed=arguments.seed)
    table: list[Any] = []
    for name in TRUNKS:
        table += compare(name, parts, arguments.epochs, arguments.seed)
    arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
