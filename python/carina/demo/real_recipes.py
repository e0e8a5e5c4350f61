"""How the scores of the two hardest real sets are made, from any split of their films.

The demo scores the validation split with them, and ``tests/compare/real_folds.py`` the
folds of a cross-validation inside the training split. Trunk, epochs, batch and warm
start were chosen by such folds.
"""

import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from carina.dataset import Dataset
from carina.model import Model
from carina.openers import open_public
from carina.opening import create, load
from carina.phantom import phantom
from carina.probe import Probe
from carina.training import train

Scores: TypeAlias = NDArray[np.float64]

# One run on few films says little: scores of this many seeds are averaged.
RUNS = 3

# A finding with fewer positives than this is too rare to be measured.
FEWEST_POSITIVES = 5

# At 64 px the trunk keeps twice the grid of the preset's.
NIH_TRUNK: dict[str, Any] = {
    "image": {
        "widths": [16, 32, 64, 128],
        "depths": [1, 1, 1, 1],
        "stem_stride": 1,
        "drop_path": 0.1,
    }
}


def nih(
    data: Path, learn: Dataset, check: Dataset, seed: int, progress: bool
) -> dict[str, Scores]:
    """Score the findings of small films by what the scores may look at.

    A thousand films with mined labels are few: the scores of models that learn from
    them alone and of a probe on a trunk that learnt from others are averaged.
    """
    trunk = create("elixr", image_size=64, seed=seed, image={"drop_path": 0.1})
    train(
        trunk,
        _other_films(data, seed),
        "supervised",
        epochs=5,
        seed=seed,
        progress=progress,
    )
    learnt = np.zeros((len(check), len(check.findings)))
    for one in range(seed, seed + RUNS):
        model = create("elixr", image_size=64, seed=one, **NIH_TRUNK)
        train(
            model,
            learn,
            "supervised",
            epochs=25,
            batch_size=32,
            seed=one,
            progress=progress,
        )
        learnt += _standard(model.encode(check, level="logits", progress=False)) / RUNS
    known, asked = (trunk.encode(part, progress=False) for part in (learn, check))
    known_all, asked_all = (
        np.hstack([vectors, age_sex_view(part)])
        for vectors, part in ((known, learn), (asked, check))
    )
    scores = {}
    for inputs, rows, questions in (
        ("films", known, asked),
        ("films, age, sex and view", known_all, asked_all),
    ):
        probe = Probe(C=0.01, progress=False).fit(rows, learn.labels, learn.patients)
        scores[inputs] = learnt + _standard(probe.decision_function(questions))
    return scores


def tuberculosis(
    data: Path, learn: Dataset, check: Dataset, seed: int, progress: bool
) -> tuple[dict[str, Scores], Model]:
    """Score tuberculosis by words, by a probe, and from labels alone.

    Words are learnt from the readings, after a start on Kermany's films. Montgomery's
    films have no reading, so that those of Shenzhen alone teach the words. The last
    of the models that know words is returned for a search.
    """
    warm = create("elixr", image_size=128, seed=seed)
    kermany = open_public("kermany_224", root=data).split_named("train")
    train(warm, kermany, "supervised", epochs=4, seed=seed, progress=progress)
    scores = {way: np.zeros(len(check)) for way in ("zero-shot", "probe", "supervised")}
    few: dict[str, Any] = {"epochs": 40, "batch_size": 32, "progress": progress}
    # Readings are a sentence or two: they are matched and read as they stand.
    whole: dict[str, Any] = {
        "objective__same": "text",
        "objective__drop_sentence": 0.2,
        "objective__restate": 0.0,
        "objective__drop_detail": 0.0,
    }
    with tempfile.TemporaryDirectory() as folder:
        warm.save(folder)
        for one in range(seed, seed + RUNS):
            model = load(folder)
            train(model, learn, "contrastive", seed=one, **whole, **few)
            table = model.zero_shot(check, "tuberculosis", progress=False)
            scores["zero-shot"] += table["tuberculosis"]
            probe = Probe(model, C=0.01, progress=False).fit(learn)
            scores["probe"] += np.ravel(probe.decision_function(check))
            scratch = create("elixr", image_size=128, seed=one)
            train(scratch, learn, "supervised", schedule__peak=2e-3, seed=one, **few)
            logits = scratch.encode(check, level="logits", progress=False)
            scores["supervised"] += logits[:, 0]
    return scores, model


def counted_findings(check: Dataset) -> list[int]:
    """Columns that enter the NIH mean: not Pneumonia, which tells the source."""
    return [
        column
        for column, finding in enumerate(check.findings)
        if finding != "Pneumonia"
        and (check.labels[:, column] == 1).sum() >= FEWEST_POSITIVES
    ]


def age_sex_view(films: Dataset) -> Scores:
    """Age in years, male and anterior-posterior: what a film's own header says."""
    return np.array(
        [
            [
                study.record["age"],
                study.record["sex"] == "M",
                study.images[0].view == "AP",
            ]
            for study in films
        ]
    )


def _other_films(data: Path, seed: int) -> Dataset:
    """Join training films of other sources; what a source does not label is unknown."""
    sources = {
        "kermany": open_public("kermany_224", root=data).split_named("train"),
        "tuberculosis": open_public("tb_lung_masks", root=data).split_named("train"),
        "phantom": phantom(3000, seed=seed, size=64, progress=False),
    }
    everything = [f"{n}/{f}" for n, part in sources.items() for f in part.findings]
    aligned = [
        part.with_findings(
            {
                name: name.partition("/")[2] if name.startswith(f"{source}/") else None
                for name in everything
            }
        )
        for source, part in sources.items()
    ]
    return Dataset.concat(aligned, names=list(sources))


def _standard(logits: Any) -> Scores:
    """Logits of each finding with mean 0 and deviation 1, to be averaged."""
    values = np.asarray(logits, dtype=np.float64)
    scaled: Scores = (values - values.mean(0)) / values.std(0)
    return scaled
