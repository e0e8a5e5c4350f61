"""Certificates: checked before they are needed, and said in words when refused."""

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from carina.errors import FileError, FormatError, InvalidValueError, MissingFileError

T = TypeVar("T")

# OpenSSL's X509_V_ERR_…
_CERTIFICATE = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}
_ALERTS = {
    "CERTIFICATE_REQUIRED": "it wants a client certificate",
    "HANDSHAKE_FAILURE": "it refuses the TLS connection: it may want a client "
    "certificate",
    "UNKNOWN_CA": "it does not trust our client certificate",
    "BAD_CERTIFICATE": "it wants a client certificate, or refuses ours",
    "CERTIFICATE_EXPIRED": "our client certificate has expired",
    "CERTIFICATE_UNKNOWN": "it refuses our client certificate",
    "PROTOCOL_VERSION": "it speaks no version of TLS that we speak",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS that we speak",
    "NO_CERTIFICATE_OR_CRL": "the file of authorities holds no certificate",
    "EOF": "it ended the TLS connection: it may want a client certificate",
    "WRONG_VERSION_NUMBER": "no TLS connection; is it a server without TLS?",
    "PACKET_LENGTH": "no TLS connection; is it a server without TLS?",
    "RECORD_LAYER": "no TLS connection; is it a server without TLS?",
    "HTTP_REQUEST": "no TLS connection; is it a server without TLS?",
}


def words(error: BaseException | None, verify: str, cert: str) -> str:
    """Say why there is no TLS connection; the library's texts are not quoted.

    `verify` and `cert` are the arguments that the error points to.
    """
    found = _cause(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        why = _CERTIFICATE.get(found.verify_code, "its certificate is not trusted")
        return f"{why}; see {verify}"
    reason = str(getattr(found, "reason", None) or found or "")
    for alert, why in _ALERTS.items():
        if alert in reason:
            return f"{why}; see {cert}" if "client" in why else why
    return "no TLS connection"


def _cause(error: BaseException | None) -> ssl.SSLError | None:
    """Return what ssl said, wherever the libraries above it have put it."""
    seen: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, ssl.SSLError):
            return one
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [*one.args, getattr(one, "reason", None)]
            todo += [one.__cause__, one.__context__]
    return None


class Watched:
    """A context that says why there is no connection: pynetdicom only logs it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.problem = ""
        self._context = context

    def wrap_socket(self, sock: socket.socket, **options: Any) -> "_Socket":
        """Return the encrypted socket, as a context does."""
        return _Socket(self._context.wrap_socket(sock, **options), self)


class _Socket:
    """An encrypted socket whose errors are watched."""

    def __init__(self, sock: ssl.SSLSocket, watched: Watched) -> None:
        self._sock, self._watched = sock, watched

    def connect(self, address: Any) -> None:
        """Connect, and agree on the encryption."""
        try:
            self._do(self._sock.connect, address)
        except OSError:
            self._sock.close()  # pynetdicom forgets it
            raise

    def recv(self, *args: Any) -> bytes:
        """Receive; in TLS 1.3 it is now that a server refuses our certificate."""
        return self._do(self._sock.recv, *args)

    def _do(self, call: Callable[..., T], *args: Any) -> T:
        try:
            return call(*args)
        except ssl.SSLError as error:
            self._watched.problem = words(error, "tls", "tls")
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def authorities(verify: Any) -> bool | str:
    """Check by whom a server's certificate is to be trusted."""
    if isinstance(verify, bool):
        return verify
    path = _path("verify", verify)
    if path.is_dir():
        return str(path)
    problem = False
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        problem = True
    except OSError as error:
        raise FileError(f"verify: {path}: {error.strerror}") from None
    if problem:
        raise FormatError(f"verify: {path}: expected certificates in PEM, found none")
    return str(path)


def own(cert: Any) -> str | tuple[str, str] | None:
    """Check our own certificate and its key."""
    if cert is None:
        return None
    pair = cert if isinstance(cert, Sequence) and not isinstance(cert, str) else [cert]
    if not 1 <= len(pair) <= 2:
        raise InvalidValueError("cert: expected a path, or (certificate, key)")
    paths = [_path("cert", one) for one in pair]
    encrypted = False

    def password() -> str:
        nonlocal encrypted
        encrypted = True  # asked for; without this OpenSSL would ask the terminal
        return ""

    problem = ""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        key = paths[1] if len(paths) == 2 else None
        context.load_cert_chain(paths[0], key, password)
    except ssl.SSLError as error:
        problem = "a certificate and its key in PEM, found none"
        if "KEY_VALUES_MISMATCH" in str(error.reason):
            problem = "the key of this certificate, found another"
    except OSError as error:
        raise FileError(f"cert: {paths[0]}: {error.strerror}") from None
    if encrypted:
        problem = "a key without a password"
    if problem:
        raise FormatError(f"cert: {paths[0]}: expected {problem}")
    return str(paths[0]) if len(paths) == 1 else (str(paths[0]), str(paths[1]))


def _path(name: str, given: Any) -> Path:
    if not isinstance(given, (str, os.PathLike)):
        kind = type(given).__name__
        raise InvalidValueError(f"{name}: expected a path, found {kind}")
    path = Path(given)
    if not path.exists():
        raise MissingFileError(f"{name}: no such file: {path}")
    return path
