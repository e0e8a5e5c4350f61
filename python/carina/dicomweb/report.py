"""Findings as a structured report that nobody has verified yet."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pydicom
from highdicom import sr
from numpy.typing import NDArray
from pydicom.sr.codedict import codes as known
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from carina.dicomweb.source import SCHEME, Author, Codes, chosen, code, made, sources
from carina.errors import InvalidValueError
from carina.study import Box

# A score orders studies; it is no probability, and must not be read as one.
SCORE = Code("SCORE", SCHEME, "Score of a model, not calibrated")


def report_sr(
    images: Any,
    scores: Mapping[str, float],
    *,
    boxes: Sequence[Box] = (),
    image: int = 0,
    author: Author | None = None,
    codes: Codes | None = None,
) -> pydicom.Dataset:
    """Write findings as a Comprehensive 3D SR by template TID 1500 [1]_.

    It says of itself that it is partial and unverified: a person has to read the
    images.

    Parameters
    ----------
    images : pydicom.Dataset, path, bytes, or a sequence of them
        The images of one study that were looked at.
    scores : mapping of finding to float
        Scores; NaN is left out.
    boxes : sequence of Box, optional
        Where findings are, in pixels of one image; a score of the finding is told
        with each.
    image : int, default=0
        Which of `images` the boxes are on.
    author : Author, optional
        Which model found it.
    codes : mapping of finding to (value, scheme, meaning), optional
        Codes of a hospital's terminology; by default a private scheme,
        ``99CARINA``, with the finding's name as the meaning.

    Returns
    -------
    pydicom.Dataset
        For :meth:`Server.store`, or ``save_as``. Same patient and study as the
        images, UIDs of its own.

    Raises
    ------
    InvalidValueError
        If there is nothing to report, a score is infinite, a box lies outside its
        image, or the images are of several studies.

    References
    ----------
    .. [1] DICOM PS3.16, TID 1500 and 1410.
    """
    author = author or Author()
    loaded = sources(images)
    kept = {name: _score(name, value) for name, value in scores.items()}
    kept = {name: value for name, value in kept.items() if not math.isnan(value)}
    if not kept and not boxes:
        raise InvalidValueError("scores: expected at least one that is not NaN")
    where = chosen(loaded, image)
    return made("report", lambda: _report(loaded, where, kept, boxes, author, codes))


def _report(
    loaded: Sequence[pydicom.Dataset],
    where: pydicom.Dataset,
    scores: Mapping[str, float],
    boxes: Sequence[Box],
    author: Author,
    codes: Codes | None,
) -> pydicom.Dataset:
    seen = [
        sr.SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID)
        for one in loaded
    ]
    groups: list[Any] = [
        sr.MeasurementsAndQualitativeEvaluations(
            source_images=seen, **_group(name, scores, author, codes)
        )
        for name in scores
    ]
    groups += [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(where, box),
            **_group(box.finding, scores, author, codes),
        )
        for box in boxes
    ]
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=author.uid,
        name=author.model,
        manufacturer_name=author.manufacturer,
        model_name=author.model,
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(known.DCM.Device, device)
        ),
        procedure_reported=known.SCT.ImagingProcedure,
        imaging_measurements=groups,
    )
    return sr.Comprehensive3DSR(
        evidence=loaded,
        content=content[0],
        is_complete=False,
        is_final=False,
        is_verified=False,
        **author.facts("findings", 9001),
    )


def _score(name: str, value: float) -> float:
    number = float(value)
    if math.isinf(number):
        raise InvalidValueError(f"scores: expected a finite one for {name!r}")
    return number


def _group(
    name: str, scores: Mapping[str, float], author: Author, codes: Codes | None
) -> dict[str, Any]:
    """Return what a group says of its finding, wherever it is."""
    method = sr.AlgorithmIdentification(name=author.model, version=author.version)
    measured = [
        sr.Measurement(name=SCORE, value=scores[name], unit=known.UCUM.NoUnits)
        for _ in range(name in scores)
    ]
    return {
        "tracking_identifier": sr.TrackingIdentifier(generate_uid(None), name),
        "finding_type": code(name, codes),
        "algorithm_id": method,
        "measurements": measured or None,
    }


def _region(where: pydicom.Dataset, box: Box) -> sr.ImageRegion:
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=outline(where, box),
        source_image=sr.SourceImageForRegion(where.SOPClassUID, where.SOPInstanceUID),
    )


def outline(where: pydicom.Dataset, box: Box) -> NDArray[np.float64]:
    """Return the closed line around a box: points (5, 2) as column and row."""
    x0, y0, x1, y1 = map(float, box.corners)
    if not (0 <= x0 < x1 <= where.Columns and 0 <= y0 < y1 <= where.Rows):
        raise InvalidValueError(
            f"boxes: expected corners in {where.Columns} columns and {where.Rows} "
            f"rows, found {box.corners}"
        )
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
