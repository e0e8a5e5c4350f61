"""What results are made from: the images that they speak of, and who speaks."""

import copy
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pydicom
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from carina.dicomweb import _settings
from carina.dicomweb._quiet import mute
from carina.dicomweb._store import items, load
from carina.errors import CarinaError, InvalidValueError

SCHEME = "99CARINA"
Codes = Mapping[str, tuple[str, str, str]]
T = TypeVar("T")

# Type 2: the standard wants them, and wants them empty rather than absent.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "SeriesNumber",
    "InstanceNumber",
)
_REFUSALS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True)
class Author:
    """The program that stands for a result.

    Attributes
    ----------
    model : str
        Name of the model.
    version : str
        Its version: the start of :meth:`carina.Model.fingerprint`, say.
    manufacturer : str
        Who made it.
    """

    model: str = "carina"
    version: str = "0"
    manufacturer: str = "carina"

    def __post_init__(self) -> None:
        for name, text in vars(self).items():
            words("author", name, text)

    @property
    def uid(self) -> str:
        """A UID that stands for this model and version."""
        return str(generate_uid(None, entropy_srcs=[self.model, self.version]))

    def facts(self, kind: str, number: int) -> dict[str, Any]:
        """Return what every result says of its maker, and UIDs of its own."""
        return {
            "series_instance_uid": generate_uid(None),
            "sop_instance_uid": generate_uid(None),
            "series_number": number,
            "instance_number": 1,
            "manufacturer": self.manufacturer,
            "manufacturer_model_name": self.model,
            "software_versions": self.version,
            # There is no device; the model's UID says which program it was.
            "device_serial_number": self.uid,
            # Findings are named in any script; the images' own set need not have it.
            "specific_character_set": "ISO_IR 192",
            "series_description": f"{self.model}: {kind}, unverified"[:64],
        }


def sources(given: Any) -> list[pydicom.Dataset]:
    """Return the attributes of the images of one study, pixels left out.

    Raises
    ------
    MissingFileError, FileError, FormatError
        If one is not there, or no DICOM.
    InvalidValueError
        If there are none, they are of several studies or patients, or are no images.
    """
    with mute():
        loaded = [_loaded(place, item) for place, item in enumerate(items(given))]
    if not loaded:
        raise InvalidValueError("images: expected at least one, found none")
    for name in ("StudyInstanceUID", "PatientID"):
        if len({str(one.get(name, "")) for one in loaded}) > 1:
            raise InvalidValueError(f"images: expected one {name}, found several")
    return loaded


def _loaded(place: int, item: Any) -> pydicom.Dataset:
    try:
        return _bare(load(item))
    except CarinaError as error:
        kind, why = type(error), str(error)
    raise kind(f"images[{place}]: {why}")


def _bare(image: pydicom.Dataset) -> pydicom.Dataset:
    for name in (*_NEEDED, "Rows", "Columns"):
        if not image.get(name):
            raise InvalidValueError(f"expected an image, found none of {name}")
    bare = pydicom.Dataset()
    # The pixels are the bulk of it, and no result needs them.
    bare.update({e.tag: e for e in image if e.tag != 0x7FE00010})
    bare = copy.deepcopy(bare)
    bare.file_meta = copy.deepcopy(getattr(image, "file_meta", None))
    for name in _MAY_BE_EMPTY:
        if name not in bare:
            setattr(bare, name, None)
    return bare


def chosen(loaded: Sequence[pydicom.Dataset], image: int) -> pydicom.Dataset:
    """Return the image that pixels belong to."""
    _settings.number("image", image, 0, whole=True)
    if image >= len(loaded):
        raise InvalidValueError(
            f"image: expected 0 to {len(loaded) - 1}, found {image}"
        )
    return loaded[image]


def words(where: str, what: str, text: Any, most: int = 64) -> str:
    """Check a text that DICOM keeps in one short value."""
    if (
        not isinstance(text, str)
        or not 0 < len(text.strip()) <= len(text) <= most
        # A backslash divides values, and control characters choose scripts.
        or re.search(r"[\0-\x1f\x7f-\x9f\\]", text)
    ):
        raise InvalidValueError(
            f"{where}: expected {what} of 1 to {most} letters, in one line and without "
            "a backslash"
        )
    return text


def scored(given: Any) -> dict[str, float]:
    """Return the scores that there are; NaN says that there is none."""
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InvalidValueError(f"scores: expected a mapping, found {kind}")
    kept = {}
    for name, value in given.items():
        words("scores", "findings", name)
        try:
            number = math.inf if isinstance(value, (str, bytes)) else float(value)
        except (TypeError, ValueError):
            number = math.inf
        if math.isinf(number):
            raise InvalidValueError(f"scores: expected a finite one for {name!r}")
        if not math.isnan(number):
            kept[name] = number
    return kept


def checked(codes: Any) -> dict[str, Code]:
    """Return a caller's codes, each of them one that DICOM can hold."""
    if codes is None:
        return {}
    if not isinstance(codes, Mapping):
        kind = type(codes).__name__
        raise InvalidValueError(f"codes: expected a mapping, found {kind}")
    made = {}
    for name, triple in codes.items():
        where = f"codes[{name!r}]"
        if not isinstance(triple, (tuple, list)) or len(triple) != 3:
            raise InvalidValueError(f"{where}: expected (value, scheme, meaning)")
        value, scheme, meaning = triple
        # Above 16 letters it becomes a LongCodeValue: SNOMED CT has such.
        words(where, "a value", value)
        words(where, "a scheme", scheme, 16)
        words(where, "a meaning", meaning)
        made[name] = Code(value, scheme, meaning)
    return made


def code(name: str, codes: Mapping[str, Code]) -> Code:
    """Return a finding as a code: the caller's, or one of our own scheme."""
    if name in codes:
        return codes[name]
    slug = re.sub(r"[^A-Z0-9]+", "_", name.upper())[:16]
    if not re.fullmatch(r"[A-Za-z0-9 _-]{1,16}", name):
        # A code has 16 letters at most, and must not be another finding's.
        slug = slug[:9] + "_" + hashlib.sha256(name.encode()).hexdigest()[:6].upper()
    return Code(slug, SCHEME, name)


def made(what: str, make: Callable[[], T]) -> T:
    """Return what `make` makes; its refusal becomes an error that quotes no image."""
    problem = ""
    try:
        with mute():
            return make()
    except CarinaError:
        raise
    except _REFUSALS as error:
        problem = type(error).__name__
    # Raised here, it does not carry the refusal along.
    raise InvalidValueError(f"images: no {what} can be made of them ({problem})")
