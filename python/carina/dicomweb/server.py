"""A DICOMweb server: found, fetched, encoded, stored."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dicomweb_client import DICOMwebClient
from numpy.typing import NDArray

from carina._files import PathLike
from carina._progress import Bar
from carina.batch import RowError
from carina.dataset import Dataset
from carina.dicomweb import (
    _download,
    _query,
    _search,
    _settings,
    _store,
    fetched,
)
from carina.dicomweb._http import Transport
from carina.dicomweb._quiet import quiet, quietly
from carina.dicomweb.fetched import Fetched
from carina.dicomweb.partner import Partner
from carina.errors import CarinaError
from carina.table import Table
from carina.volume import Volume
from carina.volume_reading import read_volume

if TYPE_CHECKING:
    import pydicom

FILMS = ("CR", "DX")


class Server(Partner):
    """A server that speaks DICOMweb: QIDO-RS, WADO-RS and STOW-RS [1]_.

    Nothing is sent before a method asks for something. Questions are asked again
    after a passing failure, stores never. Redirections are not followed, because
    credentials would go along.

    Parameters
    ----------
    url : str
        Where it is: ``"https://host:8042/dicom-web"``.
    auth : (user, password) or requests' AuthBase, optional
        Credentials; no repr and no error shows them. Those of ``~/.netrc`` are never
        taken; proxies and authorities of the environment are.
    headers : mapping of str to str, optional
        Sent with every request: ``{"Authorization": "Bearer …"}``, say.
    verify : bool or path-like, default=True
        Whether its certificate is checked, or by which authorities: a file in PEM,
        or a folder of them.
    cert : path or (certificate, key), optional
        Our own certificate, in PEM; its key has no password.
    timeout : float, default=30
        Seconds for a connection, for all headers of an answer, and for its next
        bytes; they may come no slower than 1 kB a second.
    retries : int, default=3
        How often a question is asked again.
    max_bytes : int, default=2 GiB
        What an answer may have; one file of it is held in memory at a time.

    Raises
    ------
    InvalidValueError
        If a value has no meaning, or `url` has credentials in it.
    MissingFileError, FileError, FormatError
        If a certificate is not there, or none.

    References
    ----------
    .. [1] DICOM PS3.18.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Any = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | PathLike = True,
        cert: Any = None,
        timeout: float = 30.0,
        retries: int = 3,
        max_bytes: int = 2 << 30,
    ) -> None:
        self._url, place = _settings.address(url)
        self._http = Transport(
            place,
            auth=auth,
            headers=headers,
            verify=verify,
            cert=cert,
            timeout=timeout,
            retries=retries,
            max_bytes=max_bytes,
        )
        with quiet():
            self._client = DICOMwebClient(self._url, session=self._http)
        self._client.set_http_retry_params(retry=False)  # Transport does it

    def _rows(self, question: _query.Question, limit: int) -> list[_search.Row]:
        with quiet():
            return _search.rows(self._client, question, limit)

    def instances(
        self, study: str, *, series: str | None = None, instance: str | None = None
    ) -> Iterator[bytes]:
        """Yield the DICOM files of a study or series, as stored, one at a time.

        An answer that breaks off is asked for again, and goes on where it was. One
        that is none, or has a file of another study or series, raises FormatError; no
        answer raises a ServerError.
        """
        url = f"{self._url}/studies/{_query.uid('study', study)}"
        if series is not None:
            url += f"/series/{_query.uid('series', series)}"
            if instance is not None:
                url += f"/instances/{_query.uid('instance', instance)}"
        files = quietly(self._http.files(url))
        return fetched.of_place(files, study, series, instance)

    def _chosen(
        self, place: fetched.Place, modality: str | Sequence[str] | None
    ) -> Iterator[bytes]:
        """Yield the files of a study's series of some modalities."""
        study, series = place
        if series is not None or modality is None:
            yield from self.instances(study, series=series)
            return
        for uid in self.find("series", study=study, modality=modality)["series"]:
            yield from self.instances(study, series=uid)

    def studies(
        self,
        found: Any,
        *,
        modality: str | Sequence[str] | None = FILMS,
        window: str | bool | int = "auto",
        progress: bool | None = None,
    ) -> Iterator[Fetched]:
        """Fetch the films of studies, one study in memory at a time.

        Nothing is written to a disk. A study of which something goes wrong carries
        the reason; credentials that are refused, and a server that fails five
        studies in a row, are errors of the call.

        Parameters
        ----------
        found : Table, str, or array or other iterable of str
            What :meth:`find` gave (studies or series), or StudyInstanceUIDs.
        modality : str, sequence of str or None, default=("CR", "DX")
            Series of which modality; None for all that have pixels.
        window : as for :func:`carina.read`
        progress : bool, optional
            Whether to show a bar; in notebooks and terminals by default.

        Yields
        ------
        Fetched
        """
        chosen = fetched.places(found)
        return self._studies(chosen, modality, window, progress)

    def _studies(
        self,
        chosen: list[fetched.Place],
        modality: str | Sequence[str] | None,
        window: str | bool | int,
        progress: bool | None,
    ) -> Iterator[Fetched]:
        patience = fetched.Patience()
        with Bar("fetching", show=progress, unit="study") as bar:
            for index, place in enumerate(chosen):
                bar(index, len(chosen), [])
                files = self._chosen(place, modality)
                one, problem = fetched.films(index, place, files, window)
                patience.watch(problem)
                yield one
            bar(len(chosen), len(chosen), [])

    def dataset(
        self, found: Any, *, progress: bool | None = None, **options: Any
    ) -> tuple[Dataset, list[RowError]]:
        """Fetch films into a data set in memory.

        Parameters
        ----------
        found, progress, **options
            As for :meth:`studies`.

        Returns
        -------
        dataset : Dataset
            The studies that have films, by StudyInstanceUID and PatientID.
        failures : list of RowError
            By their place in `found`.
        """
        studies = list(self.studies(found, progress=progress, **options))
        return fetched.as_dataset(studies)[0], fetched.failures(studies)

    def encode(
        self,
        model: Any,
        found: Any,
        *,
        batch_size: int = 32,
        modality: str | Sequence[str] | None = FILMS,
        window: str | bool | int = "auto",
        progress: bool | None = None,
        **options: Any,
    ) -> tuple[NDArray[np.float32], list[RowError]]:
        """Encode studies as they come: never more than a batch of them in memory.

        Parameters
        ----------
        model : Model
        found, modality, window, progress
            As for :meth:`studies`.
        batch_size : int, default=32
            Studies at a time.
        **options
            As for :meth:`carina.Model.encode`.

        Returns
        -------
        values : ndarray of shape (studies, …), float32
            In the order of `found`; NaN where there is no film.
        failures : list of RowError
            By their place in `found`.
        """
        _settings.number("batch_size", batch_size, 1, whole=True)
        chosen = fetched.places(found)
        studies = self._studies(chosen, modality, window, progress)
        return fetched.encoded(model, studies, len(chosen), batch_size, options)

    def volume(
        self, study: str, series: str, *, progress: bool | None = None, **options: Any
    ) -> Volume:
        """Fetch a series of slices as a volume.

        The slices pass through a folder that only you can read and that is gone at
        the end.

        Parameters
        ----------
        study, series : str
            UIDs.
        progress : bool, optional
            Whether to show a bar.
        **options
            As for :func:`carina.read_volume`. Errors speak of files by their place
            in the server's answer, from 1.
        """
        with tempfile.TemporaryDirectory(prefix="carina-") as folder:
            for number, file in enumerate(self.instances(study, series=series), 1):
                Path(folder, f"{number}.dcm").write_bytes(file)
            try:
                return read_volume(folder, progress=progress, **options)
            except CarinaError as error:
                kind, why = type(error), str(error)
        # The folder's name says nothing to anybody, and it is gone.
        raise kind(_told_of_series(why, folder))

    def sources(
        self, study: str, *, series: str | None = None
    ) -> "list[pydicom.Dataset]":
        """Fetch the attributes of all images, without pixels, for :func:`report_sr`."""
        return [fetched.header(f) for f in self.instances(study, series=series)]

    def download(
        self,
        found: Any,
        folder: PathLike,
        *,
        modality: str | Sequence[str] | None = None,
        progress: bool | None = None,
    ) -> Table:
        """Copy studies to a folder; called again, it fetches only what is missing.

        Files are whole or absent, and their names tell nothing of the patient; what
        is in them is as the server has it (see :func:`carina.deidentify`).

        Parameters
        ----------
        found, modality, progress
            As for :meth:`studies`; all modalities by default.
        folder : path-like
            Gets a folder for each study, and in it one for each series. Parts of
            files that a killed download left there go after an hour.

        Returns
        -------
        Table
            For each series: files written, files that were there, and the error.

        Raises
        ------
        FileError
            If `folder` is a file, or nothing can be written five times in a row.
        """
        chosen = fetched.places(found)
        return _download.download(self, chosen, Path(folder), modality, progress)

    def _send(self, data: "pydicom.Dataset") -> tuple[str, str]:
        return _store.send(self._client, self._http.place, data)

    def __repr__(self) -> str:
        return f"Server({self._http.place!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a server holds credentials: it is not pickled")


def _told_of_series(why: str, folder: str) -> str:
    """Put words for the names of files that only we have seen."""
    named = re.sub(
        re.escape(folder) + r"[/\\]([0-9]+)\.dcm", r"file \1 of the series", why
    )
    return named.replace(folder, "the series")
