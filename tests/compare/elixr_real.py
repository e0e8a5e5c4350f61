"""ELIXR's image and text stages on real films: by words, by a probe, beside the floor.

Films of other sources (Kermany's, with their labels as template sentences, and
synthetic ones with their reports) give a start: SupCon, then contrast. Then the films
of a set meet their texts: the readings of Shenzhen's (Montgomery's have none), or NIH's
labels as template sentences. The films of each fold, of other patients, are scored by
prompts alone, and by a probe that learns the labels of the same films from the model's
embeddings, as the floor does (32 x 32 pixels, PCA, logistic regression). Scores of
three seeds are averaged. The settings are those of the presets, with more epochs on
fewer films; the probe's, and what is left out of readings of a sentence or two, are
those of ``carina demo``, which were chosen by such folds, and the probe was added after
a look at one fold of NIH's films divided by another seed: the figures lean a little.

Usage: ``python tests/compare/elixr_real.py [--data ../shared/data] [--folds 3]``
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
from real_folds import Scores, compare, tabulate

SIZES = {"nih14_64": 64, "tb_lung_masks": 128}
RUNS = 3
EPOCHS = 30
# Labels in sentences are in the plainest words as they are.
AS_TOLD: dict[str, Any] = {"objective__restate": 0.0}
# Readings are a sentence or two: they are matched and read as they stand.
TEXTS: dict[str, dict[str, Any]] = {
    "tb_lung_masks": {
        "objective__same": "text",
        "objective__drop_sentence": 0.2,
        "objective__drop_detail": 0.0,
    }
}


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
    for stage, changes in (("supcon", {}), ("contrastive", AS_TOLD)):
        changes = {"epochs": 6, "seed": seed, "progress": False} | changes
        ca.train(model, films, stage, **changes)
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


def scores(
    name: str, folder: Path, learn: ca.Dataset, check: ca.Dataset, seed: int
) -> dict[str, Scores]:
    """Score films (films, findings) by words and by a probe, learnt from `learn`."""
    found = {way: np.zeros(check.labels.shape) for way in ("words", "probe")}
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
            **AS_TOLD,
            **TEXTS.get(name, {}),
        )
        table = model.zero_shot(check, prompts(name, check), progress=False)
        found["words"] += np.column_stack([table[one] for one in check.findings])
        probe = ca.Probe(model, C=0.01, progress=False).fit(learn)
        found["probe"] += probe.decision_function(check).reshape(check.labels.shape)
    return found


def of_elixr(name: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one set by ELIXR's stages."""
    with tempfile.TemporaryDirectory() as folder:
        start(args.data, SIZES[name], args.seed).save(folder)

        def ways(learn: ca.Dataset, check: ca.Dataset) -> dict[str, Scores]:
            return scores(name, Path(folder), learn, check, args.seed)

        return compare(name, args.data, args.folds, args.seed, ways)


if __name__ == "__main__":
    tabulate("elixr_real", of_elixr)
