"""ELIXR's image and text stages on real films: found by words alone, beside the floor.

Films of other sources (Kermany's, with their labels as template sentences, and
synthetic ones with their reports) give a start: SupCon, then contrast. Then the films
of a set meet their texts: the readings of Shenzhen's (Montgomery's have none), or NIH's
labels as template sentences. The films of each fold, of other patients, are scored by
prompts alone; the floor (32 x 32 pixels, PCA, logistic regression) learns from the
labels of the same films. Scores of three seeds are averaged. No setting was chosen on
these sets: they are those of ``elixr.py`` and of the presets, but for more epochs on
fewer films.

Usage: ``python tests/compare/elixr_real.py [--data ../shared/data] [--folds 3]``
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import carina as ca
import numpy as np
from carina.demo.real_recipes import counted_findings
from real_folds import COMPONENTS, Scores, floor, folds, row

RESULTS = Path(__file__).parent / "results" / "elixr_real.json"
SIZES = {"nih14_64": 64, "tb_lung_masks": 128}
RUNS = 3
EPOCHS = 30


def start(data: Path, size: int, seed: int) -> ca.Model:
    """Train on other films and their texts."""
    kermany = ca.open_public("kermany_224", root=data).split_named("train")
    parts = {
        "kermany": kermany.with_reports(ca.label_reports(kermany, seed=seed)),
        "phantom": ca.phantom(4000, seed=seed, size=size, progress=False),
    }
    findings = list(dict.fromkeys(f for part in parts.values() for f in part.findings))
    films = ca.Dataset.concat(
        [part.with_findings(findings) for part in parts.values()], names=list(parts)
    )
    model = ca.create("elixr", size="qformer", image_size=size, seed=seed)
    for stage, epochs in (("supcon", 6), ("contrastive", 6)):
        ca.train(model, films, stage, epochs=epochs, seed=seed, progress=False)
    return model


def told(name: str, films: ca.Dataset, seed: int) -> ca.Dataset:
    """Give films their texts: readings, or labels in sentences."""
    if name == "tb_lung_masks":
        return films.filter(lambda study: bool(study.report.text.strip()))
    return films.with_reports(ca.label_reports(films, seed=seed))


def prompts(name: str, films: ca.Dataset) -> ca.PromptBank:
    """Make the words that stand for each finding."""
    if name == "tb_lung_masks":
        return ca.PromptBank.of("tuberculosis")
    called = {finding: finding.replace("_", " ").lower() for finding in films.findings}
    return ca.PromptBank.of(
        {
            finding: ([f"There is {words}.", f"{words}."], [f"No {words}."])
            for finding, words in called.items()
        }
    )


def score(
    name: str, folder: Path, learn: ca.Dataset, check: ca.Dataset, seed: int
) -> Scores:
    """Score films (films, findings) by words, after their stage on `learn`."""
    total = np.zeros(check.labels.shape)
    for run in range(seed, seed + RUNS):
        model = ca.load(folder)
        ca.train(
            model,
            told(name, learn, run),
            "contrastive",
            epochs=EPOCHS,
            batch_size=32,
            seed=run,
            progress=False,
        )
        table = model.zero_shot(check, prompts(name, check), progress=False)
        total += np.column_stack([table[finding] for finding in check.findings])
    return total


def compare(name: str, data: Path, count: int, seed: int) -> list[dict[str, object]]:
    """Rows of the table of one set."""
    films = ca.open_public(name, root=data).split_named("train")
    pooled: dict[str, list[Scores]] = {"floor": [], "words": []}
    held = []
    with tempfile.TemporaryDirectory() as folder:
        start(data, SIZES[name], seed).save(folder)
        for number, (learn, check) in enumerate(folds(films, count, seed)):
            begun = time.perf_counter()
            found = {
                "floor": floor(learn, check, COMPONENTS[name]),
                "words": score(name, Path(folder), learn, check, seed),
            }
            for way, scores in found.items():
                spread = np.maximum(scores.std(0), 1e-9)
                pooled[way].append((scores - scores.mean(0)) / spread)
            held.append(check)
            print(f"   {name} fold {number + 1}: {time.perf_counter() - begun:.0f} s")
    columns = counted_findings(films) if name == "nih14_64" else [0]
    truth = np.concatenate([part.labels for part in held])[:, columns]
    patients = np.concatenate([part.patients for part in held])
    joined = {way: np.concatenate(rows)[:, columns] for way, rows in pooled.items()}
    return [
        row(name, way, truth, scores, joined["floor"], patients, seed)
        for way, scores in joined.items()
    ]


def main() -> None:
    """Run both sets and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SIZES, action="append")
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = []
    for name in args.only or SIZES:
        rows += compare(name, args.data, args.folds, args.seed)
    written = {
        "command": f"python tests/compare/elixr_real.py --folds {args.folds}"
        f" --seed {args.seed}",
        "interval": "95 %, percentile bootstrap over patients, paired for differences",
        "rows": rows,
    }
    args.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
