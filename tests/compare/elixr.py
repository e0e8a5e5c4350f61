"""ELIXR from nothing: every stage, every task, one table.

Synthetic films of patients, split by patient. An image encoder learns which films share
their findings (SupCon), films meet their reports (contrast), a Q-Former learns to
contrast, match and caption, a small decoder learns the language of reports from texts
alone, and an adapter learns to tell it what films show while it stays as it is. Then
held-out patients: zero-shot, search by nineteen queries, probes on few films against
SupCon and against training from scratch, questions, and reports with errors. Nothing is
tuned on them. Intervals: 95 %, over patients (over queries for the search).

Usage::

    python tests/compare/elixr.py [--studies 6000] [--size 128] [--json PATH]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np

RESULTS = Path(__file__).parent / "results" / "elixr.json"
SIZES = (64, 256, 1024, "all")


def weights(model: ca.Model, prefix: str) -> str:
    """Hash all parameters whose names begin with `prefix`."""
    digest = hashlib.sha256()
    for name in sorted(model.parameters()):
        if name.startswith(prefix):
            digest.update(np.ascontiguousarray(model.parameter(name)).tobytes())
    return digest.hexdigest()


class Clock:
    """Runs steps, and keeps how long each took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        made = step()
        self.seconds[name] = round(time.perf_counter() - start, 1)
        print(f"{name}: {self.seconds[name]:.0f} s {made if made is not None else ''}")
        return made


def trained(
    parts: dict[str, ca.Dataset], given: argparse.Namespace, clock: Clock
) -> tuple[ca.Model, ca.Model]:
    """Train the model; and give one that stopped after SupCon."""
    model = ca.create("elixr", size=given.model, image_size=given.size, seed=given.seed)

    def learn(stage: str, epochs: int, **changes: Any) -> None:
        changes = {"seed": given.seed, "epochs": epochs} | changes
        clock(
            stage,
            lambda: ca.train(model, parts["train"], stage, progress=False, **changes),
        )

    learn("supcon", given.epochs[0])
    with tempfile.TemporaryDirectory() as folder:
        early = ca.load(model.save(folder))
    learn("contrastive", given.epochs[1])
    learn("qformer", given.epochs[2])
    model.graft(ca.create_decoder(given.decoder, seed=given.seed))
    learn("language", given.epochs[3])
    before = weights(model, "decoder.")
    learn("graft", given.epochs[4])
    assert weights(model, "decoder.") == before, "the decoder has changed"
    return model, early


def main() -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=6000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", default="qformer")
    parser.add_argument("--decoder", default="1m")
    parser.add_argument(
        "--epochs",
        type=int,
        nargs=5,
        default=[8, 16, 8, 8, 8],
        metavar="N",
        help="of supcon, contrastive, qformer, language and graft",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    clock = Clock()
    films = ca.phantom(given.studies, seed=given.seed, size=given.size, progress=False)
    parts = films.split(fractions={"train": 0.8, "test": 0.2}, seed=given.seed)
    model, early = trained(parts, given, clock)
    train, test = parts["train"], parts["test"]
    shared: dict[str, Any] = {"seed": given.seed, "progress": False}
    results = {
        "zero-shot": clock(
            "zero-shot",
            lambda: ca.evaluate(model, test, "zero_shot", prompts="phantom", **shared),
        ),
        "search": clock("search", lambda: ca.evaluate(model, test, "search", **shared)),
        "questions": clock(
            "questions", lambda: ca.evaluate(model, test, "vqa", train=train, **shared)
        ),
        "report quality": clock(
            "report quality",
            lambda: ca.evaluate(model, test, "report_quality", **shared),
        ),
        "report quality by similarity": clock(
            "report quality by similarity",
            lambda: ca.evaluate(
                model, test, "report_quality", train=train, prompts="phantom", **shared
            ),
        ),
    }
    scratch = ca.Scratch(
        lambda seed: ca.create(
            "elixr", size=given.model, image_size=given.size, seed=seed
        ),
        changes={"epochs": given.epochs[1]},
    )
    curve = clock(
        "probes",
        lambda: ca.learning_curve(
            {"all stages": model, "SupCon": early, "from scratch": scratch},
            train,
            test,
            sizes=SIZES,
            repeats=3,
            **shared,
        ),
    )
    rows = {
        "settings": {k: v for k, v in vars(given).items() if k != "json"},
        "studies": {name: len(part) for name, part in parts.items()},
        "seconds": clock.seconds,
        "results": {name: json.loads(r.to_json() or "") for name, r in results.items()},
        "probes": json.loads(curve.to_json() or ""),
    }
    given.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{sum(clock.seconds.values()) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
