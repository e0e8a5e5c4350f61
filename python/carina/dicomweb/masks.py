"""Masks as segmentations on the very pixels that they are of."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pydicom
from highdicom import AlgorithmIdentificationSequence, seg
from numpy.typing import ArrayLike, NDArray
from pydicom.sr.codedict import codes as known
from pydicom.sr.coding import Code

from carina._arrays import binary
from carina.dicomweb.source import (
    Author,
    Codes,
    checked,
    code,
    made,
    sources,
    words,
)
from carina.errors import InvalidValueError, ShapeError
from carina.volume import Volume

_MOST = 1 << 32


def segmentation(
    images: Any,
    masks: Mapping[str, ArrayLike | Volume],
    *,
    volume: Volume | None = None,
    anatomy: Collection[str] = (),
    author: Author | None = None,
    codes: Codes | None = None,
) -> pydicom.Dataset:
    """Write masks as a binary Segmentation.

    Parameters
    ----------
    images : pydicom.Dataset, path, bytes, or a sequence of them
        The film, or all slices of the CT series.
    masks : mapping of finding to array-like of bool, or Volume
        Of shape (rows, columns) on a film, or (z, y, x) on `volume`, where they came
        back to by :class:`Geometry` or :class:`VolumeGeometry`. A Volume, on whatever
        voxels, has its mask where it is above 0.5.
    volume : Volume, optional
        For CT: the volume that arrays are on, in whatever orientation; each slice
        takes the voxel nearest to each of its pixels.
    anatomy : collection of str, optional
        Which of `masks` are normal structures; the others are abnormal ones.
    author : Author, optional
        Which model found them.
    codes : mapping of finding to (value, scheme, meaning), optional
        As for :func:`report_sr`.

    Returns
    -------
    pydicom.Dataset
        For :meth:`Server.store`, or ``save_as``. Same patient and study as the
        images, UIDs of its own.

    Raises
    ------
    ShapeError
        If a mask is not of the shape of its image.
    InvalidValueError
        If no mask has a pixel, a name or a code is none that DICOM can hold, or the
        images are of several studies.
    MissingFileError, FileError, FormatError
        If an image is not there, or no DICOM.
    """
    author = author or Author()
    loaded = sources(images)
    if not isinstance(masks, Mapping) or not masks:
        raise InvalidValueError("masks: expected a mapping, at least of one finding")
    names, known_codes = [words("masks", "a finding", n) for n in masks], checked(codes)
    flat = volume is None and not any(isinstance(m, Volume) for m in masks.values())
    pixels = _film(loaded, masks) if flat else _slices(loaded, masks, volume)
    if not pixels.any():
        raise InvalidValueError("masks: expected a pixel in one of them, found none")
    return made(
        "segmentation",
        lambda: _segmentation(loaded, names, pixels, anatomy, author, known_codes),
    )


def _segmentation(
    loaded: Sequence[pydicom.Dataset],
    names: Sequence[str],
    pixels: NDArray[np.uint8],
    anatomy: Collection[str],
    author: Author,
    codes: Mapping[str, Code],
) -> pydicom.Dataset:
    method = AlgorithmIdentificationSequence(
        name=author.model,
        family=known.DCM.ArtificialIntelligence,
        version=author.version,
    )
    described = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=known.SCT.AnatomicalStructure
            if name in anatomy
            else known.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=code(name, codes),
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=method,
        )
        for number, name in enumerate(names, start=1)
    ]
    return seg.Segmentation(
        source_images=loaded,
        pixel_array=pixels,
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        content_label="FINDINGS",
        content_description=f"{author.model}, unverified"[:64],
        **author.facts("masks", 9002),
    )


def _array(name: str, mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    found = mask.to_numpy() if hasattr(mask, "to_numpy") else mask
    array: NDArray[Any] = np.asarray(found)
    if array.shape != shape:
        raise ShapeError(
            f"mask {name!r}: expected shape {shape}, got {list(array.shape)}"
        )
    return binary(f"mask {name!r}", array)


def _film(
    loaded: Sequence[pydicom.Dataset], masks: Mapping[str, Any]
) -> NDArray[np.uint8]:
    """Return the segments of one film (1, rows, columns, segments)."""
    if len(loaded) != 1:
        raise InvalidValueError(
            f"images: expected one film, or volume= for slices, found {len(loaded)}"
        )
    shape = int(loaded[0].Rows), int(loaded[0].Columns)
    planes = [_array(name, mask, shape) for name, mask in masks.items()]
    return np.stack(planes, axis=-1)[None].astype(np.uint8)


def _slices(
    loaded: Sequence[pydicom.Dataset], masks: Mapping[str, Any], volume: Volume | None
) -> NDArray[np.uint8]:
    """Return the segments on the slices as stored (slices, rows, columns, segments)."""
    placed = [_placed(name, mask, volume) for name, mask in masks.items()]
    first = loaded[0]
    shape = (len(loaded), int(first.Rows), int(first.Columns), len(placed))
    if np.prod(shape, dtype=float) > _MOST:
        raise InvalidValueError(f"masks: shape {shape} is too large")
    made = np.zeros(shape, np.uint8)
    for number, image in enumerate(loaded):
        if (int(image.Rows), int(image.Columns)) != shape[1:3]:
            raise InvalidValueError("images: expected slices of one size")
        found: dict[Any, Any] = {}
        for segment, (mask, back) in enumerate(placed):
            grid = back.tobytes(), mask.shape
            if grid not in found:
                found[grid] = _nearest(back, image, mask.shape)
            index, inside = found[grid]
            made[number, :, :, segment] = mask[tuple(index)] & inside
    return made


def _placed(
    name: str, mask: Any, volume: Volume | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return a mask, and the way from the patient's space to its voxels."""
    if isinstance(mask, Volume):
        array, on = _array(name, mask, mask.shape), mask
    elif volume is None:
        raise InvalidValueError(f"mask {name!r}: expected the volume= that it is on")
    else:
        array, on = _array(name, mask, volume.shape), volume
    return array, np.asarray(np.linalg.inv(on.affine), dtype=np.float64)


def _nearest(
    back: NDArray[np.float64], image: pydicom.Dataset, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the voxel (z, y, x) nearest to each pixel, and whether there is one."""
    try:
        across, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        corner = np.array(image.ImagePositionPatient, float).reshape(3)
        step_down, step_across = (float(v) for v in image.PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        raise InvalidValueError(
            "images: expected slices with a place, an orientation and a spacing"
        ) from None
    rows = np.arange(image.Rows)[:, None, None] * (down * step_down)
    columns = np.arange(image.Columns)[None, :, None] * (across * step_across)
    points = corner + rows + columns
    at = np.rint(points @ back[:3, :3].T + back[:3, 3]).astype(np.intp)
    inside: NDArray[np.bool_] = np.all((at >= 0) & (at < shape), axis=-1)
    return np.moveaxis(np.where(inside[..., None], at, 0), -1, 0), inside
