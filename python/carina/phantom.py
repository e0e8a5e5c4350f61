"""Synthetic frontal films with exact truth, for learning, testing and teaching."""

import json
import math
import operator
from typing import Literal

from carina import _core
from carina._progress import Bar
from carina.dataset import Dataset
from carina.errors import InvalidValueError

FINDINGS: tuple[str, ...] = tuple(_core.phantom_findings())
"""The findings of every phantom, in the order of the labels."""


def phantom(
    n: int = 1000,
    *,
    seed: int = 0,
    size: int = 128,
    view: Literal["PA", "AP"] | None = None,
    uncertain: float = 0.0,
    missing: float = 0.0,
    normal_share: float = 0.36,
    structures: bool = True,
    progress: bool | None = None,
) -> Dataset:
    """Make synthetic chest studies whose truth is exact.

    Each film is a sum of line integrals through an analytic thorax, sent through
    transmission, scatter, quantum noise and a display curve. Findings go together
    as they do in patients (heart failure, infection, trauma, intensive care, …);
    masks, boxes, labels, attributes, report, questions and clinical record all
    follow from what was drawn. Nothing comes from a patient. What a model scores
    here says nothing about real films.

    Parameters
    ----------
    n : int
        Number of studies. A patient has one to three, so split by patient.
    seed : int
        Names the world that the patients come from. The same seed gives the same
        studies on every machine, and fewer studies are the first of more.
    size : int
        Edge of the square films in pixels, 32 to 2048; a film covers 33 to 45 cm.
    view : {"PA", "AP"}, optional
        All films in one view. By default most are PA; the bedside ones are AP.
    uncertain : float
        Share of present findings that the report is in doubt about (label -1).
    missing : float
        Share of labels that are unknown (NaN) and of which the report is silent.
        Masks, boxes and attributes stay exact.
    normal_share : float
        Share of patients without any finding.
    structures : bool
        Whether the masks also hold ``right lung``, ``left lung`` and ``heart``.
    progress : bool, optional
        Show a bar; by default in notebooks and terminals only.

    Returns
    -------
    Dataset
        Films are float32 in [0, 1], bone white, with the spacing in mm; the
        patient's left is on the right of the image. Attributes give side, zone
        and severity (for nodules the diameter, as ``"14 mm"``), and name each
        device. Records have ``age_years``, ``sex``, vital signs, laboratory
        values and complaints, some of them missing.

    Raises
    ------
    InvalidValueError
        If a value is out of its range, or the studies would not fit in memory:
        one takes about 8 bytes a pixel.

    Examples
    --------
    >>> ds = carina.phantom(100, seed=1)  # doctest: +SKIP
    >>> train, test = ds.split((0.8, 0.2))  # doctest: +SKIP
    """
    options = {
        "studies": _count("n", n, 1),
        "seed": _count("seed", seed, 0),
        "size": _count("size", size, 0),
        "view": "UNKNOWN" if view is None else view,
        "uncertain": _share("uncertain", uncertain),
        "missing": _share("missing", missing),
        "normal_share": _share("normal_share", normal_share),
        "structures": bool(structures),
    }
    if view not in (None, "PA", "AP"):
        raise InvalidValueError(f'view: found {view!r}, expected "PA", "AP" or None')
    with Bar("Making phantoms", show=progress, unit="study") as bar:
        return Dataset(_core.make_phantoms(json.dumps(options), bar))


def _count(name: str, value: int, least: int) -> int:
    number = operator.index(value)
    if not least <= number < 2**63:
        raise InvalidValueError(f"{name}: found {number}, expected at least {least}")
    return number


def _share(name: str, value: float) -> float:
    share = float(value)
    # The core checks the range; JSON has no word for the rest.
    if not math.isfinite(share):
        raise InvalidValueError(f"{name}: found {share}, expected a share from 0 to 1")
    return share
