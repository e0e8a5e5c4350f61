"""Answers to a question, page by page."""

from collections.abc import Mapping
from typing import Any

from carina.dicomweb import _query, _settings
from carina.errors import (
    CarinaError,
    FormatError,
    InvalidValueError,
    ServerError,
)

_PAGE = 200
_MOST_ROWS = 1_000_000

Row = Mapping[str, Any]


def rows(client: Any, question: _query.Question, limit: int) -> list[Row]:
    """Ask until there is one row more than `limit`, or no other."""
    search = getattr(client, f"search_for_{question.level}")
    asked, fields = question.params()
    options = {**question.where(), "search_filters": asked}
    if fields:
        options["fields"] = fields
    name = _query.UIDS[question.level]
    seen: set[Any] = set()
    kept: list[Row] = []
    offset = 0
    while len(kept) <= limit:
        page = _page(search, limit=_PAGE, offset=offset, **options)
        before = len(seen)
        for row in page:
            uid = _query.value(row, name)
            if uid not in seen:
                seen.add(uid)
                if question.fits(row):
                    kept.append(row)
        offset += len(page)
        # A server that knows no offset gives its first page for ever.
        if len(seen) == before:
            break
        if len(seen) > _MOST_ROWS:
            raise ServerError("the server's list of rows has no end")
    return kept


def _page(search: Any, **options: Any) -> list[Row]:
    page = None
    try:
        page = search(**options)
    except CarinaError:
        raise
    except (ValueError, RecursionError):
        # No JSON, whose parser quotes it; what cannot be asked was refused before.
        pass
    if not isinstance(page, list) or not all(isinstance(row, Mapping) for row in page):
        raise FormatError("answer: expected rows as DICOM JSON")
    return page


def question(
    level: str,
    *,
    limit: int,
    patient: str | None,
    accession: str | None,
    study: str | None,
    series: str | None,
    filters: Mapping[str, Any] | None,
    **options: Any,
) -> _query.Question:
    """Make a question of what a caller asks for; see :meth:`Server.find`."""
    _settings.number("limit", limit, 1, whole=True)
    if not isinstance(filters or {}, Mapping):
        raise InvalidValueError("filters: expected a mapping of keywords to text")
    asked: dict[str, Any] = dict(filters or {})
    for name, text in (("patient", patient), ("accession", accession)):
        if text is not None:
            asked[name] = text
    below = {
        name: _query.uid(name, uid)
        for name, uid in (("study", study), ("series", series))
        if uid is not None
    }
    if level == "studies" and below:
        raise InvalidValueError("study, series: expected only for what is in them")
    if "series" in below and "study" not in below:
        raise InvalidValueError("series: expected the study that it is of, too")
    return _query.Question(level, below=below, filters=asked, **options)
