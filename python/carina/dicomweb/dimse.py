"""A DICOM node: the same verbs for servers without DICOMweb."""

import contextlib
import queue
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pydicom
from pynetdicom import AE, build_context, build_role, evt, sop_class

from carina.dicomweb import _query, _search, _settings, _store, _tls, fetched
from carina.dicomweb._quiet import mute, overheard, quiet
from carina.dicomweb.partner import Partner
from carina.errors import (
    AccessError,
    CarinaError,
    InvalidValueError,
    ServerError,
    ServerTimeoutError,
)

_LEVEL = {"studies": "STUDY", "series": "SERIES", "instances": "IMAGE"}
_FIND = sop_class.StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]
_GET = sop_class.StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]
_MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove  # type: ignore[attr-defined]
_ECHO = sop_class.Verification  # type: ignore[attr-defined]
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# What we read: films, CT, enhanced CT and secondary captures, in every syntax of ours.
_READ = tuple(_STORAGE + tail for tail in ("1", "1.1", "1.1.1", "2", "2.1", "7"))
# What lies beside them: MR, PET, presentations, segmentations, maps, reports. Some
# servers give nothing of a study when one of its files has no context.
_BESIDE = tuple(
    _STORAGE + tail
    for tail in [
        "4",
        "128",
        "11.1",
        "66.4",
        "30",
        "88.11",
        "88.22",
        "88.33",
        "88.34",
        "88.59",
        "104.1",
    ]
)
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_SYNTAXES = (
    *_PLAIN,
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202)),
)
_PENDING = (0xFF00, 0xFF01)


class Node(Partner):
    """A DICOM node: C-ECHO, C-FIND, C-GET, C-MOVE and C-STORE [1]_.

    Every call opens an association of its own and closes it.

    Parameters
    ----------
    host : str
    port : int
    title : str, default="ANY-SCP"
        Its application entity title.
    own_title : str, default="CARINA"
        Ours; most servers know whom they talk to.
    timeout : float, default=30
        Seconds for a connection, and for each answer.
    tls : ssl.SSLContext, optional
        For an encrypted connection: ``ssl.create_default_context(cafile=…)``, say.

    Raises
    ------
    InvalidValueError
        If a value has no meaning.

    References
    ----------
    .. [1] DICOM PS3.4 and PS3.7.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        title: str = "ANY-SCP",
        own_title: str = "CARINA",
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        for name, text in (("title", title), ("own_title", own_title)):
            plain = isinstance(text, str) and re.fullmatch(r"[ -\[\]-~]{1,16}", text)
            if not plain or not text.strip():
                raise InvalidValueError(f"{name}: expected 1 to 16 letters")
        if not isinstance(host, str) or not re.fullmatch(r"[!-~]{1,253}", host):
            raise InvalidValueError("host: expected a name or an address")
        _settings.number("port", port, 1, whole=True)
        if port > 65535:
            raise InvalidValueError(f"port: expected at most 65535, found {port}")
        _settings.seconds("timeout", timeout)
        if tls is not None and not isinstance(tls, ssl.SSLContext):
            kind = type(tls).__name__
            raise InvalidValueError(f"tls: expected an ssl.SSLContext, found {kind}")
        self._host, self._port, self._tls = host, int(port), tls
        self._title, self._own, self._timeout = title, own_title, timeout
        self._place = f"{host}:{port}"

    def echo(self) -> None:
        """Ask whether the node is there and talks to us; an error if not."""
        with self._talk([build_context(_ECHO)]) as talk:
            self._check(talk.send_c_echo())

    def _rows(self, question: _query.Question, limit: int) -> list[_search.Row]:
        asked, fields = question.params()
        wanted = _identifier(
            _LEVEL[question.level],
            question.below.get("study"),
            question.below.get("series"),
        )
        for name in (*fields, *_query.UIDS.values(), "Modality"):
            if name not in wanted:
                setattr(wanted, name, None)
        for name, text in asked.items():
            setattr(wanted, name, text)
        rows: list[_search.Row] = []
        with self._talk([build_context(_FIND)]) as talk:
            for status, found in talk.send_c_find(wanted, _FIND):
                self._check(status)
                if found is not None:
                    with mute():
                        row = found.to_json_dict(suppress_invalid_tags=True)
                    if question.fits(row):
                        rows.append(row)
                if len(rows) > limit:
                    talk.abort()
                    break
        return rows

    def instances(self, study: str, *, series: str | None = None) -> Iterator[bytes]:
        """Yield the DICOM files of a study or series by C-GET, one at a time.

        The next file is received while one is used; each is in memory whole. A file
        of another study or series raises FormatError, and one that the node could
        not send a ServerError after the others.
        """
        wanted = _identifier("STUDY" if series is None else "SERIES", study, series)
        return fetched.of_place(self._get(wanted), study, series)

    def _get(self, wanted: pydicom.Dataset) -> Iterator[bytes]:
        arrived: queue.Queue[bytes | CarinaError | None] = queue.Queue(maxsize=1)
        gone = threading.Event()

        def hand_over(item: bytes | CarinaError | None) -> bool:
            while not gone.is_set():
                with contextlib.suppress(queue.Full):
                    arrived.put(item, timeout=0.2)
                    return True
            return False

        def arrive(event: Any) -> int:
            # Out of resources: nobody takes the files any more.
            return 0 if hand_over(event.encoded_dataset()) else 0xA700

        def receive() -> None:
            end: CarinaError | None = None
            try:
                contexts = [build_context(_GET)]
                contexts += [build_context(c, s) for c in _READ for s in _SYNTAXES]
                contexts += [build_context(c, list(_PLAIN)) for c in _BESIDE]
                roles = [build_role(c, scp_role=True) for c in (*_READ, *_BESIDE)]
                handlers = [(evt.EVT_C_STORE, arrive)]
                with self._talk(contexts, ext_neg=roles, evt_handlers=handlers) as talk:
                    for status, _ in talk.send_c_get(wanted, _GET):
                        self._check(status)
                        self._check_all_sent(status)
                        if gone.is_set():
                            talk.abort()
                            return
            except CarinaError as error:
                end = error
            except Exception as error:
                end = ServerError(f"{self._place}: failed ({type(error).__name__})")
            hand_over(end)

        thread = threading.Thread(target=receive, name="carina-c-get", daemon=True)
        thread.start()
        try:
            while (item := arrived.get()) is not None:
                if isinstance(item, CarinaError):
                    raise item
                yield item
        finally:
            gone.set()

    def move(self, study: str, to: str, *, series: str | None = None) -> int:
        """Have the node send a study to another one, known to it by the title `to`.

        Returns
        -------
        int
            The number of files that were sent.

        Raises
        ------
        ServerError
            If one was not.
        """
        wanted = _identifier("STUDY" if series is None else "SERIES", study, series)
        sent = 0
        with self._talk([build_context(_MOVE)]) as talk:
            for status, _ in talk.send_c_move(wanted, to, _MOVE):
                self._check(status)
                sent = status.get("NumberOfCompletedSuboperations", sent) or sent
                self._check_all_sent(status)
        return int(sent)

    def _send(self, data: pydicom.Dataset) -> tuple[str, str]:
        problem = ""
        try:
            kind, syntax = data.SOPClassUID, data.file_meta.TransferSyntaxUID
            with self._talk([build_context(kind, syntax)]) as talk:
                status = talk.send_c_store(data)
        except CarinaError:
            raise
        except Exception as error:  # of encoding; its text may quote the data
            problem = type(error).__name__
        if problem:
            return "failed", f"cannot be sent ({problem})"
        code = status.get("Status")
        if code == 0:
            return "stored", ""
        if code is None:
            raise ServerTimeoutError(f"{self._place}: no answer")
        kind = "warned" if code >> 12 == 0xB else "failed"
        return kind, _store.reason(code)

    @contextlib.contextmanager
    def _talk(self, contexts: list[Any], **options: Any) -> Iterator[Any]:
        """Open an association; whatever happens, it is closed at the end."""
        entity = AE(ae_title=self._own)
        entity.connection_timeout = entity.acse_timeout = self._timeout
        entity.dimse_timeout = entity.network_timeout = self._timeout
        watched = None if self._tls is None else _tls.Watched(self._tls)
        if watched is not None:
            options["tls_args"] = (watched, self._host)
        with quiet():
            talk = self._associate(entity, contexts, options)
            if talk.is_rejected:
                raise AccessError(
                    f"{self._place}: the node does not talk to us; see title and "
                    "own_title"
                )
            if not talk.is_established:
                refused = talk.rejected_contexts and not talk.accepted_contexts
                why = "does not offer this" if refused else "cannot be reached"
                why = f"the node {why}"
                if watched is not None and watched.problem:
                    why = watched.problem
                raise ServerError(f"{self._place}: {why}")
            with overheard(talk.ident, talk.dul.ident):
                done = False
                try:
                    yield talk
                    done = True
                except ValueError:
                    # pynetdicom's word for a service that was not agreed on.
                    why = f"{self._place}: the node does not offer this"
                    raise ServerError(why) from None
                finally:
                    # Asked to part politely, a node that is still sending would not.
                    (talk.release if done and talk.is_established else talk.abort)()

    def _associate(self, entity: AE, contexts: list[Any], options: Any) -> Any:
        problem = ""
        try:
            return entity.associate(
                self._host,
                self._port,
                contexts=contexts,
                ae_title=self._title,
                **options,
            )
        except socket.gaierror:
            problem = "no host of this name is known"
        except (OSError, UnicodeError):
            problem = "the node cannot be reached"
        raise ServerError(f"{self._place}: {problem}")

    def _check(self, status: pydicom.Dataset) -> None:
        code = status.get("Status")
        if code is None:
            raise ServerTimeoutError(f"{self._place}: no answer, or it broke off")
        if code not in (0, *_PENDING) and code >> 12 != 0xB:
            raise ServerError(f"{self._place}: {_store.reason(code)}")

    def _check_all_sent(self, status: pydicom.Dataset) -> None:
        """Refuse the end of a transfer that leaves files out: a mere warning."""
        if status.Status in _PENDING:
            return
        failed, warned = (
            status.get(f"NumberOf{what}Suboperations") or 0
            for what in ("Failed", "Warning")
        )
        # A warning is about files that failed, or about such as were altered.
        if failed or (status.Status != 0 and not warned):
            count = failed or "some"
            raise ServerError(f"{self._place}: files that were not sent: {count}")

    def __repr__(self) -> str:
        return f"Node({self._title!r} at {self._place!r})"


def _identifier(level: str, study: str | None, series: str | None) -> pydicom.Dataset:
    wanted = pydicom.Dataset()
    wanted.QueryRetrieveLevel = level
    if study is not None:
        wanted.StudyInstanceUID = _query.uid("study", study)
    if series is not None:
        wanted.SeriesInstanceUID = _query.uid("series", series)
    return wanted
