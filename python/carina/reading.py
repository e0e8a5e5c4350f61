"""Any image file, by what it holds."""

import os
from typing import Any

from numpy.typing import ArrayLike

from carina import _core
from carina._files import PathLike, named
from carina.errors import InvalidValueError
from carina.image import Image, read_film
from carina.volume import Volume
from carina.volume_reading import VolumeOptions, load


def read(
    source: PathLike | bytes | ArrayLike | Image | Volume,
    *,
    window: str | bool | int = "auto",
    frame: int | None = None,
    **volume: Any,
) -> Any:
    """Read a film or a volume from a file, a folder or an array.

    Parameters
    ----------
    source : path-like, bytes or array-like of shape (rows, columns)
        A DICOM, PNG, JPEG or TIFF file is a film; a folder of DICOM slices, a
        NIfTI file (``.nii``, ``.nii.gz``) or an enhanced (multi-frame) CT, MR or
        PET is a volume. The content decides, not the name. Arrays are films;
        :meth:`Volume.from_array` takes those of volumes. Bytes are what a file of
        a film holds.
    window : {"auto", "on", "off"}, bool, int or str
        For DICOM films. ``"auto"`` applies the file's first VOI look-up table or
        window to films and leaves CT, MR and PET in their units; ``True`` and
        ``False`` (or ``"on"``, ``"off"``) decide for all; a number picks a window,
        counted from 0, and any other text the window that the file explains by
        this name.
    frame : int, optional
        For files with several frames: which one to read as a film, counted from 0.
        Without it an enhanced file is a volume, and of any other the first frame
        is read.
    **volume
        For volumes: the options of :func:`read_volume`.

    Returns
    -------
    Image or Volume
        A film, in which white is high, or a volume (z, y, x), in HU for CT;
        ``history`` says what was done.

    Raises
    ------
    MissingFileError, FileError
        If the file cannot be opened.
    FormatError
        If it is no image or a damaged one.
    ShapeError
        If the array is not two-dimensional.
    InvalidValueError
        If a pixel is NaN or infinite.

    References
    ----------
    DICOM PS3.3, C.7.6.2 (planes), C.7.6.3 (pixels), C.11.1 (modality), C.11.2
    (windows).
    """
    if isinstance(source, Volume):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = named("source", source)
        if frame is None and _core.is_volume(path):
            if not (isinstance(window, str) and window == "auto"):
                raise InvalidValueError(
                    "window: expected none for a volume; see Volume.window"
                )
            return load("read", path, **volume)
        if path.is_dir():
            raise InvalidValueError(
                "frame: expected none for a folder, which is a volume, found "
                f"{frame!r}: frames are those of a file"
            )
    if volume:
        known = {name: volume[name] for name in volume if name != "progress"}
        VolumeOptions("read", known)  # what no volume has either is said first
        names = ", ".join(volume)
        raise InvalidValueError(
            f"expected options of a film, found {names}: they are for volumes"
        )
    return read_film(source, window=window, frame=frame)
