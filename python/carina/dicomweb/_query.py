"""Questions to a server, and its answers as tables."""

import datetime
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydicom.datadict import tag_for_keyword

from carina.errors import FormatError, InvalidValueError
from carina.table import Table

DateLike = str | datetime.date | None
Ages = tuple[float | None, float | None]
LEVELS = ("studies", "series", "instances")
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M", "O": "O", "OTHER": "O"}

# Columns that tell nobody who it is; all others are hidden from sight.
_SHOWN = {
    "studies": ("modality", "year", "sex", "age", "series_count", "instance_count"),
    "series": ("modality", "instance_count"),
    "instances": ("rows", "columns", "frames"),
}
_UIDS = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}
UIDS = dict(zip(LEVELS, _UIDS.values(), strict=True))
_NAMES = {
    **_UIDS,
    "patient": "PatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "accession": "AccessionNumber",
    "date": "StudyDate",
    "time": "StudyTime",
    "description": "StudyDescription",
    "series_description": "SeriesDescription",
    "body_part": "BodyPartExamined",
    "sex": "PatientSex",
    "rows": "Rows",
    "columns": "Columns",
    "frames": "NumberOfFrames",
    "series_count": "NumberOfStudyRelatedSeries",
}


def keyword(column: str) -> str:
    """Return the DICOM attribute that a column shows, or a filter asks for."""
    name = _NAMES.get(column, column)
    if tag_for_keyword(name) is None:
        known = ", ".join(_NAMES)
        raise InvalidValueError(
            f"no column {column!r}; expected a keyword of DICOM or one of: {known}"
        )
    return name


def value(row: Mapping[str, Any], name: str) -> Any:
    """Return an attribute of an answer's row: text, a number, several, or None."""
    element = row.get(f"{tag_for_keyword(name):08X}")
    values = element.get("Value") if isinstance(element, Mapping) else None
    if not isinstance(values, list):
        return None
    plain = [v.get("Alphabetic", "") if isinstance(v, Mapping) else v for v in values]
    plain = [v for v in plain if isinstance(v, (str, int, float))]
    if not plain:
        return None
    return plain[0] if len(plain) == 1 else "\\".join(map(str, plain))


def uid(what: str, text: object) -> str:
    """Return a UID if it is one: only then may it stand in an address."""
    if not _is_uid(text):
        raise InvalidValueError(f"{what}: expected a UID, digits and dots")
    return str(text)


def _is_uid(text: object) -> bool:
    digits = isinstance(text, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text)
    return bool(digits) and len(str(text)) <= 64


def dates(span: DateLike | Sequence[DateLike]) -> str | None:
    """Return a day or a span of days as DICOM asks for it."""
    if span is None:
        return None
    if not isinstance(span, (tuple, list)):
        return _day(span)
    if len(span) != 2 or (span[0] is None and span[1] is None):
        raise InvalidValueError("date: expected a day, or (first, last)")
    first, last = ("" if day is None else _day(day) for day in span)
    if first and last and first > last:
        raise InvalidValueError("date: expected (first, last), found the last first")
    return f"{first}-{last}"


def _day(day: Any) -> str:
    if isinstance(day, datetime.date):
        return f"{day.year:04}{day.month:02}{day.day:02}"
    try:
        if not re.fullmatch(r"[0-9]{4}(-?)[0-9]{2}\1[0-9]{2}", day):
            raise ValueError
        text = str(day).replace("-", "")
        _date(text)
    except (TypeError, ValueError):
        raise InvalidValueError(
            "date: expected YYYYMMDD or YYYY-MM-DD, a day that there is"
        ) from None
    return text


def ages(span: Any) -> tuple[float, float] | None:
    """Return a span of ages in years; an end that is None is open."""
    if span is None:
        return None
    if isinstance(span, (tuple, list)) and len(span) == 2:
        try:
            low, high = (
                open_end if end is None else float(end)
                for end, open_end in zip(span, (0.0, math.inf), strict=True)
            )
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if low <= high:
            return low, high
    raise InvalidValueError("age: expected (youngest, oldest) in years")


def sexes(text: Any) -> str | None:
    """Return a sex as DICOM writes it."""
    if text is None:
        return None
    if not isinstance(text, str) or text.upper() not in _SEXES:
        raise InvalidValueError(f"sex: expected 'F', 'M' or 'O', found {text!r}")
    return _SEXES[text.upper()]


def words(name: str, given: Any) -> list[str]:
    """Return one word or several as a list."""
    listed = [given] if isinstance(given, str) else given
    if listed is None:
        return []
    if isinstance(listed, Iterable) and not isinstance(listed, (bytes, Mapping)):
        listed = list(listed)
        if all(isinstance(word, str) for word in listed):
            return listed
    raise InvalidValueError(f"{name}: expected text, or several of it")


def _asked(name: str, text: Any) -> str:
    """Return what an attribute is to be."""
    plain = isinstance(text, (str, int, float)) and not isinstance(text, bool)
    if not plain or re.search(r"[\0-\x1f\x7f]", str(text)):
        raise InvalidValueError(
            f"{name}: expected a text in one line, found {type(text).__name__}"
        )
    return str(text)


def years(row: Mapping[str, Any]) -> float:
    """Return the age at the study in years; NaN when it is not known."""
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", str(value(row, "PatientAge") or ""))
    if stated:
        per = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[stated[2]]
        return round(int(stated[1]) / per, 2)
    born, seen = (value(row, name) for name in ("PatientBirthDate", "StudyDate"))
    try:
        days = _date(seen) - _date(born)
    except ValueError:
        return float("nan")
    return float(int(days.days / 365.25))


def _date(text: Any) -> datetime.date:
    return datetime.datetime.strptime(str(text), "%Y%m%d").date()


class Question:
    """What is looked for: sent to the server, and checked again here.

    Servers leave out filters that they do not support, and say nothing of it.
    """

    def __init__(
        self,
        level: str,
        *,
        modality: str | Sequence[str] | None,
        date: Any,
        sex: str | None,
        age: Ages | None,
        below: Mapping[str, str],
        filters: Mapping[str, Any],
        columns: str | Sequence[str],
    ) -> None:
        if level not in LEVELS:
            raise InvalidValueError(f"level: found {level!r}, expected one of {LEVELS}")
        self.level = level
        self.extra = words("columns", columns)
        self._modalities = {m.upper() for m in words("modality", modality)}
        self._span, self._sex, self._age = dates(date), sexes(sex), ages(age)
        self.below = dict(below)
        self._filters = {keyword(k): _asked(k, v) for k, v in filters.items()}
        if age is not None and level != "studies":
            raise InvalidValueError("age: expected only for studies")

    def where(self) -> dict[str, str]:
        """Return the study and series of whose address the question is asked."""
        depth = LEVELS.index(self.level)
        inner = list(_UIDS)[:depth]
        return {f"{n}_instance_uid": self.below[n] for n in inner if n in self.below}

    def params(self) -> tuple[dict[str, str], list[str]]:
        """Return the filters for the server and the fields that are wanted of it."""
        asked = dict(self._filters)
        if self.level == "series" and "series" in self.below:
            asked["SeriesInstanceUID"] = self.below["series"]
        if len(self._modalities) == 1:
            at_study = self.level == "studies"
            name = "ModalitiesInStudy" if at_study else "Modality"
            (asked[name],) = self._modalities
        if self._span:
            asked["StudyDate"] = self._span
        if self._sex:
            asked["PatientSex"] = self._sex
        fields = {keyword(name) for name in self.extra}
        if self.level == "studies":
            fields |= {"PatientAge", "PatientBirthDate", "PatientSex", "StudyDate"}
            fields |= {"ModalitiesInStudy", "NumberOfStudyRelatedInstances"}
            fields |= {"NumberOfStudyRelatedSeries"}
        return asked, sorted(fields)

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is what was asked for, as far as it says."""
        found = str(value(row, "ModalitiesInStudy") or value(row, "Modality") or "")
        if self._modalities and found and not self._modalities & set(found.split("\\")):
            return False
        sex, day = value(row, "PatientSex"), value(row, "StudyDate")
        if self._sex and sex and sex != self._sex:
            return False
        if self._span and day:
            first, to, last = self._span.partition("-")
            last = last or ("99999999" if to else first)
            if not first <= str(day) <= last:
                return False
        # An age that nobody knows is no age in the span.
        return self._age is None or self._age[0] <= years(row) <= self._age[1]

    def table(self, rows: Iterable[Mapping[str, Any]]) -> Table:
        """Make the table; what may tell who it is stays out of its display."""
        rows = list(rows)
        depth = LEVELS.index(self.level) + 1
        names = [*list(_UIDS)[:depth], *_SHOWN[self.level]]
        names += [name for name in self.extra if name not in names]
        columns = {name: [_cell(row, name) for row in rows] for name in names}
        hidden = [name for name in names if name not in _SHOWN[self.level]]
        return Table(columns, hidden=hidden)


def _cell(row: Mapping[str, Any], name: str) -> Any:
    if name in _UIDS:
        found = value(row, _UIDS[name])
        if not _is_uid(found):
            raise FormatError(f"answer: a row has no {_UIDS[name]}")
        return found
    if name == "modality":
        found = value(row, "ModalitiesInStudy") or value(row, "Modality")
        return str(found or "").replace("\\", " ")
    if name == "year":
        return str(value(row, "StudyDate") or "")[:4]
    if name == "age":
        return years(row)
    if name == "instance_count":
        return value(row, "NumberOfStudyRelatedInstances") or value(
            row, "NumberOfSeriesRelatedInstances"
        )
    return value(row, keyword(name))
