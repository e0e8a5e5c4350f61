"""Parts of a multipart answer, one in memory at a time."""

from collections.abc import Iterable, Iterator
from email.message import Message

from carina.errors import FormatError

_HEADER = 16 << 10


def media_type(content_type: str) -> tuple[str, bytes]:
    """Return the type and the boundary (empty where there is none)."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary("") or ""
    # Only what is plain ASCII may be looked for, or shown in an error.
    if not boundary.isascii() or len(boundary) > 200:
        boundary = ""
    return message.get_content_type(), boundary.encode()


def parts(chunks: Iterable[bytes], boundary: bytes, *, most: int) -> Iterator[bytes]:
    """Yield the content of each part as soon as it is complete.

    Parameters
    ----------
    chunks : iterable of bytes
        The body as it comes.
    boundary : bytes
        What stands between parts, without dashes.
    most : int
        Bytes that a part may have.

    Raises
    ------
    FormatError
        If the body is no multipart message, stops before its end, or a part is too
        large.
    """
    delimiter = b"\r\n--" + boundary
    data = bytearray(b"\r\n")  # the first delimiter may stand at the very start
    body = iter(chunks)
    seek, inside = 0, False
    while True:
        at = data.find(delimiter, seek)
        after = bytes(data[at + len(delimiter) : at + len(delimiter) + 2])
        if at < 0 or len(after) < 2:
            seek = at if at >= 0 else max(0, len(data) - len(delimiter) + 1)
            if len(data) > most + _HEADER:
                raise FormatError(f"answer: a part has more than {most} bytes")
            chunk = next(body, None)
            if chunk is None:
                raise FormatError("answer: it stops before the end of its last part")
            data += chunk
        elif after not in (b"--", b"\r\n"):
            seek = at + 1  # the boundary is only the start of something else
        else:
            if inside:
                yield _content(data, at)
            del data[: at + len(delimiter)]
            seek, inside = 0, True
            if after == b"--":
                return


def _content(data: bytearray, end: int) -> bytes:
    start = data.find(b"\r\n\r\n", 0, min(end, _HEADER) + 4)
    if start < 0:
        raise FormatError("answer: a part has no end of its header")
    return bytes(memoryview(data)[start + 4 : end])
