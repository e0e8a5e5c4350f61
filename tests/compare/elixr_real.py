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
import tempfile
from pathlib import Path

import carina as ca
import numpy as np
from real_folds import Scores, compare, tabulate

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


def of_elixr(name: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one set by ELIXR's stages."""
    with tempfile.TemporaryDirectory() as folder:
        start(args.data, SIZES[name], args.seed).save(folder)

        def ways(learn: ca.Dataset, check: ca.Dataset) -> dict[str, Scores]:
            return {"words": score(name, Path(folder), learn, check, args.seed)}

        return compare(name, args.data, args.folds, args.seed, ways)


if __name__ == "__main__":
    tabulate("elixr_real", of_elixr)
