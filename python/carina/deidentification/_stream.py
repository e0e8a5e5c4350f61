"""Codestreams without their comments."""

from collections.abc import Collection, Iterator

# JPEG, JPEG-LS and JPEG 2000 begin alike and hide text in segments of these kinds.
_JPEG_COMMENTS = {0xFE, *range(0xE1, 0xEE), 0xEF}


def without_comments(frame: bytes) -> bytes:
    """Return a JPEG, JPEG-LS or JPEG 2000 codestream without comments.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if frame[:2] == b"\xff\xd8":
        return _rebuilt(frame, _JPEG_COMMENTS, 0xDA)
    if frame[:2] == b"\xff\x4f":
        return _rebuilt(frame, {0x64}, 0x90)
    raise ValueError("neither JPEG nor JPEG 2000")


def _rebuilt(frame: bytes, comments: Collection[int], data: int) -> bytes:
    end = frame.rfind(b"\xff\xd9")
    if end < 0:
        raise ValueError("no end of image")
    kept = [frame[:2]]
    for marker, start, stop in _segments(frame):
        if marker == data:
            kept.append(frame[start : end + 2])
            joined = b"".join(kept)
            return joined + b"\0" * (len(joined) % 2)
        if marker not in comments:
            kept.append(frame[start:stop])
    raise ValueError("no image data")


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Give marker, start and end of each segment of the header."""
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] == 0xFF:
            at += 1
            continue
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        yield frame[at + 1], at, at + 2 + length
        at += 2 + max(length, 2)
