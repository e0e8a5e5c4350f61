"""Synthetic films and chest CT with exact truth, for learning, testing and teaching."""

import json
import math
import operator
from typing import Literal

from carina import _core
from carina._progress import Bar
from carina.dataset import Dataset
from carina.errors import InvalidValueError

FINDINGS: tuple[str, ...] = tuple(_core.phantom_findings())
"""The findings of every film phantom, in the order of the labels."""

CT_FINDINGS: tuple[str, ...] = tuple(_core.ct_phantom_findings())
"""The findings of every CT phantom, in the order of the labels."""


def phantom(
    n: int | None = None,
    *,
    kind: Literal["film", "ct"] = "film",
    seed: int = 0,
    size: int = 128,
    view: Literal["PA", "AP"] | None = None,
    uncertain: float = 0.0,
    missing: float = 0.0,
    normal_share: float = 0.36,
    structures: bool = True,
    slices: int | None = 64,
    contrast: float = 0.1,
    noise: float = 1.0,
    missing_record: float = 0.05,
    progress: bool | None = None,
) -> Dataset:
    """Make synthetic chest studies whose truth is exact.

    Each film is a sum of line integrals through an analytic thorax, sent through
    transmission, scatter, quantum noise and a display curve. Findings go together
    as they do in patients (heart failure, infection, trauma, intensive care, …);
    masks, boxes, labels, attributes, report, questions and clinical record all
    follow from what was drawn. Nothing comes from a patient. What a model scores
    here says nothing about real films.

    With ``kind="ct"`` a study is a chest CT in HU. The body, its lungs and lobes,
    heart, vessels, airways and bones are smooth shapes and grown trees; a slice is
    the mean of its thickness, blurred and made noisy as by a scanner. Findings
    follow from age, habits and illnesses, and :attr:`Study.follow_up` from record
    and findings, through a hazard that ``src/data/phantom/ct/hazard.rs`` states.
    Volumes and masks are rendered when they are read, so a data set takes little
    memory whatever the size of its volumes.

    Parameters
    ----------
    n : int, optional
        Number of studies; 1000 films or 100 CT by default. Patients with films have
        one to three, so split by patient; those with CT have one.
    kind : {"film", "ct"}
        Frontal films, or chest CT.
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
        Whether the masks also hold ``right lung``, ``left lung`` and ``heart``;
        those of a CT always do, with lobes, aorta and airways.
    slices : int, optional
        For CT: slices over the height of the chest, 8 to 2048; None takes as many
        as the drawn thickness of 0.6 to 5 mm gives. A slice has `size` by `size`
        pixels (32 to 1024) over 30 to 50 cm; 512 gives 0.6 to 1 mm.
    contrast : float
        For CT: share of scans with contrast medium.
    noise : float
        For CT: noise against that of the drawn dose; 0 for none.
    missing_record : float
        For CT: share of the record's elements that are missing.
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

        CT: ``volumes[0]`` (z, y, x) with spacing and origin in LPS; attributes of
        nodules give side, lobe, diameter, attenuation and margin; masks are one for
        each nodule and lesion, then structures. Records have the 47 elements of
        M3FM: illnesses and cancers as the age at diagnosis, 0 for never.
        ``follow_up`` has ``lung cancer`` and ``cardiovascular death``.

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
    if kind not in ("film", "ct"):
        raise InvalidValueError(f'kind: found {kind!r}, expected "film" or "ct"')
    if view not in (None, "PA", "AP"):
        raise InvalidValueError(f'view: found {view!r}, expected "PA", "AP" or None')
    usual = {"film": 1000, "ct": 100}
    options: dict[str, object] = {
        "studies": _count("n", usual[kind] if n is None else n, 1),
        "seed": _count("seed", seed, 0),
        "size": _count("size", size, 0),
    }
    if kind == "ct":
        options |= {
            "slices": None if slices is None else _count("slices", slices, 1),
            "contrast": _share("contrast", contrast),
            "noise": _share("noise", noise),
            "missing": _share("missing_record", missing_record),
        }
        with Bar("Making phantoms", show=progress, unit="study") as bar:
            return Dataset(_core.make_ct_phantoms(json.dumps(options), bar))
    options |= {
        "view": "UNKNOWN" if view is None else view,
        "uncertain": _share("uncertain", uncertain),
        "missing": _share("missing", missing),
        "normal_share": _share("normal_share", normal_share),
        "structures": bool(structures),
    }
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
