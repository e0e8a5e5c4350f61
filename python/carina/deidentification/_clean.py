"""A data set without identifiers: what is not known to be harmless is left out.

The tables say what PS3.15 asks of an attribute. What they do not name is kept only
when it cannot hold text: numbers, pixels, codes of the standard, mapped UIDs.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2024b as tables
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import UID_dictionary

from carina.deidentification import _pixels, _words
from carina.deidentification._secret import Secret, shifted, time
from carina.deidentification._stream import Refused

_DEEPEST = 32
_PLAIN = {"FL", "FD", "US", "SS", "UL", "SL", "UV", "SV", "AT"}
_TEXT = {"AE", "AS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
_NEVER = {"GraphicAnnotationSequence", "IconImageSequence", "DataSetTrailingPadding"}
_DUMMY = {"DA": "19000101", "DT": "19000101", "TM": "000000", "AS": "000Y"}
_DESCRIPTORS = {
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionProtocolDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ContrastBolusAgent",
}
_MEANINGS: dict[tuple[str, str], str] = {
    (scheme, value): meaning
    for scheme, names in concepts.items()
    for values in names.values()
    for value, (meaning, *_) in values.items()
}


@dataclass
class Context:
    """What the cleaning of one file needs and finds."""

    secret: Secret
    patient: str
    longitudinal: bool
    descriptors: bool
    warnings: list[str] = field(default_factory=list)


def _actions() -> dict[tuple[int, int], str]:
    groups = {
        "X": (tables.X_TAGS,),
        "Z": (tables.Z_TAGS, tables.X_Z_TAGS),
        "D": (tables.D_TAGS, tables.Z_D_TAGS, tables.X_D_TAGS, tables.X_Z_D_TAGS),
        "U": (tables.U_TAGS, tables.X_Z_U_STAR_TAGS),
    }
    return {
        (tag[0], tag[1]): action
        for action, lists in groups.items()
        for tags in lists
        for tag in tags
        # Repeating groups (curves, overlays) have masks; they are dropped as a whole.
        if len(tag) == 2
    }


_ACTIONS = _actions()


def clean(source: Dataset, context: Context, depth: int = 0) -> Dataset:
    """Return a data set of what may stay."""
    made = Dataset()
    for tag in sorted(source.keys()):
        group = tag.group
        if tag.is_private or group < 8 or tag.element == 0:
            continue
        if 0x5000 <= group < 0x5100 or 0x6000 <= group < 0x6100 or group == 0xFFFC:
            continue
        try:
            element = source[tag]
            value = _value(element, source, context, depth)
        except Refused:
            raise
        except Exception:
            # What cannot be read cannot be judged.
            continue
        if value is not None:
            made.add_new(tag, element.VR, value)
    if depth and "CodeValue" in made and not _settle_code(made):
        return Dataset()
    return made


def _value(element: Any, source: Dataset, context: Context, depth: int) -> Any:
    """Return what takes the place of a value; None to leave the element out."""
    keyword = keyword_for_tag(element.tag)
    if keyword in _NEVER:
        return None
    if keyword in ("PatientID", "PatientName"):
        return f"ANON-{context.secret.token('patient', context.patient)}"
    action = _ACTIONS.get((element.tag.group, element.tag.element))
    if context.descriptors and keyword in _DESCRIPTORS:
        return _words.description(str(element.value))
    if context.longitudinal and action is not None and _of_an_event(element):
        return _when(element, context)
    if element.VR == "SQ":
        return _sequence(element, action, context, depth)
    if element.VR == "UI":
        return None if action == "X" else _uids(element, context)
    if action == "X":
        return None
    if action == "Z":
        return ""
    if action == "D":
        return _DUMMY.get(element.VR, "REMOVED" if element.VR in _TEXT else None)
    return _harmless(element, keyword, source)


def _of_an_event(element: Any) -> bool:
    """Say whether an element, of those that the tables name, dates an event.

    What dates the patient does not, birth above all: with a study moved by as many
    days it would give the age back. Nor does an item that may date either.
    """
    either = {"Date", "Time", "DateTime"}
    return (
        element.VR in ("DA", "DT", "TM")
        and element.tag.group != 0x0010
        and element.keyword not in either
        and not element.keyword.startswith("Selector")
    )


def _sequence(
    element: Any, action: str | None, context: Context, depth: int
) -> list[Dataset] | None:
    if action == "X" or depth >= _DEEPEST:
        return None
    if action in ("Z", "D"):
        return []
    items = [clean(item, context, depth + 1) for item in element.value]
    return [item for item in items if len(item)]


def _harmless(element: Any, keyword: str, source: Dataset) -> Any:
    """Return the value of what no table names, as far as it tells nothing."""
    vr, value = element.VR, element.value
    values = list(value) if element.VM > 1 else [value]
    if _pixels.is_table(keyword):
        return _pixels.table(element, source)
    if vr in _PLAIN:
        return value
    if vr in ("DS", "IS"):
        texts = [str(v).strip() for v in values]
        return texts if all(_DECIMAL.fullmatch(t) or not t for t in texts) else None
    if keyword in _PIXELS:
        return _pixels.pixels(element, source)
    if vr == "CS":
        codes = [_words.code(str(v)) if v else "" for v in values]
        if all(c is not None for c in codes):
            return codes
        # Some values of an image type are the vendor's own words.
        return [c or "OTHER" for c in codes] if keyword == "ImageType" else None
    if keyword == "TextValue":
        return "REMOVED"
    return _text(keyword, values)


def _text(keyword: str, values: list[Any]) -> Any:
    first = str(values[0]) if values and values[0] is not None else ""
    if keyword in ("CodeValue", "CodingSchemeDesignator"):
        # Judged together once the item is whole.
        return first
    if keyword == "Manufacturer":
        return _words.VENDORS.get(first.casefold(), "")
    if keyword == "RescaleType":
        return first if first in _words.UNITS else None
    if keyword == "ConvolutionKernel":
        return _words.kernel(first)
    if keyword == "WindowCenterWidthExplanation":
        return [
            _words.description(str(v)) or f"WINDOW{i + 1}" for i, v in enumerate(values)
        ]
    return None


def _settle_code(item: Dataset) -> bool:
    """Give a code of a public scheme its own meaning; False for any other."""
    key = (str(item.get("CodingSchemeDesignator", "")), str(item.CodeValue))
    meaning = _MEANINGS.get(key)
    if meaning is None:
        return False
    item.CodeMeaning = meaning.encode("ascii", "replace").decode()[:64]
    return True


def _when(element: Any, context: Context) -> Any:
    values = list(element.value) if element.VM > 1 else [element.value]
    texts = [str(v) for v in values if v]
    if element.VR == "TM":
        moved = [time(text) for text in texts]
    else:
        days = context.secret.days(context.patient)
        moved = [shifted(text, days) for text in texts]
    if any(text is None for text in moved):
        return None
    return moved[0] if len(moved) == 1 else moved


def _uids(element: Any, context: Context) -> Any:
    values = list(element.value) if element.VM > 1 else [element.value]
    mapped = [mapped_uid(str(v), context.secret) if v else "" for v in values]
    return mapped[0] if len(mapped) == 1 else mapped


def mapped_uid(uid: str, secret: Secret) -> str:
    """Return the UID that stands for `uid`; those of the standard stay."""
    return uid if uid in UID_dictionary else secret.uid(uid)
