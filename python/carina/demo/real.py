"""The main job on real films: ``carina demo --data FOLDER``.

Every part trains on the training split of a public set, chooses nothing on the split
that it reports, and stands beside the floor that a trivial model reaches: tiny pixels
with PCA and logistic regression, fitted on the same training films.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from carina._files import write_text
from carina.dataset import Dataset
from carina.errors import InvalidValueError
from carina.evaluation import auroc_interval
from carina.metrics import Interval
from carina.model import Model, create
from carina.openers import open_public
from carina.training import train

RESULTS = Path("tests/compare/results/real_radiographs.json")

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
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = "above" if self.value > self.floor else "NOT above"
        return (
            f"{self.name:<34} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]  "
            f"{verdict} the floor {self.floor:.3f}   ({self.films} films, "
            f"{self.seconds:.0f} s)"
        )


def run_real(
    data: Path,
    *,
    out: Path | None = None,
    seed: int = 0,
    only: Sequence[str] | None = None,
    progress: bool = True,
) -> list[Figure]:
    """Train and measure on the real data sets below a folder.

    Parameters
    ----------
    data : Path
        The folder that holds ``pneumoniamnist``, ``nih14_64``, ``kermany_224`` and
        ``tb_lung_masks``.
    out : Path, optional
        The JSON file to write; by default the repository's results file where that
        folder exists, else ``carina-demo/real_radiographs.json``.
    seed : int, default=0
        Seed of weights, training and resampling.
    only : sequence of str, optional
        Parts to run; all by default.
    progress : bool, default=True
        Whether to print the live tables.

    Returns
    -------
    list of Figure
    """
    parts = list(PARTS) if only is None else list(only)
    unknown = [name for name in parts if name not in PARTS]
    if unknown:
        msg = f"only: found {unknown}, expected some of {list(PARTS)}"
        raise InvalidValueError(msg)
    figures: list[Figure] = []
    start = time.perf_counter()
    for name in parts:
        print(f"== {name}")
        for figure in PARTS[name](data, seed, progress):
            print(f"   {figure}")
            figures.append(figure)
    if out is None:
        inside = RESULTS.parent.is_dir()
        out = RESULTS if inside else Path("carina-demo/real_radiographs.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "command": "carina demo --data " + " ".join(["DATA", *_chosen(only)]),
        "seed": seed,
        "seconds": round(time.perf_counter() - start),
        "interval": "95 %, percentile bootstrap over patients, 1000 resamples",
        "figures": [asdict(figure) for figure in figures],
    }
    write_text(out, json.dumps(written, indent=1) + "\n")
    print(f"== {written['seconds']} s in all; figures: {out}")
    return figures


def _chosen(only: Sequence[str] | None) -> list[str]:
    return [] if only is None else ["--only", *only]


def _parts(data: Path, name: str) -> tuple[Dataset, Dataset]:
    whole = open_public(name, root=data)
    return whole.split_named("train"), whole.split_named("val")


def _head(model: Model, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    return model.classify(dataset, progress=False).to_numpy().astype(np.float64)


def _pneumoniamnist(data: Path, seed: int, progress: bool) -> list[Figure]:
    """Pneumonia of children at 28 px; the published ResNet-18 reaches 0.944 on test."""
    start = time.perf_counter()
    whole = open_public("pneumoniamnist", root=data)
    model = create("elixr", image_size=28, seed=seed, **SMALL_FILMS)
    train(
        model,
        whole.split_named("train"),
        "supervised",
        validation=whole.split_named("val"),
        epochs=20,
        seed=seed,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    figures = []
    for split, floor in (("val", 0.989), ("test", 0.929)):
        part = whole.split_named(split)
        found = auroc_interval(
            part.labels[:, 0], _head(model, part)[:, 0], part.patients, seed=seed
        )
        note = "published ResNet-18 at 28 px: 0.944" if split == "test" else ""
        figures.append(
            _figure("PneumoniaMNIST", split, found, floor, part, seconds, note)
        )
    return figures


def _kermany(data: Path, seed: int, progress: bool) -> list[Figure]:
    """Pneumonia of children, and virus against bacteria, at 128 px."""
    start = time.perf_counter()
    learn, check = _parts(data, "kermany_224")
    model = create("elixr", image_size=128, seed=seed)
    train(
        model,
        learn,
        "supervised",
        validation=check,
        epochs=12,
        seed=seed,
        progress=progress,
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
        found = auroc_interval(truth, score[rows], part.patients, seed=seed)
        figures.append(
            _figure(f"Kermany {finding}", "val", found, floor, part, seconds, note)
        )
    return figures


def _nih(data: Path, seed: int, progress: bool) -> list[Figure]:
    """Thirteen findings of NIH ChestX-ray14 at 64 px, without Pneumonia."""
    start = time.perf_counter()
    learn, check = _parts(data, "nih14_64")
    model = create("elixr", image_size=64, seed=seed, **NIH_MODEL)
    train(
        model,
        learn,
        "supervised",
        validation=check,
        epochs=25,
        seed=seed,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    truth = check.labels
    columns = [
        i
        for i, finding in enumerate(check.findings)
        if finding.lower() != "pneumonia" and (truth[:, i] == 1).sum() >= 5
    ]
    found = auroc_interval(
        truth[:, columns], _head(model, check)[:, columns], check.patients, seed=seed
    )
    names = ", ".join(check.findings[i] for i in columns)
    note = f"mean of the labels with 5 positives or more on val: {names}"
    return [_figure("NIH mean AUROC", "val", found, 0.696, check, seconds, note)]


def _tuberculosis(data: Path, seed: int, progress: bool) -> list[Figure]:
    """Zero-shot tuberculosis after image–text training on the readings."""
    start = time.perf_counter()
    learn, check = _parts(data, "tb_lung_masks")
    model = create("elixr", image_size=128, seed=seed)
    kermany, _ = _parts(data, "kermany_224")
    train(model, kermany, "supervised", epochs=4, seed=seed, progress=progress)
    train(
        model,
        learn,
        "contrastive",
        epochs=40,
        batch_size=32,
        seed=seed,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    scores = model.zero_shot(check, "tuberculosis", progress=False)
    found = auroc_interval(
        check.labels[:, 0], scores["tuberculosis"], check.patients, seed=seed
    )
    note = "zero-shot by the words of the readings, no label was shown in this stage"
    return [
        _figure("tuberculosis, zero-shot", "val", found, 0.870, check, seconds, note)
    ]


NIH_MODEL: dict[str, Any] = {
    "image": {
        "widths": [16, 32, 64, 128],
        "depths": [1, 1, 1, 1],
        "stem_stride": 1,
        "stem_pool": False,
        "drop_path": 0.1,
    }
}


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


PARTS: dict[str, Callable[[Path, int, bool], list[Figure]]] = {
    "pneumoniamnist": _pneumoniamnist,
    "nih": _nih,
    "kermany": _kermany,
    "tuberculosis": _tuberculosis,
}
