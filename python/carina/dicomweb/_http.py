"""Requests to one server: bounded in time and size, and silent about patients."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from requests.exceptions import ConnectTimeout, ReadTimeout, SSLError
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from carina.dicomweb import _settings, _tls
from carina.dicomweb._multipart import media_type, parts
from carina.dicomweb._paced import Adapter
from carina.errors import (
    AccessError,
    CarinaError,
    FormatError,
    InvalidValueError,
    NotOnServerError,
    ServerError,
    ServerTimeoutError,
)

_CHUNK = 1 << 18
_MOST_TEXT = 256 << 20  # of rows and replies, which take many times as much once parsed
_TRY_AGAIN = (408, 425, 429, 502, 503, 504)
_LONGEST_WAIT = 30.0
_NAMES = {400: "bad request", 406: "no such form", 409: "conflict", 413: "too large"}


class Transport(requests.Session):
    """A session that raises our errors, and never one with an address in it."""

    def __init__(
        self,
        place: str,
        *,
        auth: Any = None,
        headers: Mapping[str, str] | None = None,
        verify: Any = True,
        cert: Any = None,
        timeout: float = 30.0,
        retries: int = 3,
        max_bytes: int = 2 << 30,
    ) -> None:
        _settings.seconds("timeout", timeout)
        _settings.number("retries", retries, 0, whole=True)
        _settings.number("max_bytes", max_bytes, 1, whole=True)
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, Adapter())
        self.place = place
        fields = _settings.header_fields(headers)
        self.auth = _settings.credentials(auth, fields)
        self.cert, self._verify = _tls.own(cert), _tls.authorities(verify)
        self.headers.update(fields)
        # An answer that unpacks to a thousand times its size could not be bounded.
        self.headers["Accept-Encoding"] = "identity"
        self._timeout, self._retries, self._most = timeout, retries, max_bytes

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Make a request ready; what is wrong with it is not the server's fault."""
        problem = ""
        try:
            return super().prepare_request(request)
        except CarinaError:
            raise
        except (TypeError, ValueError) as error:
            problem = type(error).__name__
        raise InvalidValueError(
            f"{self.place}: no request can be made ({problem}); see auth and headers"
        )

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return none: requests reads the whole body of what redirects."""
        return None

    def send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send a request; GET is tried again after a passing failure."""
        whole = not kwargs.get("stream")
        # Where a redirection leads, credentials in headers would follow.
        kwargs.update(stream=True, timeout=self._timeout, allow_redirects=False)
        # Of the session and the environment, the caller's own word goes first.
        if self._verify is not True:
            kwargs["verify"] = self._verify
        tries = self._retries + 1 if request.method == "GET" else 1
        response, wait, problem = None, 0.0, ServerError(f"{self.place}: no answer")
        for attempt in range(tries):
            time.sleep(wait)
            response, failed, final = self._once(request, kwargs)
            wait = min(0.5 * 2**attempt, _LONGEST_WAIT)
            if failed is not None:
                problem = failed
                if final:
                    break
            elif response is not None:
                if response.status_code not in _TRY_AGAIN or attempt + 1 == tries:
                    return self._checked(response, whole)
                wait = _retry_after(response, wait)
                response.close()
        raise problem

    def _once(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> tuple[requests.Response | None, ServerError | None, bool]:
        """Return the answer, or our error and whether no second try can help."""
        try:
            return super().send(request, **kwargs), None, False
        except SSLError as error:
            why = _tls.words(error, "verify", "cert")
            return None, ServerError(f"{self.place}: {why}"), True
        except ConnectTimeout:
            why = f"{self.place}: no connection within {self._timeout:g} s"
            return None, ServerTimeoutError(why), False
        except ReadTimeout:
            why = f"{self.place}: no answer within {self._timeout:g} s"
            return None, ServerTimeoutError(why), False
        except requests.ConnectionError as error:
            hung_up = bool(error.args) and isinstance(error.args[0], ProtocolError)
            why = "hung up" if hung_up else "cannot be reached"
            return None, ServerError(f"{self.place}: the server {why}"), False
        except (
            requests.RequestException,
            HTTPError,
            OSError,
            LookupError,
            ValueError,
        ) as other:
            why = f"the request failed ({type(other).__name__})"
            if type(other) is OSError:  # requests' word for a bundle that is not there
                why += "; see REQUESTS_CA_BUNDLE"
            return None, ServerError(f"{self.place}: {why}"), True

    def _checked(self, response: requests.Response, whole: bool) -> requests.Response:
        status = response.status_code
        if status in (401, 403):
            response.close()
            why = "wants credentials" if status == 401 else "does not allow this"
            raise AccessError(f"{self.place}: the server {why} ({status})")
        if status in (404, 410):
            response.close()
            raise NotOnServerError(
                f"{self.place}: nothing there ({status}): not on the server, or not "
                "the address of its DICOMweb"
            )
        if 300 <= status < 400:
            response.close()
            raise ServerError(
                f"{self.place}: the server redirects ({status}); give the address "
                "that it redirects to"
            )
        if whole:
            # requests' own reading has no limit; this is the field that it would set.
            response._content = b"".join(self.body(response, most=_MOST_TEXT))
            response._content_consumed = True
        # A 409 to a store says which instance failed; the caller reads it.
        if status >= 400 and not (whole and response.request.method == "POST"):
            response.close()
            raise ServerError(f"{self.place}: the server refused ({said(status)})")
        return response

    def body(
        self, response: requests.Response, *, most: int | None = None
    ) -> Iterator[bytes]:
        """Yield an answer's bytes as they come, as long as they come fast enough."""
        limit = self._most if most is None else min(most, self._most)
        coding = response.headers.get("Content-Encoding", "identity")
        if coding.strip().lower() not in ("", "identity"):
            response.close()
            raise FormatError("answer: it is compressed, which was not asked for")
        total = 0
        problem: Exception | None = None
        with response:
            while problem is None:
                try:
                    chunk = response.raw.read1(_CHUNK)
                except (ReadTimeoutError, TimeoutError):
                    why = f"nothing came for {self._timeout:g} s, or less than 1 kB/s"
                    problem = ServerTimeoutError(f"{self.place}: {why}")
                    break
                except (HTTPError, OSError, ValueError, AttributeError):
                    problem = ServerError(f"{self.place}: the answer broke off")
                    break
                if not chunk:
                    return
                total += len(chunk)
                if total > limit:
                    why = f"the answer has more than {limit} bytes"
                    problem = ServerError(f"{self.place}: {why}")
                else:
                    yield chunk
        raise problem

    def files(self, url: str) -> Iterator[bytes]:
        """Yield the DICOM files that an address stands for, one at a time.

        An answer that breaks off is asked for again, and goes on where it was.
        """
        given: set[bytes] = set()
        for attempt in range(self._retries + 1):
            try:
                for file in self._files(url):
                    digest = hashlib.sha256(file).digest()
                    if digest not in given:
                        given.add(digest)
                        yield file
                return
            except (AccessError, NotOnServerError):
                raise
            except ServerError:
                if attempt == self._retries:
                    raise

    def _files(self, url: str) -> Iterator[bytes]:
        # As stored: our decoders know more syntaxes than most servers, and it is less.
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        response = self.get(url, headers={"Accept": accept}, stream=True)
        if response.status_code == 204:
            response.close()
            return
        kind, boundary = media_type(response.headers.get("Content-Type", ""))
        if kind == "application/dicom":
            yield b"".join(self.body(response))
        elif kind != "multipart/related" or not boundary:
            response.close()
            shown = kind if kind.isascii() and len(kind) < 60 else "another"
            why = f"expected multipart/related with a boundary, found {shown}"
            raise FormatError(f"answer: {why}")
        else:
            yield from parts(self.body(response), boundary, most=self._most)


def said(status: int) -> str:
    """Return a status as errors show it; the server's own words may name patients."""
    return f"{status}, {_NAMES[status]}" if status in _NAMES else str(status)


def _retry_after(response: requests.Response, usual: float) -> float:
    """Return the seconds that the server asks to wait, within reason."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_WAIT) if text.isdecimal() else usual
