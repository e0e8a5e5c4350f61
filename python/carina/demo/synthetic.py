"""The main job on synthetic films: train, zero-shot, search, probe, one page."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from carina._files import write_text
from carina.dataset import Dataset
from carina.demo.page import Page
from carina.evaluation import evaluate
from carina.index import Index
from carina.model import Model
from carina.opening import create
from carina.phantom import phantom
from carina.probe import Probe
from carina.queries import Query
from carina.result import Result
from carina.training import Run, train

STUDIES = 4000
SIZE = 128
SUPERVISED_EPOCHS = 10
CONTRASTIVE_EPOCHS = 12

# Sentences, as reports have them: chosen over bare phrases on the validation part.
QUERIES = [
    Query(
        text="There is a large left pleural effusion.",
        findings=["pleural effusion"],
        side="left",
    ),
    Query(
        text="There is a large right pleural effusion.",
        findings=["pleural effusion"],
        side="right",
    ),
    Query(
        text="There is a large left pneumothorax.",
        findings=["pneumothorax"],
        side="left",
    ),
    Query(text="The heart is severely enlarged.", findings=["cardiomegaly"]),
    Query(text="There is severe pulmonary edema.", findings=["edema"]),
    Query(
        text="There is a 20 mm nodule in the right lung.",
        findings=["lung nodule"],
        side="right",
    ),
]


def run_phantom(
    *,
    out: Path,
    seed: int = 0,
    studies: int = STUDIES,
    supervised_epochs: int = SUPERVISED_EPOCHS,
    contrastive_epochs: int = CONTRASTIVE_EPOCHS,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a small model on synthetic films and show what it can do.

    Parameters
    ----------
    out : Path
        Folder for the page, the numbers, the model and the index.
    seed : int, default=0
        Seed of the films, the weights and the training.
    studies : int, default=4000
        Synthetic studies, three quarters of whose patients train the model.
    supervised_epochs, contrastive_epochs : int
        Length of the two stages.
    progress : bool, default=True
        Whether to print the live table.

    Returns
    -------
    dict
        The figures that are also written to ``results.json``.
    """
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    say = print if progress else _silent

    say(f"1. {studies} synthetic studies at {SIZE} px (seed {seed})")
    films = phantom(studies, seed=seed, size=SIZE, progress=False)
    parts = films.split(fractions={"train": 0.75, "val": 0.05, "test": 0.2}, seed=seed)
    made = time.perf_counter() - start
    say(f"   {films!r} in {made:.1f} s; patients: {_patients(parts)}")

    model = create("elixr", size="tiny", image_size=SIZE, seed=seed)
    untrained = _zero_shot(model, parts["test"], seed)
    say(f"2. train {model!r}")
    runs = [
        train(
            model,
            parts["train"],
            "supervised",
            validation=parts["val"],
            epochs=supervised_epochs,
            seed=seed,
            progress=progress,
        ),
        train(
            model,
            parts["train"],
            "contrastive",
            validation=parts["val"],
            epochs=contrastive_epochs,
            # The trunk has learnt to see; now only the queries and the words move.
            freeze=["image.*"],
            schedule__peak=2e-3,
            seed=seed,
            progress=progress,
        ),
    ]
    for run in runs:
        say(f"   {run!r}")

    say("3. zero-shot on held-out patients: AUROC [95 % interval]")
    result = _zero_shot(model, parts["test"], seed)
    for row in result:
        if row.metric == "auroc":
            before = untrained.get("auroc", row.finding).value
            say(f"   {row.finding:<18} {row!s}   untrained {before:.3f}")

    say("4. search by words")
    searched = evaluate(
        model, parts["test"], "search", queries=QUERIES, seed=seed, progress=False
    )
    say(_indent(repr(searched)))
    index_path = out / "films.index"
    index = _index(index_path, model, parts["test"])
    hits = index.search(QUERIES[0].text, k=5)

    say("5. probe on frozen embeddings, with few labels")
    probed = _probe(model, parts, seed)
    for line in probed:
        say(f"   {line['films']:>5} films: mean AUROC {line['auroc']}")

    model.save(out / "model", licence="Apache-2.0")
    encode_speed = _encode_speed(model, parts["test"])
    seconds = time.perf_counter() - start
    figures = {
        "command": f"carina demo --seed {seed}",
        "seed": seed,
        "studies": {name: len(part) for name, part in parts.items()},
        "seconds": round(seconds, 1),
        "train_films_per_second": [round(run.films_per_second) for run in runs],
        "encode_films_per_second": round(encode_speed),
        "zero_shot": json.loads(result.to_json() or "{}"),
        "zero_shot_untrained": json.loads(untrained.to_json() or "{}"),
        "search": json.loads(searched.to_json() or "{}"),
        "probe": probed,
    }
    write_text(out / "results.json", json.dumps(figures, indent=1) + "\n")
    _page(out / "index.html", parts, runs, (result, untrained), searched, hits, probed)
    say(f"6. {seconds:.0f} s in all; page: {out / 'index.html'}")
    return figures


def _silent(*_: object) -> None:
    """Print nothing."""


def _patients(parts: dict[str, Dataset]) -> str:
    counts = {name: len(set(part.patients.tolist())) for name, part in parts.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _zero_shot(model: Model, test: Dataset, seed: int) -> Result:
    return evaluate(
        model,
        test,
        "zero_shot",
        prompts="phantom",
        seed=seed,
        data=f"{len(test)} synthetic studies of held-out patients",
        command=f"carina demo --seed {seed}",
        progress=False,
    )


def _index(path: Path, model: Model, test: Dataset) -> Index:
    if path.exists():
        import shutil

        shutil.rmtree(path)
    return Index.create(path, model, test)


def _probe(model: Model, parts: dict[str, Dataset], seed: int) -> list[dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(len(parts["train"]))
    rows = []
    test = model.encode(parts["test"], progress=False)
    for count in (64, 256, len(order)):
        few = parts["train"][order[:count]]
        probe = Probe(C=0.01).fit(model.encode(few, progress=False), few.labels)
        result = probe.evaluate(
            test, parts["test"].labels, groups=parts["test"].patients
        )
        rows.append({"films": count, "auroc": str(result.get("auroc"))})
    return rows


def _encode_speed(model: Model, test: Dataset) -> float:
    start = time.perf_counter()
    model.encode(test, progress=False)
    return len(test) / (time.perf_counter() - start)


def _indent(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


def _page(
    path: Path,
    parts: dict[str, Dataset],
    runs: list[Run],
    results: tuple[Result, Result],
    searched: Any,
    hits: Any,
    probed: list[dict[str, Any]],
) -> None:
    test = parts["test"]
    page = Page("carina demo: one model, many tasks")
    page.note(
        "Synthetic films, made and learnt on this machine. Scores order films; they "
        "are no probabilities, and nothing here is for clinical use."
    )
    page.section("Films", "Eight studies of held-out patients and what they hold.")
    shown = [test[i] for i in range(8)]
    page.films([study.images[0] for study in shown], [_caption(s) for s in shown])
    page.section("Training", "Loss by epoch.")
    for run in runs:
        losses = ", ".join(f"{loss:.3f}" for loss in run.epoch_losses())
        page.note(f"{run.stage['name']} ({run.films_per_second:.0f} films/s): {losses}")
    page.section("Zero-shot", "AUROC on held-out patients, with 95 % intervals.")
    page.forest(results[0])
    mean = results[1].get("auroc").value
    page.note(f"The untrained model's mean is {mean:.3f}; chance is 0.5.")
    page.section("Search", QUERIES[0].text)
    found = list(test[hits["key"]])
    page.films([study.images[0] for study in found], [_caption(s) for s in found])
    page.show(searched)
    page.section("Probe", "Mean AUROC of a logistic probe on frozen embeddings.")
    for line in probed:
        page.note(f"{line['films']} films: {line['auroc']}")
    page.write(path)


def _caption(study: Any) -> str:
    present = [name for name, label in study.labels.items() if label == 1]
    return ", ".join(present) or "normal"
