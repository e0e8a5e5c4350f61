"""What a caller says of a server, checked before anything is sent."""

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from carina.errors import InvalidValueError

_LONGEST = 1e6  # seconds; a socket takes no more than some years
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def number(name: str, value: Any, least: float, *, whole: bool = False) -> None:
    """Check a number."""
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "a whole number" if whole else "a number"
        raise InvalidValueError(f"{name}: expected {wanted}, found {value!r}")
    if not least <= float(value) < math.inf:
        raise InvalidValueError(f"{name}: expected at least {least:g}, found {value}")


def seconds(name: str, value: Any) -> None:
    """Check a time to wait."""
    number(name, value, 1e-3)
    if value > _LONGEST:
        raise InvalidValueError(
            f"{name}: expected at most {_LONGEST:g} s, found {value}"
        )


def address(url: Any) -> tuple[str, str]:
    """Return an address, and of it scheme, host and port: what errors may show."""
    host, port, scheme = None, None, ""
    if isinstance(url, str) and not re.search(r"[\0-\x20\x7f\\]", url):
        try:
            split = urlsplit(url)
            scheme, port, host = split.scheme, split.port, split.hostname
            # As it would be sent: requests refuses host names that cannot be.
            requests.models.PreparedRequest().prepare_url(url, None)
        except ValueError:
            host = None
    if not host or scheme not in ("http", "https"):
        raise InvalidValueError(
            "url: expected an address such as https://host:8042/dicom-web"
        )
    if split.username or split.password or split.query or split.fragment:
        raise InvalidValueError(
            "url: expected neither credentials nor a query in it; see auth and headers"
        )
    host = f"[{host}]" if ":" in host else host
    place = f"{scheme}://{host}" + (f":{port}" if port else "")
    # dicomweb-client knows schemes in small letters only.
    return scheme + url[len(scheme) :].rstrip("/"), place


def header_fields(given: Any) -> dict[str, str]:
    """Check headers; their values may be secrets, and are not shown."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InvalidValueError(f"headers: expected a mapping, found {kind}")
    for name, text in given.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidValueError("headers: expected names of letters and dashes")
        if not isinstance(text, str) or not _is_plain(text) or text != text.strip():
            raise InvalidValueError(
                f"headers: expected for {name} a text of Latin-1 in one line"
            )
    return dict(given)


def credentials(given: Any, fields: Mapping[str, str]) -> Any:
    """Check credentials, and return them as requests takes them."""
    if given is None:
        # With none, requests would take those of ~/.netrc.
        return _as_it_is
    if any(name.lower() == "authorization" for name in fields):
        raise InvalidValueError("auth: expected none beside headers of Authorization")
    if callable(given):
        return given
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise InvalidValueError("auth: expected (user, password), or an AuthBase")
    for text in given:
        if not isinstance(text, bytes) and not (
            isinstance(text, str) and _is_plain(text)
        ):
            raise InvalidValueError(
                "auth: expected user and password in Latin-1, or as bytes"
            )
    return tuple(given)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _is_plain(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return not re.search(r"[\0-\x08\x0a-\x1f\x7f]", text)
