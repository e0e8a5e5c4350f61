"""Volumes from folders of slices and from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carina import _core
from carina._files import PathLike
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.volume import Volume


def read_options(
    *,
    orientation: str = "LPS",
    repair: str | Sequence[str] = (),
    fill: float | None = None,
    assume_orientation: str | None = None,
    series: int | None = None,
) -> dict[str, Any]:
    """Gather how to read a volume for the core; see :func:`read_volume`."""
    if series is not None and series < 0:
        raise InvalidValueError(f"series: expected 0 or more, found {series}")
    return {
        "orientation": orientation,
        "repair": [repair] if isinstance(repair, str) else list(repair),
        "fill": None if fill is None else float(fill),
        "assume": assume_orientation,
        "series": series,
    }


def read_volume(
    path: PathLike, *, progress: bool | None = None, **options: Any
) -> Volume:
    """Read a CT or another volume from a folder of slices, a DICOM or a NIfTI file.

    Slices are ordered by their place along their normal, never by name or number;
    the spacing comes from the places too. Each slice is rescaled by its own slope
    and intercept. What is doubtful is an error unless you allow a repair, and every
    repair is told in ``history``.

    Parameters
    ----------
    path : path-like
        A folder, with what lies in the folders below it; an enhanced (multi-frame)
        DICOM file; or ``.nii`` and ``.nii.gz``.
    progress : bool, optional
        Whether to show a progress bar.
    orientation : str, default="LPS"
        Where x, y and z are to point, or ``"stored"`` for the order of the file.
    repair : str or sequence of str, optional
        Any of ``"missing"`` (interpolate slices that are missing), ``"duplicates"``
        (keep the first of several at one place), ``"size"`` and ``"orientation"``
        (keep the commonest), ``"position"`` (leave out slices without a place),
        ``"uneven"`` (interpolate to even distances) and ``"tilt"`` (shift the slices
        of a tilted gantry). Slices missing at the ends cannot be noticed.
    fill : float, optional
        For padding and what no slice covers: by default -1024 for CT and the lowest
        other value for the rest. NaN in NIfTI is an error without it.
    assume_orientation : str, optional
        Where i, j and k point in a NIfTI file that does not say, ``"RAS"`` for
        example.
    series : int, optional
        Which series of a folder, as :func:`read_series` lists them.

    Returns
    -------
    Volume
        In HU for CT.

    Raises
    ------
    MissingFileError, FileError
        If a file cannot be opened.
    FormatError
        If there is no one volume in it, or a damaged one.

    References
    ----------
    DICOM PS3.3, C.7.6.2 (image plane) and C.7.6.16 (functional groups).
    """
    chosen = read_options(**options)
    with Bar("reading", show=progress, unit="slice") as bar:
        return Volume(_core.read_volume(Path(path), chosen, bar))
