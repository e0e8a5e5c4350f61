"""Findings as a structured report that nobody has verified yet."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pydicom
from highdicom import sr
from numpy.typing import NDArray
from pydicom.sr.codedict import codes as known
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from carina.dicomweb.source import (
    SCHEME,
    Author,
    Codes,
    checked,
    chosen,
    code,
    made,
    scored,
    sources,
    words,
)
from carina.errors import InvalidValueError
from carina.study import Box

Line = tuple[str, NDArray[np.float64]]

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
        ``99CARINA``, with the finding's name as the meaning. Names and meanings have
        64 letters at most, of any script, and schemes 16; neither has a backslash.

    Returns
    -------
    pydicom.Dataset
        For :meth:`Server.store`, or ``save_as``. Same patient and study as the
        images, UIDs of its own.

    Raises
    ------
    InvalidValueError
        If there is nothing to report, a score is infinite, a name or a code is none
        that DICOM can hold, a box lies outside its image, or the images are of several
        studies.
    MissingFileError, FileError, FormatError
        If an image is not there, or no DICOM.

    References
    ----------
    .. [1] DICOM PS3.16, TID 1500 and 1410.
    """
    author = author or Author()
    loaded = sources(images)
    kept, known_codes = scored(scores), checked(codes)
    where = chosen(loaded, image)
    lines = outlines(where, boxes)
    if not kept and not lines:
        raise InvalidValueError("scores: expected at least one that is not NaN")
    return made(
        "report", lambda: _report(loaded, where, kept, lines, author, known_codes)
    )


def _report(
    loaded: Sequence[pydicom.Dataset],
    where: pydicom.Dataset,
    scores: Mapping[str, float],
    lines: Sequence[Line],
    author: Author,
    codes: Mapping[str, Code],
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
            referenced_region=_region(where, line),
            **_group(name, scores, author, codes),
        )
        for name, line in lines
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


def _group(
    name: str, scores: Mapping[str, float], author: Author, codes: Mapping[str, Code]
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


def _region(where: pydicom.Dataset, line: NDArray[np.float64]) -> sr.ImageRegion:
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=line,
        source_image=sr.SourceImageForRegion(where.SOPClassUID, where.SOPInstanceUID),
    )


def outlines(where: pydicom.Dataset, boxes: Any) -> list[Line]:
    """Return each box's finding, and the closed line around it.

    A line has points (5, 2) as column and row.
    """
    if not isinstance(boxes, Iterable):
        kind = type(boxes).__name__
        raise InvalidValueError(f"boxes: expected some of Box, found {kind}")
    return [_outline(f"boxes[{n}]", where, box) for n, box in enumerate(boxes)]


def _outline(what: str, where: pydicom.Dataset, box: Any) -> Line:
    if not hasattr(box, "finding") or not hasattr(box, "corners"):
        kind = type(box).__name__
        raise InvalidValueError(f"{what}: expected a Box, found {kind}")
    name = words(what, "a finding", box.finding)
    try:
        x0, y0, x1, y1 = map(float, box.corners)
    except (TypeError, ValueError):
        raise InvalidValueError(
            f"{what}: expected four numbers (x0, y0, x1, y1) as corners"
        ) from None
    if not (0 <= x0 < x1 <= where.Columns and 0 <= y0 < y1 <= where.Rows):
        raise InvalidValueError(
            f"{what}: expected corners in {where.Columns} columns and {where.Rows} "
            f"rows, found {box.corners}"
        )
    return name, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
