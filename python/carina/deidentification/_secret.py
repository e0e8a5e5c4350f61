"""What takes the place of identifiers: the same for the same key."""

import hashlib
import hmac
import re
import secrets
from datetime import date, timedelta

from carina.errors import InvalidValueError

_SHORTEST = 16


class Secret:
    """Pseudonyms, UIDs and shifts of dates from one key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes | str | None) -> None:
        if key is None:
            key = secrets.token_bytes(32)
        if not isinstance(key, (bytes, str)):
            raise InvalidValueError(
                f"key: expected bytes or text, found {type(key).__name__}"
            )
        raw = key.encode() if isinstance(key, str) else key
        if len(raw) < _SHORTEST:
            raise InvalidValueError(
                f"key: found {len(raw)} bytes, expected at least {_SHORTEST}"
            )
        self._key = raw

    def __repr__(self) -> str:
        return "Secret()"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is not pickled")

    def _digest(self, purpose: str, text: str) -> bytes:
        message = f"{purpose}:{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, message, hashlib.sha256).digest()

    def token(self, purpose: str, text: str, length: int = 16) -> str:
        """Return hexadecimal digits that stand for `text`."""
        return self._digest(purpose, text).hex()[:length]

    def uid(self, text: str) -> str:
        """Return a UID that stands for another."""
        return f"2.25.{int.from_bytes(self._digest('uid', text)[:16], 'big')}"

    def days(self, patient: str) -> int:
        """Return by how many days the dates of a patient move: -1 to -3650."""
        return -1 - int.from_bytes(self._digest("days", patient)[:8], "big") % 3650


def shifted(text: str, days: int) -> str | None:
    """Return a DA or DT value moved by `days`, or None if it is none."""
    match = re.fullmatch(
        r"(\d{4})(\d\d)(\d\d)((?:\d\d){0,3})(\.\d{1,6})?", text.strip()
    )
    if match is None:
        return None
    try:
        moved = date(*(int(part) for part in match.groups()[:3])) + timedelta(days)
    except (ValueError, OverflowError):
        return None
    clock = time(match[4])
    return None if clock is None else f"{moved:%Y%m%d}{clock}"


def time(text: str) -> str | None:
    """Return a time of day in whole seconds; None if it is none."""
    match = re.fullmatch(r"((?:\d\d){0,3})(\.\d{1,6})?", text.strip())
    if match is None:
        return None
    parts = [int(match[1][i : i + 2]) for i in range(0, len(match[1]), 2)]
    fits = all(part < most for part, most in zip(parts, (24, 60, 61), strict=False))
    return match[1] if fits else None
