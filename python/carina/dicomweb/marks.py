"""Boxes that a radiologist can switch on and off."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pydicom
from highdicom import pr
from numpy.typing import NDArray

from carina.dicomweb.report import outlines
from carina.dicomweb.source import Author, chosen, made, scored, sources
from carina.errors import InvalidValueError
from carina.study import Box


def presentation(
    images: Any,
    boxes: Sequence[Box],
    *,
    scores: Mapping[str, float] | None = None,
    image: int = 0,
    author: Author | None = None,
) -> pydicom.Dataset:
    """Write boxes as a Grayscale Softcopy Presentation State.

    Viewers draw it over the image, which stays as it is; its windows are the
    image's own.

    Parameters
    ----------
    images : pydicom.Dataset, path, bytes, or a sequence of them
        The images of one study.
    boxes : sequence of Box
        In pixels of one image.
    scores : mapping of finding to float, optional
        Written beside the boxes of the finding; NaN is left out.
    image : int, default=0
        Which of `images` the boxes are on.
    author : Author, optional
        Which model found them.

    Returns
    -------
    pydicom.Dataset
        For :meth:`Server.store`, or ``save_as``.

    Raises
    ------
    InvalidValueError
        If there is no box, one lies outside its image, a score is infinite, or the
        images are of several studies.
    MissingFileError, FileError, FormatError
        If an image is not there, or no DICOM.
    """
    author = author or Author()
    where = chosen(sources(images), image)
    drawn, kept = outlines(where, boxes), scored({} if scores is None else scores)
    if not drawn:
        raise InvalidValueError("boxes: expected at least one, found none")
    lines = [line for _, line in drawn]
    labels = [f"{n} {kept[n]:.2f}" if n in kept else n for n, _ in drawn]
    return made("presentation state", lambda: _state(where, lines, labels, author))


def _state(
    where: pydicom.Dataset,
    lines: Sequence[NDArray[np.float64]],
    labels: Sequence[str],
    author: Author,
) -> pydicom.Dataset:
    layer = pr.GraphicLayer(
        "FINDINGS", order=1, description=f"{author.model}, unverified"[:64]
    )
    drawn = [
        pr.GraphicObject(pr.GraphicTypeValues.POLYLINE, line, "PIXEL") for line in lines
    ]
    written = [
        pr.TextObject(
            label,
            "PIXEL",
            anchor_point=(float(line[0, 0]), float(line[0, 1])),
            anchor_point_visible=False,
        )
        for label, line in zip(labels, lines, strict=True)
    ]
    return pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[where],
        content_label="FINDINGS",
        content_description=f"{author.model}, unverified"[:64],
        graphic_layers=[layer],
        graphic_annotations=[
            pr.GraphicAnnotation(
                [where], layer, graphic_objects=drawn, text_objects=written
            )
        ],
        **author.facts("boxes", 9003),
    )
