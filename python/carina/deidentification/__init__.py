"""DICOM files without identifiers, by the basic profile of PS3.15."""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from carina._files import PathLike, named, replace
from carina._progress import Bar
from carina.deidentification._secret import Secret
from carina.deidentification._stream import Refused
from carina.errors import (
    CarinaError,
    FileError,
    InvalidValueError,
    MissingFileError,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

__all__ = ["Deidentified", "FileOutcome", "deidentify"]

_OURS = "2.25.229386743270283926748118467395102637491"
_STALE = 3600
"""Seconds after which no run can still be writing a file."""
_TEXT_OVER_PICTURE = ("US", "SC", "ES", "XA", "RF", "OT", "XC", "GM", "SM")


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes
    ----------
    source : Path
        The file; its name may tell who it is of, so no repr shows it.
    path : Path or None
        The file without identifiers; None where there is none.
    warnings : tuple of str
        What a person should look at.
    error : str or None
        Why there is no file.
    """

    source: Path = field(repr=False)
    path: Path | None
    warnings: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Deidentified:
    """What became of all files, in the order of their names."""

    files: list[FileOutcome] = field(repr=False)

    @property
    def written(self) -> list[Path]:
        """The files without identifiers."""
        return [f.path for f in self.files if f.path is not None]

    @property
    def failed(self) -> list[FileOutcome]:
        """The files that were left out."""
        return [f for f in self.files if f.error is not None]

    @property
    def warned(self) -> list[FileOutcome]:
        """The files that a person should look at."""
        return [f for f in self.files if f.warnings]

    def __repr__(self) -> str:
        return (
            f"Deidentified({len(self.written)} written, {len(self.failed)} failed, "
            f"{len(self.warned)} with warnings)"
        )


def deidentify(
    src: PathLike,
    dst: PathLike,
    *,
    profile: Literal["basic"] = "basic",
    key: bytes | str | None = None,
    retain_longitudinal: bool = False,
    clean_descriptors: bool = False,
    progress: bool | None = None,
) -> Deidentified:
    """Copy DICOM files without identifiers.

    Follows the Basic Application Level Confidentiality Profile on the tables of
    ``dicom-anonymizer`` (PS3.15 2024b), and is stricter: an attribute that no table
    names stays only if it cannot hold text, or holds words that the standard
    defines. So private attributes, overlays, graphic annotations and the free text
    of reports are gone, and names of files and folders are made from the key. Of
    frames and look-up tables stays what a decoder needs: no comments or application
    data, nothing behind the last pixel, no bits beside those of the pixels. Frames
    are not decoded for it, so what hides among a scan's coded bits is not found, nor
    is text that is burnt into pixels: see the warnings.

    Parameters
    ----------
    src : path-like
        A file, or a folder that is searched; links are not followed.
    dst : path-like
        The folder for the results, outside `src`.
    profile : {"basic"}
        The profile of PS3.15.
    key : bytes or str, optional
        At least 16 bytes that pseudonyms, UIDs and shifts follow from. The same key
        gives the same ones in every run; whoever has it can tell whom they stand
        for. By default a new one that is forgotten.
    retain_longitudinal : bool
        Keep dates of events, moved by the same 1 to 3650 days for all files of a
        patient, and times of day to the second. Dates of the patient, such as that
        of birth, go all the same.
    clean_descriptors : bool
        Keep those words of descriptions that are known to say nothing of anybody.
    progress : bool, optional
        Whether to show a bar; in notebooks and terminals by default.

    Returns
    -------
    Deidentified
        One row a file; one that cannot be handled is a row with an error.

    Raises
    ------
    CarinaError
        If the packages of ``carina[deid]`` are missing.
    MissingFileError
        If `src` is not there.
    InvalidValueError
        If `dst` lies in `src`, or another value has no meaning.
    FileError
        If `dst` cannot be written.

    References
    ----------
    DICOM PS3.15, annex E (2024b).
    """
    if profile != "basic":
        raise InvalidValueError(f'profile: found {profile!r}, expected "basic"')
    source, target = named("src", src), named("dst", dst)
    if not source.exists():
        raise MissingFileError("src: no such file or folder")
    inside = source.resolve()
    if target.resolve() == inside or inside in target.resolve().parents:
        raise InvalidValueError("dst: lies in src, expected a folder outside of it")
    secret = Secret(key)
    try:
        from carina.deidentification import _clean  # noqa: F401
    except ImportError as missing:
        raise CarinaError(
            f"de-identification needs {missing.name}: pip install 'carina[deid]'"
        ) from None
    files = sorted(_files(source))
    with _writing():
        target.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    outcomes = []
    taken: set[Path] = set()
    with Bar("de-identifying", show=progress, unit="file") as bar, _silence():
        for done, file in enumerate(files):
            bar(done, len(files), [])
            options = (secret, retain_longitudinal, clean_descriptors)
            outcomes.append(_one(file, target, taken, *options))
        bar(len(files), len(files), [])
    return Deidentified(outcomes)


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the values of bad files out of warnings and logs."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _one(
    file: Path,
    target: Path,
    taken: set[Path],
    secret: Secret,
    longitudinal: bool,
    descriptors: bool,
) -> FileOutcome:
    from pydicom import dcmread

    from carina.deidentification import _clean

    content = BytesIO()
    try:
        found = dcmread(file)
        context = _clean.Context(secret, _patient(found), longitudinal, descriptors)
        made, folder = _made(found, context)
        made.save_as(content, enforce_file_format=True)
    except Refused as refused:
        return FileOutcome(file, None, error=str(refused))
    except Exception as error:
        # Its text may quote the file.
        kind = type(error).__name__
        return FileOutcome(file, None, error=f"cannot be read as DICOM ({kind})")
    path = target / folder
    if path in taken:
        return FileOutcome(file, None, error="another file holds the same instance")
    _write(path, content)
    taken.add(path)
    return FileOutcome(file, path, tuple(context.warnings))


def _write(path: Path, content: BytesIO) -> None:
    with _writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace(path) as out:
            out.write(content.getbuffer())


@contextmanager
def _writing() -> Iterator[None]:
    """Say that it is the folder for the results that cannot be written."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"dst: expected a folder to write to, found: {error.strerror}"
        ) from None


def _sweep(target: Path) -> None:
    """Remove what a run that was killed left half written, of our own names only."""
    token = "[0-9a-f]" * 16
    before = time.time() - _STALE
    for left in target.glob(f"{token}/{token}/{token}/.{token}.dcm.{token}.tmp"):
        # A younger one may be another run's that is writing it.
        with suppress(OSError):
            if left.stat().st_mtime < before:
                left.unlink()


def _patient(found: "Dataset") -> str:
    """Return what tells patients apart."""
    named = f"{found.get('IssuerOfPatientID', '')}|{found.get('PatientID', '')}"
    return (
        named
        if found.get("PatientID")
        else f"study|{found.get('StudyInstanceUID', '')}"
    )


def _made(found: "Dataset", context: Any) -> tuple["Dataset", Path]:
    """Return the file without identifiers, and where it goes."""
    from pydicom.uid import UID_dictionary

    from carina.deidentification import _clean

    kind, syntax = str(found.get("SOPClassUID", "")), found.file_meta.TransferSyntaxUID
    if kind not in UID_dictionary or syntax not in UID_dictionary:
        raise Refused("its class or transfer syntax is not one of the standard")
    if "DirectoryRecordSequence" in found or "EncapsulatedDocument" in found:
        raise Refused("directories and enclosed documents are not cleaned")
    made = _clean.clean(found, context)
    _declare(made, context)
    _warn(found, kind, context)
    made.file_meta = _meta(kind, made.SOPInstanceUID, syntax)
    secret = context.secret
    folder = Path(
        secret.token("patient", context.patient),
        secret.token("study", str(found.get("StudyInstanceUID", ""))),
        secret.token("series", str(found.get("SeriesInstanceUID", ""))),
        f"{secret.token('instance', str(found.SOPInstanceUID))}.dcm",
    )
    return made, folder


def _meta(kind: str, instance: str, syntax: str) -> "FileMetaDataset":
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = _OURS
    meta.ImplementationVersionName = "CARINA"
    return meta


def _declare(made: "Dataset", context: Any) -> None:
    """Say in the file what was done to it."""
    from pydicom.dataset import Dataset

    methods = [("113100", "Basic Application Confidentiality Profile")]
    if context.longitudinal:
        methods.append(
            ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
        )
    if context.descriptors:
        methods.append(("113105", "Clean Descriptors Option"))
    items = []
    for value, meaning in methods:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = value, "DCM"
        item.CodeMeaning = meaning[:64]
        items.append(item)
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "carina, PS3.15 2024b basic profile"
    made.DeidentificationMethodCodeSequence = items
    modified = "MODIFIED" if context.longitudinal else "REMOVED"
    made.LongitudinalTemporalInformationModified = modified


def _warn(found: "Dataset", kind: str, context: Any) -> None:
    if found.get("BurnedInAnnotation") == "YES":
        context.warnings.append("the file says that text is burnt into its pixels")
    elif found.get("Modality") in _TEXT_OVER_PICTURE or "SecondaryCapture" in _name(
        kind
    ):
        context.warnings.append("pictures of this kind often have text burnt in")


def _name(kind: str) -> str:
    from pydicom.uid import UID_dictionary

    return str(UID_dictionary[kind][4])
