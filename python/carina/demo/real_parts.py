"""The parts of the demo on real films, one for each public set.

Every part trains on the training split and stands beside the floor that a trivial model
reaches: tiny pixels with PCA and logistic regression, fitted on the same training
films. Test splits choose nothing. Two choices were made with validation figures in
sight: how the viral score is formed, and that NIH adds a probe.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carina.dataset import Dataset
from carina.demo.page import Page
from carina.demo.real_recipes import RUNS, counted_findings, nih, tuberculosis
from carina.evaluation import auroc_interval
from carina.index import Index
from carina.metrics import Interval
from carina.model import Model
from carina.openers import open_public
from carina.opening import create
from carina.training import train

QUERY = "PTB in the right upper field"

# The trunk of the 28 px part: every grid cell counts there.
SMALL_FILMS: dict[str, Any] = {
    "image": {
        "widths": [32, 64, 128],
        "depths": [1, 1, 1],
        "stem_width": 32,
        "stem_stride": 1,
        "stem_pool": False,
    }
}


@dataclass
class Figure:
    """One number with what is needed to judge it."""

    name: str
    split: str
    value: float
    low: float
    high: float
    floor: float
    films: int
    seconds: float
    note: str = ""
    part: str = ""

    def __str__(self) -> str:
        verdict = "above" if self.value > self.floor else "NOT above"
        return (
            f"{self.name:<34} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]  "
            f"{verdict} the floor {self.floor:.3f}   ({self.films} films, "
            f"{self.seconds:.0f} s)"
        )


@dataclass
class Setup:
    """What every part is given."""

    data: Path
    seed: int
    progress: bool
    page: Page


def _parts(data: Path, name: str) -> tuple[Dataset, Dataset]:
    whole = open_public(name, root=data)
    return whole.split_named("train"), whole.split_named("val")


def _head(model: Model, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    return model.classify(dataset, progress=False).to_numpy().astype(np.float64)


def _pneumoniamnist(setup: Setup) -> list[Figure]:
    """Pneumonia of children at 28 px; the published ResNet-18 reaches 0.944 on test."""
    start = time.perf_counter()
    whole = open_public("pneumoniamnist", root=setup.data)
    model = create("elixr", image_size=28, seed=setup.seed, **SMALL_FILMS)
    train(
        model,
        whole.split_named("train"),
        "supervised",
        validation=whole.split_named("val"),
        epochs=20,
        seed=setup.seed,
        progress=setup.progress,
    )
    seconds = time.perf_counter() - start
    figures = []
    for split, floor in (("val", 0.989), ("test", 0.929)):
        part = whole.split_named(split)
        found = auroc_interval(
            part.labels[:, 0], _head(model, part)[:, 0], part.patients, seed=setup.seed
        )
        note = "published ResNet-18 at 28 px: 0.944" if split == "test" else ""
        figures.append(
            _figure("PneumoniaMNIST", split, found, floor, part, seconds, note)
        )
    return figures


def _kermany(setup: Setup) -> list[Figure]:
    """Pneumonia of children, and virus against bacteria, at 128 px."""
    start = time.perf_counter()
    learn, check = _parts(setup.data, "kermany_224")
    model = create("elixr", image_size=128, seed=setup.seed)
    train(
        model,
        learn,
        "supervised",
        validation=check,
        epochs=12,
        seed=setup.seed,
        progress=setup.progress,
    )
    seconds = time.perf_counter() - start
    scores = model.encode(check, level="logits", progress=False).astype(np.float64)
    column = check.findings.index
    ill = check.labels[:, column("pneumonia")] == 1
    # Whose pneumonia is viral is a choice between two heads: their difference.
    viral = scores[:, column("virus")] - scores[:, column("bacteria")]
    everyone = np.ones(len(check), bool)
    pneumonia = scores[:, column("pneumonia")]
    questions = [
        ("pneumonia", everyone, pneumonia, 0.986, ""),
        ("virus", ill, viral, 0.803, "against bacteria, among films with pneumonia"),
    ]
    figures = []
    for finding, rows, score, floor, note in questions:
        part, truth = check[rows], check.labels[rows, column(finding)]
        found = auroc_interval(truth, score[rows], part.patients, seed=setup.seed)
        figures.append(
            _figure(f"Kermany {finding}", "val", found, floor, part, seconds, note)
        )
    return figures


def _nih(setup: Setup) -> list[Figure]:
    """Measure NIH ChestX-ray14 at 64 px: the mean AUROC of findings, less Pneumonia."""
    start = time.perf_counter()
    learn, check = _parts(setup.data, "nih14_64")
    scores = nih(setup.data, learn, check, setup.seed, setup.progress)
    seconds = time.perf_counter() - start
    columns = counted_findings(check)
    names = ", ".join(check.findings[i] for i in columns)
    notes = {
        "films": "",
        "films, age, sex and view": "; the probe also reads age, sex and view",
    }
    figures = []
    for inputs, score in scores.items():
        found = auroc_interval(
            check.labels[:, columns],
            score[:, columns],
            check.patients,
            seed=setup.seed,
        )
        note = (
            f"mean of {names}: those with 5 positives or more on val; {RUNS} runs and "
            "a probe on a trunk that learnt from Kermany, tuberculosis and synthetic "
            f"films{notes[inputs]}"
        )
        figures.append(
            _figure(f"NIH mean, {inputs}", "val", found, 0.696, check, seconds, note)
        )
    return figures


def _tuberculosis(setup: Setup) -> list[Figure]:
    """Tuberculosis: by words and by a probe after the readings; from labels alone."""
    start = time.perf_counter()
    learn, check = _parts(setup.data, "tb_lung_masks")
    scores, model = tuberculosis(setup.data, learn, check, setup.seed, setup.progress)
    seconds = time.perf_counter() - start
    _search(model, check, setup.page)
    notes = {
        "zero-shot": "by words alone, after image–text training on the readings",
        "probe": "logistic probe on the vectors of the films, after the same training",
        "supervised": "from the labels alone, from scratch",
    }
    figures = []
    for way, score in scores.items():
        found = auroc_interval(
            check.labels[:, 0], score, check.patients, seed=setup.seed
        )
        figures.append(
            _figure(
                f"tuberculosis, {way}",
                "val",
                found,
                0.870,
                check,
                seconds,
                f"{notes[way]}; {RUNS} runs",
            )
        )
    return figures


def _search(model: Model, check: Dataset, page: Page) -> None:
    """Show the films that answer a query in the register of the readings."""
    with tempfile.TemporaryDirectory() as folder:
        hits = Index.create(Path(folder) / "films", model, check).search(QUERY, k=5)
    found = check[hits["key"]]
    readings = [report.strip() or "no reading" for report in found.reports]
    print(f"   search {QUERY!r}: {'; '.join(readings)}")
    page.note(
        f"The five films nearest to {QUERY!r}, with their readings. Tuberculosis have "
        f"{found.labels.sum():.0f} of them, and {check.labels.mean():.0%} of all films."
    )
    page.films([study.images[0] for study in found], readings)


def _figure(
    name: str,
    split: str,
    found: Interval,
    floor: float,
    part: Dataset,
    seconds: float,
    note: str = "",
) -> Figure:
    return Figure(
        name=f"{name} ({split})",
        split=split,
        value=round(float(found.value), 4),
        low=round(float(found.low), 4),
        high=round(float(found.high), 4),
        floor=floor,
        films=len(part),
        seconds=round(seconds, 1),
        note=note,
    )


PARTS: dict[str, Callable[[Setup], list[Figure]]] = {
    "pneumoniamnist": _pneumoniamnist,
    "nih": _nih,
    "kermany": _kermany,
    "tuberculosis": _tuberculosis,
}
