"""What came of a study: its films, or why there are none."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carina.batch import RowError
from carina.dataset import Dataset
from carina.dicomweb import _query
from carina.dicomweb._quiet import mute
from carina.errors import (
    AccessError,
    CarinaError,
    FileError,
    FormatError,
    InvalidValueError,
    ServerError,
)
from carina.image import Image, read_film
from carina.manifest import from_rows
from carina.table import Table

if TYPE_CHECKING:
    import pydicom

Place = tuple[str, str | None]
# A server that fails this often in a row has gone; waiting for each study helps nobody.
_PATIENCE = 5
_MOST_FILMS = 64  # of a study, as they are in memory together
_MOST_INFLATED = 1 << 30
_OF = (
    ("study", "StudyInstanceUID"),
    ("series", "SeriesInstanceUID"),
    ("instance", "SOPInstanceUID"),
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Fetched:
    """One study from a server; its ids are attributes, and stand in no repr.

    Attributes
    ----------
    index : int
        Its place among the studies that were asked for.
    study, patient : str
        StudyInstanceUID and PatientID.
    films : list of Image
    sources : list of pydicom.Dataset
        The films' attributes without pixels, for :func:`report_sr` and its kin.
    error : str or None
        Why there are no films, or not all.
    """

    index: int
    study: str = field(repr=False)
    patient: str = field(repr=False)
    films: list[Image]
    sources: "list[pydicom.Dataset]" = field(repr=False)
    error: str | None = None


def places(found: Any) -> list[Place]:
    """Return study and, where it is known, series of what :meth:`find` gave."""
    if isinstance(found, Table):
        if "study" not in found:
            raise InvalidValueError('found: expected a table with a column "study"')
        studies = found["study"].tolist()
        series = found["series"].tolist() if "series" in found else [None] * len(found)
        return [
            (_query.uid("study", a), None if b is None else _query.uid("series", b))
            for a, b in zip(studies, series, strict=True)
        ]
    # An array gives a list, or a text when it has no dimension.
    listed = found.tolist() if hasattr(found, "tolist") else found
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, Iterable) or isinstance(listed, (bytes, Mapping)):
        name = type(found).__name__
        raise InvalidValueError(f"found: expected a table or UIDs, found {name}")
    return [(_query.uid("study", study), None) for study in listed]


def header(file: bytes, last: str = "") -> "pydicom.Dataset":
    """Read a file's attributes up to `last`, or all that come before its pixels."""
    import pydicom
    from pydicom.filereader import read_partial

    problem = ""
    end = pydicom.tag.Tag(last or 0x7FE00007)
    _check_inflated(file)
    try:
        with mute():
            return read_partial(BytesIO(file), lambda tag, vr, length: tag > end)
    except Exception as error:  # pydicom's are many, and quote the file
        problem = type(error).__name__
    raise FormatError(f"the answer cannot be read as DICOM ({problem})")


def of_place(
    files: Iterable[bytes], study: str, series: str | None, instance: str | None = None
) -> Iterator[bytes]:
    """Yield files, and refuse one that is not of the study and series asked for."""
    wanted = {
        name: (tag, uid)
        for (name, tag), uid in zip(_OF, (study, series, instance), strict=True)
        if uid is not None
    }
    for file in files:
        found = header(file, "SeriesInstanceUID")
        for name, (tag, uid) in wanted.items():
            if str(found.get(tag, "")) != uid:
                raise FormatError(f"the server gave a file of another {name}")
        yield file


def _check_inflated(file: bytes) -> None:
    """Refuse what pydicom would inflate without bound."""
    start = 144 + int.from_bytes(file[140:144], "little")
    if _DEFLATED not in file[144 : min(start, 4096)]:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    room, rest = _MOST_INFLATED, file[start:]
    try:
        while rest and room > 0:
            room -= len(inflate.decompress(rest, min(room, 1 << 20)))
            rest = inflate.unconsumed_tail
    except zlib.error:
        raise FormatError("the answer cannot be inflated") from None
    if room <= 0:
        raise FormatError("the answer inflates to more than 1 GiB")


def films(
    index: int, place: Place, files: Iterable[bytes], window: str | bool | int
) -> tuple[Fetched, Exception | None]:
    """Read the films among a study's files; a bad file is the study's error."""
    images: list[Image] = []
    sources: list[pydicom.Dataset] = []
    problem: Exception | None = None
    try:
        for file in files:
            attributes = header(file)
            if "Rows" in attributes:
                if len(images) == _MOST_FILMS:
                    raise FormatError(
                        f"more than {_MOST_FILMS} films; for a scan see volume()"
                    )
                images.append(read_film(file, window=window))
                sources.append(attributes)
    except AccessError:
        raise
    except CarinaError as error:
        problem = error
    why = None if problem is None else str(problem)
    if problem is None and not images:
        why = "no film in the study"
    patient = str(sources[0].get("PatientID", "")) if sources else ""
    return Fetched(index, place[0], patient, images, sources, why), problem


class Patience:
    """Raises when a server, or a disk, fails several studies in a row."""

    def __init__(self) -> None:
        self._failures = 0

    def watch(self, problem: Exception | None) -> None:
        """Count a study's problem; a study that went well starts anew."""
        gone = isinstance(problem, (ServerError, FileError))
        gone = gone and not isinstance(problem, LookupError)
        self._failures = self._failures + 1 if gone else 0
        if problem is not None and self._failures >= _PATIENCE:
            raise problem


def as_dataset(
    studies: Sequence[Fetched], *, numbered: bool = False
) -> tuple[Dataset, list[int]]:
    """Return those with films as a data set, and which they are.

    `numbered` makes a study of each, even where two of them are series of one.
    """
    kept = [one for one in studies if one.films]
    rows = [
        {
            "study": str(one.index) if numbered else one.study,
            # Without an id nobody can say that two studies are of one patient.
            "patient": one.patient or f"study {one.study}",
            "image": one.films,
            "view": [film.view for film in one.films],
        }
        for one in kept
    ]
    return from_rows([rows], "server", findings=[]), [one.index for one in kept]


def failures(studies: Iterable[Fetched]) -> list[RowError]:
    """Return the studies of which something is missing."""
    return [RowError(one.index, one.error) for one in studies if one.error is not None]


def encoded(
    model: Any, studies: Iterator[Fetched], count: int, batch: int, options: Any
) -> tuple[NDArray[np.float32], list[RowError]]:
    """Encode studies as they come; see :meth:`Server.encode`."""
    values: NDArray[np.float32] | None = None
    errors: list[RowError] = []
    waiting: list[Fetched] = []

    def flush() -> None:
        nonlocal values
        errors.extend(failures(waiting))
        if any(one.films for one in waiting):
            dataset, rows = as_dataset(waiting, numbered=True)
            part = model.encode(dataset, progress=False, **options)
            if values is None:
                values = np.full((count, *part.shape[1:]), np.nan, np.float32)
            values[rows] = part
        waiting.clear()

    for one in studies:
        waiting.append(one)
        if len(waiting) == batch:
            flush()
    flush()
    if values is None:
        first = f": {errors[0].message}" if errors else ""
        raise FormatError(f"no film in any of {count} studies{first}")
    return values, errors
