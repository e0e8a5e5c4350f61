"""ELIXR from nothing: every stage, every task, one table.

Synthetic films of patients, split by patient. An image encoder learns which films share
their findings (SupCon); films meet their reports (contrast), at first with the encoder
at rest, in the end beside texts made wrong; a Q-Former learns to contrast, match and
caption; a small decoder learns to answer questions about reports that stand where films
will; and an adapter learns to tell it what films show, while it stays as it is. Then
held-out patients: zero-shot, search by nineteen queries, questions, wrong reports, and
probes on few films against SupCon and against training from scratch. Nothing is tuned
on them: the settings were chosen on films of seed 7. Intervals: 95 %, over patients
(over queries for the search).

Usage::

    python tests/compare/elixr.py [--studies 12000] [--size 128] [--json PATH]
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
SIZES = (64, 256, 1024)


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
        print(f"{name}: {self.seconds[name]:.0f} s {made}", flush=True)
        return made


def trained(
    parts: dict[str, ca.Dataset], given: argparse.Namespace, clock: Clock
) -> dict[str, ca.Model]:
    """Train the model; give it as it was after some of the stages, and at the end."""
    model = ca.create("elixr", size=given.model, image_size=given.size, seed=given.seed)
    stopped = {}

    def learn(name: str, stage: str, epochs: int, **changes: Any) -> None:
        changes = {"seed": given.seed, "epochs": epochs} | changes
        clock(
            name,
            lambda: ca.train(model, parts["train"], stage, progress=False, **changes),
        )

    def stop(name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            stopped[name] = ca.load(model.save(folder))

    learn("supcon", "supcon", given.epochs[0])
    stop("SupCon")
    learn(
        "contrastive, encoder at rest",
        "contrastive",
        given.epochs[1],
        freeze=["image.*"],
        schedule__peak=2e-3,
    )
    learn("contrastive", "contrastive", given.epochs[2])
    # Once it knows the findings, it is to know them from their denials.
    learn(
        "contrastive, beside wrong texts",
        "contrastive",
        given.epochs[3],
        objective__wrong=["laterality", "severity", "negation", "device"],
    )
    stop("contrastive")
    learn("qformer", "qformer", given.epochs[4])
    model.graft(ca.create_decoder(given.decoder, seed=given.seed))
    # Questions alone: whole reports would take most of the time.
    learn(
        "language",
        "language",
        given.epochs[5],
        objective__tasks=["reading"],
        objective__per_study=4,
    )
    before = weights(model, "decoder.")
    learn("graft", "graft", given.epochs[6], objective__tasks=["vqa"])
    assert weights(model, "decoder.") == before, "the decoder has changed"
    return stopped | {"all stages": model}


def main() -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=12000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", default="qformer")
    parser.add_argument("--decoder", default="1m")
    parser.add_argument(
        "--epochs",
        type=int,
        nargs=7,
        default=[12, 4, 14, 8, 3, 3, 6],
        metavar="N",
        help="of supcon, contrastive (encoder at rest, all, beside wrong texts), "
        "qformer, language and graft",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    clock = Clock()
    drawn = {"seed": given.seed, "size": given.size, "progress": False}
    films = clock("films", lambda: ca.phantom(given.studies, **drawn))
    parts = films.split(fractions={"train": 0.8, "test": 0.2}, seed=given.seed)
    models = trained(parts, given, clock)
    train, test = parts["train"], parts["test"]
    shared: dict[str, Any] = {"seed": given.seed, "progress": False}
    results: dict[str, ca.Result] = {}

    def measure(
        task: str, protocol: str, which: str = "all stages", **more: Any
    ) -> None:
        name = task if which == "all stages" else f"{task} after {which}"
        results[name] = clock(
            name, lambda: ca.evaluate(models[which], test, protocol, **more, **shared)
        )

    measure("zero-shot", "zero_shot", "contrastive", prompts="phantom")
    measure("zero-shot", "zero_shot", prompts="phantom")
    measure("search", "search", "contrastive")
    measure("search", "search")
    measure("questions", "vqa", train=train)
    measure("report quality", "report_quality", train=train, prompts="phantom")
    scratch = ca.Scratch(
        lambda seed: ca.create(
            "elixr", size=given.model, image_size=given.size, seed=seed
        ),
        changes={"epochs": given.epochs[0]},
    )
    anew = {"from scratch": scratch}
    few = [size for size in SIZES if size < len(train)]

    def curve(compared: dict[str, Any], sizes: list[Any], repeats: int) -> Any:
        more = {"sizes": sizes, "repeats": repeats, **shared}
        return ca.learning_curve(compared, train, test, **more)

    curves = {
        "probes": clock("probes", lambda: curve(models, [*few, "all"], 3)),
        "from scratch": clock("from scratch", lambda: curve(anew, few, 3)),
        # Once: three times would take as long as all stages.
        "from scratch, all": clock(
            "from scratch, all", lambda: curve(anew, ["all"], 1)
        ),
    }
    rows = {
        "settings": {k: v for k, v in vars(given).items() if k != "json"},
        "studies": {name: len(part) for name, part in parts.items()},
        "seconds": clock.seconds,
        "results": {
            name: json.loads(result.to_json() or "")
            for name, result in {**results, **curves}.items()
        },
    }
    given.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{sum(clock.seconds.values()) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
