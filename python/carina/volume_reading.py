"""Volumes from folders of slices and from files."""

import json
import re
from collections.abc import Mapping
from typing import Any

from carina import _core
from carina._files import PathLike, named
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.volume import Volume

VOLUME_OPTIONS = (
    "orientation",
    "repair",
    "fill",
    "assume_orientation",
    "series",
    "modality",
)
_OF_THE_CALL = {"read": ("window", "frame")}
_MODALITY = re.compile("[A-Z][A-Z0-9_ ]{0,15}")


class VolumeOptions:
    """How to read a volume; see :func:`read_volume`, and `call` is what was called."""

    def __init__(self, call: str, given: Mapping[str, Any]) -> None:
        unknown = [name for name in given if name not in VOLUME_OPTIONS]
        if unknown:
            known = [*_OF_THE_CALL.get(call, ()), *VOLUME_OPTIONS, "progress"]
            raise InvalidValueError(
                f"{call}: found the option {unknown[0]!r}, expected one of "
                f"{', '.join(known)}"
            )
        repair, fill = given.get("repair", ()), given.get("fill")
        series, modality = given.get("series"), given.get("modality")
        if series is not None and series < 0:
            raise InvalidValueError(f"series: expected 0 or more, found {series}")
        if modality is not None and not (
            isinstance(modality, str) and _MODALITY.fullmatch(modality)
        ):
            raise InvalidValueError(
                f'modality: expected one of DICOM\'s, as "CT", found {modality!r}'
            )
        self._modality: str | None = modality
        self.core = {
            "orientation": given.get("orientation", "LPS"),
            "repair": [repair] if isinstance(repair, str) else list(repair),
            "fill": None if fill is None else float(fill),
            "assume": given.get("assume_orientation"),
            "series": series,
        }

    def told(self, core: _core.Volume) -> Volume:
        """Return a volume of the modality that was told, where its file tells none."""
        if self._modality is None or core.modality == self._modality:
            return Volume(core)
        if core.modality:
            raise InvalidValueError(
                f"modality: found {self._modality!r}, expected what the files say, "
                f"{core.modality!r}, or none"
            )
        original = json.dumps(json.loads(core.geometry.to_json())["original"])
        history = [*core.history, f"modality told: {self._modality}"]
        return Volume(
            _core.Volume(
                core.to_numpy(),
                core.grid_json(),
                original=original,
                modality=self._modality,
                history=history,
            )
        )


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
    modality : str, optional
        DICOM's word for what made it, for NIfTI files, which cannot say: with
        ``"CT"`` the voxels are taken for Hounsfield units.

    Returns
    -------
    Volume
        In HU for CT.

    Raises
    ------
    MissingFileError, FileError
        If a file cannot be opened.
    InvalidValueError
        If there is no such option, or its value has no meaning.
    FormatError
        If there is no one volume in it, or a damaged one.

    References
    ----------
    DICOM PS3.3, C.7.6.2 (image plane) and C.7.6.16 (functional groups).
    """
    return load("read_volume", path, progress=progress, **options)


def load(
    call: str, path: PathLike, *, progress: bool | None = None, **options: Any
) -> Volume:
    """Read a volume for `call`; see :func:`read_volume`."""
    chosen, source = VolumeOptions(call, options), named("path", path)
    with Bar("reading", show=progress, unit="slice") as bar:
        return chosen.told(_core.read_volume(source, chosen.core, bar))
