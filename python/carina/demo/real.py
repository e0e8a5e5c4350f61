"""The main job on real films: ``carina demo --data FOLDER``."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from carina._files import write_text
from carina.demo.page import Page
from carina.demo.real_parts import PARTS, Figure, Setup
from carina.errors import InvalidValueError

RESULTS = Path("tests/compare/results/real_radiographs.json")


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
        The folder for ``real_radiographs.json`` and the page ``real.html``; by default
        ``carina-demo``, and in the repository its results folder for the figures.
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
    page = Page("carina demo on real films")
    page.note(
        "AUROC with 95 % intervals on patients that no model learnt from, beside the "
        "floor: what tiny pixels and logistic regression reach. Not for clinical use."
    )
    setup = Setup(data, seed, progress, page)
    start = time.perf_counter()
    for name in parts:
        print(f"== {name}")
        page.section(name)
        for measured in PARTS[name](setup):
            figure = replace(measured, part=name)
            print(f"   {figure}")
            page.note(f"{figure}. {figure.note}")
            figures.append(figure)
    folder = out or Path("carina-demo")
    inside = out is None and RESULTS.parent.is_dir()
    path = RESULTS if inside else folder / RESULTS.name
    folder.mkdir(parents=True, exist_ok=True)
    seconds = time.perf_counter() - start
    _write(path, seed, parts, figures)
    page.write(folder / "real.html")
    print(f"== {seconds:.0f} s in all; figures: {path}; page in {folder}")
    return figures


def _write(path: Path, seed: int, parts: list[str], figures: list[Figure]) -> None:
    """Write the figures; those of parts that did not run stay as they are."""
    rows = [asdict(figure) | {"seed": seed} for figure in figures]
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["figures"]
        rows += [row for row in before if row["part"] not in parts]
    written = {
        "command": "carina demo --data DATA [--seed SEED] [--only PART]",
        "interval": "95 %, percentile bootstrap over patients, 1000 resamples",
        "figures": sorted(rows, key=lambda row: list(PARTS).index(row["part"])),
    }
    write_text(path, json.dumps(written, indent=1) + "\n")
