"""Connections whose answers have to come at a pace, their headers too."""

import io
import time
from http.client import HTTPResponse, LineTooLong
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

SLOWEST = 1024  # bytes a second that a body must come at after its first `timeout`
_MOST_LINES = 1 << 20  # of headers, and between two pieces of a body
_MOST_REFUSAL = 64 << 10


class _Paced(io.RawIOBase):
    """What a socket gives, as long as it gives it fast enough.

    A socket's own timeout starts anew with each byte: a server that sends one now
    and then could hold us for ever. Only time spent on waiting is counted, not what
    the caller takes for what it got.
    """

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw, self._sock = raw, sock
        self._timeout: float | None = sock.gettimeout()
        self._left = self._timeout
        self._earned = 0.0  # seconds a byte: more headers give no more time

    def start_body(self) -> None:
        self._left, self._earned = self._timeout, 1 / SLOWEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._timeout is None or self._left is None:
            return self._raw.readinto(buffer)
        if self._left <= 0:
            raise TimeoutError("too slow")
        began = time.monotonic()
        self._sock.settimeout(min(self._left, self._timeout))
        try:
            count = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(self._timeout)
        self._left += (count or 0) * self._earned - (time.monotonic() - began)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """A reader that lines cannot fill: urllib3 reads those between pieces whole."""

    _seen = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        room = _MOST_LINES - self._seen + 1
        line = super().readline(room if size is None or size < 0 else min(size, room))
        self._seen += len(line)
        if self._seen > _MOST_LINES:
            raise LineTooLong("header line")
        return line

    def read(self, size: int | None = -1, /) -> bytes:
        self._seen = 0
        return super().read(size)


class _Answer(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._paced = _Paced(self.fp.detach(), sock)
        self.fp = _Lines(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.start_body()


class Adapter(HTTPAdapter):
    """Gives requests such connections, and no body of a refusal without a limit."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for a request; its connections are paced."""
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        kind: Any = pool.ConnectionCls
        if kind.response_class is not _Answer:
            paced = type(kind.__name__, (kind,), {"response_class": _Answer})
            pool.ConnectionCls = paced
        return pool

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send a request."""
        response = super().send(request, *args, **kwargs)
        if response.status_code in (401, 407) and request.hooks["response"]:
            # Who answers a challenge (a digest, say) reads the refusal to its end.
            response._content = _start(response)
            response._content_consumed = True
        return response


def _start(response: requests.Response) -> bytes:
    """Return the start of a body; a connection on which there is more is closed."""
    found = b""
    try:
        found = response.raw.read(_MOST_REFUSAL, decode_content=False)
        whole = len(found) < _MOST_REFUSAL
    except (HTTPError, OSError, ValueError):
        whole = False
    if not whole:
        response.raw.close()
    return found
