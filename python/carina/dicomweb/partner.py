"""What can be asked of any server, and sent to it, whatever it speaks."""

import abc
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from carina.dicomweb import _query, _search, _store
from carina.table import Table

if TYPE_CHECKING:
    import pydicom


class Partner(abc.ABC):
    """A server of images; :class:`Server` and :class:`Node` say how it is talked to."""

    def find(
        self,
        level: str = "studies",
        *,
        modality: str | Sequence[str] | None = None,
        date: Any = None,
        sex: str | None = None,
        age: _query.Ages | None = None,
        patient: str | None = None,
        accession: str | None = None,
        study: str | None = None,
        series: str | None = None,
        filters: Mapping[str, Any] | None = None,
        columns: str | Sequence[str] = (),
        limit: int = 1000,
    ) -> Table:
        """Ask which studies, series or instances there are.

        What a server ignores of the filters is applied here, where its answer has
        the attribute.

        Parameters
        ----------
        level : {"studies", "series", "instances"}
        modality : str or sequence of str, optional
            ``"DX"``; a study has it if one of its series does.
        date : day, or (first, last), optional
            Of the study: ``"2025-01-31"`` or a :class:`datetime.date`; either end of
            a span may be None.
        sex : {"F", "M", "O"}, optional
            Or in words: ``"female"``, ``"male"``, ``"other"``.
        age : (youngest, oldest), optional
            Of the patient at the study, in years; either end may be None. Only for
            studies; those that do not tell are left out.
        patient, accession : str, optional
            PatientID, AccessionNumber; ``*`` and ``?`` stand for anything.
        study, series : str, optional
            UIDs to look in.
        filters : mapping of str to str or number, optional
            Other attributes by their DICOM keyword.
        columns : str or sequence of str, optional
            Further columns: ``"patient"``, ``"date"``, ``"accession"``,
            ``"description"`` or any DICOM keyword.
        limit : int, default=1000
            Rows at most; a warning says when there are more.

        Returns
        -------
        Table
            Columns that may tell who it is (`columns` and all UIDs) are there, but
            are not shown.

        Raises
        ------
        InvalidValueError
            If there is no such day, a span is the wrong way round, or a value has no
            meaning.
        ServerError
            Or one of its kinds: ServerTimeoutError, AccessError, NotOnServerError.
        FormatError
            If the answer is none.
        """
        question = _search.question(
            level,
            modality=modality,
            date=date,
            sex=sex,
            age=age,
            patient=patient,
            accession=accession,
            study=study,
            series=series,
            filters=filters,
            columns=columns,
            limit=limit,
        )
        rows = self._rows(question, limit)
        if len(rows) > limit:
            warnings.warn(
                f"the server has more than {limit} {level}; see limit", stacklevel=2
            )
        return question.table(rows[:limit])

    def store(self, items: Iterable[Any], *, progress: bool | None = None) -> Table:
        """Send DICOM files to the server, each by itself.

        Parameters
        ----------
        items : iterable of path-like, bytes or pydicom.Dataset
        progress : bool, optional
            Whether to show a bar.

        Returns
        -------
        Table
            For each item its ``status`` (``"stored"``, ``"warned"`` or ``"failed"``)
            and ``reason``. An item that fails does not stop those after it.

        Raises
        ------
        AccessError
            If the server does not let you.
        """
        return _store.each(items, self._send, progress)

    @abc.abstractmethod
    def _rows(self, question: _query.Question, limit: int) -> list[_search.Row]:
        """Ask; one row more than `limit` tells that there are more."""

    @abc.abstractmethod
    def _send(self, data: "pydicom.Dataset") -> tuple[str, str]:
        """Send a file: its status, and the reason when it is not stored."""
