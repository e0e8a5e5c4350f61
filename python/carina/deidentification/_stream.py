"""Codestreams of what decoding needs, and nothing else."""

import re
from collections.abc import Iterator


class Refused(Exception):
    """A file that cannot be made free of identifiers; the text names none."""


def _refused(reason: str) -> Refused:
    return Refused(f"its compressed frames cannot be cleaned: {reason}")


_END = 0xD9
_SCAN = 0xDA
# Where entropy-coded data ends: a marker that is neither an escape nor a restart.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_AFTER_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")

_SIZES = {*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC}
_HUFFMAN, _QUANTISATION, _LS_FRAME = 0xC4, 0xDB, 0xF7
_JPEG_OTHERS = {0xCC, 0xDC, 0xDD, 0xDF, 0xF8}
_JPEG_TEXTS = {0xFE, *range(0xE0, 0xF0)}

_TILE, _DATA, _LENGTHS = 0x90, 0x93, 0x55
# Sizes, coding and quantisation, packed headers, and what HTJ2K says of itself.
_J2K_KEPT = {*range(0x50, 0x54), 0x55, 0x56, 0x59, *range(0x5C, 0x62)}
# Comments, and pointers that no decoder needs and that would hold what they please.
_J2K_DROPPED = {0x57, 0x58, 0x63, 0x64}


def without_text(frame: bytes) -> bytes:
    """Return a JPEG, JPEG-LS or JPEG 2000 codestream without what is no picture.

    Comments, application data and all behind the end of the image go, in headers,
    between scans and in tile parts. Of application data the few bytes stay that tell
    a decoder of the colours.

    Raises
    ------
    Refused
        If it is none of them, or holds what cannot be judged.
    """
    if frame[:2] == b"\xff\xd8":
        made = _jpeg(frame)
    elif frame[:2] == b"\xff\x4f":
        made = _jpeg_2000(frame)
    else:
        raise _refused("neither JPEG nor JPEG 2000")
    return made + b"\0" * (len(made) % 2)


def _jpeg(frame: bytes) -> bytes:
    kept, at, after_scan = [frame[:2]], 2, _AFTER_SCAN
    while True:
        marker, at = _marker(frame, at)
        if marker == _END:
            return b"".join([*kept, b"\xff\xd9"])
        payload, at = _payload(frame, at)
        if marker == _LS_FRAME:
            after_scan = _AFTER_LS_SCAN
        needed = _needed(marker, payload)
        if needed is not None:
            kept.append(_segment(marker, needed))
        if marker == _SCAN:
            end = after_scan.search(frame, at)
            if end is None:
                raise _refused("no end of image")
            kept.append(frame[at : end.start()])
            at = end.start()


def _needed(marker: int, payload: bytes) -> bytes | None:
    """Return what a decoder needs of a segment; None if nothing."""
    if marker in _JPEG_TEXTS:
        return _colours(marker, payload)
    if marker in _SIZES:
        size = 6 + 3 * payload[5] if len(payload) > 5 else 6
    elif marker == _SCAN:
        size = 4 + 2 * payload[0] if payload else 1
    elif marker in (_HUFFMAN, _QUANTISATION):
        size = _tables(marker, payload)
    elif marker in _JPEG_OTHERS:
        size = len(payload)
    else:
        raise _refused("a marker of an unknown kind")
    if len(payload) < size:
        raise _refused("a segment is cut short")
    return payload[:size]


def _tables(marker: int, payload: bytes) -> int:
    """Return how many bytes of a segment are whole tables."""
    at = 0
    while at < len(payload):
        if marker == _QUANTISATION:
            size = 129 if payload[at] >> 4 else 65
        else:
            size = 17 + sum(payload[at + 1 : at + 17])
        if at + size > len(payload):
            break
        at += size
    return at


def _colours(marker: int, payload: bytes) -> bytes | None:
    """Return application data made anew, when it says how colours are coded."""
    if marker == 0xE0 and payload[:5] == b"JFIF\0":
        return b"JFIF\0\1\2\0\0\1\0\1\0\0"
    if marker == 0xEE and payload[:5] == b"Adobe" and len(payload) >= 12:
        return b"Adobe\0\x64\0\0\0\0" + payload[11:12]
    if marker == 0xE8 and payload[:4] == b"mrfx":
        return payload[:5]
    return None


def _jpeg_2000(frame: bytes) -> bytes:
    head, at, marker = _head(frame, 2, _TILE)
    tiles = []
    while marker == _TILE:
        tile, at = _tile(frame, at)
        tiles.append(tile)
        marker, at = _marker(frame, at)
    if marker != _END:
        raise _refused("no end of image")
    kept = [_segment(*part) for part in head if part[0] != _LENGTHS]
    if len(kept) < len(head):  # one table of lengths, made anew, stands for all
        kept.append(_lengths(tiles))
    return b"".join([frame[:2], *kept, *tiles, b"\xff\xd9"])


def _head(frame: bytes, at: int, last: int) -> tuple[list[tuple[int, bytes]], int, int]:
    """Return what stays of a header, where it ends, and the marker there."""
    kept: list[tuple[int, bytes]] = []
    while True:
        marker, at = _marker(frame, at)
        if marker in (last, _END):
            return kept, at, marker
        payload, at = _payload(frame, at)
        if marker in _J2K_KEPT:
            kept.append((marker, payload))
        elif marker not in _J2K_DROPPED:
            raise _refused("a marker of an unknown kind")


def _tile(frame: bytes, at: int) -> tuple[bytes, int]:
    """Return a tile part from behind its marker on, and where it ends."""
    start = at - 2
    place, at = _payload(frame, at)
    if len(place) != 8:
        raise _refused("a tile part is cut short")
    stated = int.from_bytes(place[2:6], "big")
    head, at, marker = _head(frame, at, _DATA)
    # Nothing in packets looks like the end of the image.
    end = start + stated if stated else frame.find(b"\xff\xd9", at)
    if marker != _DATA or not at <= end <= len(frame):
        raise _refused("a tile part is cut short")
    kept = b"".join(_segment(*part) for part in head if part[0] != _LENGTHS)
    data = frame[at:end]
    length = (12 + len(kept) + 2 + len(data)).to_bytes(4, "big")
    whole = _segment(_TILE, place[:2] + length + place[6:])
    return b"".join([whole, kept, b"\xff\x93", data]), end


def _lengths(tiles: list[bytes]) -> bytes:
    """Return the table of the lengths of all tile parts."""
    entries = [tile[4:6] + len(tile).to_bytes(4, "big") for tile in tiles]
    most = 10_000  # of six bytes, with what goes before
    parts = [entries[i : i + most] for i in range(0, len(entries), most)]
    return b"".join(
        _segment(_LENGTHS, bytes([number, 0x60]) + b"".join(part))
        for number, part in enumerate(parts)
    )


def _marker(frame: bytes, at: int) -> tuple[int, int]:
    """Return a marker's second byte and where its segment goes on."""
    if frame[at : at + 1] != b"\xff":
        raise _refused("no marker where one should be")
    while frame[at : at + 1] == b"\xff":  # any number of them may fill up
        at += 1
    if at >= len(frame):
        raise _refused("no end of image")
    return frame[at], at + 1


def _payload(frame: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(frame[at : at + 2], "big")
    if length < 2 or at + length > len(frame):
        raise _refused("a segment is cut short")
    return frame[at + 2 : at + length], at + length


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def trimmed_rle(frame: bytes, pixels: int, count: int) -> bytes:
    """Return an RLE frame whose `count` segments end with their last pixel.

    Raises
    ------
    Refused
        If its header cannot be right, or a segment ends early.
    """
    words = [int.from_bytes(frame[i : i + 4], "little") for i in range(0, 64, 4)]
    starts = words[1 : 1 + count]
    if len(frame) < 64 or words[0] != count or not 1 <= count <= 15:
        raise _refused("a bad RLE header")
    ends = [*starts[1:], len(frame)]
    segments = []
    for start, end in zip(starts, ends, strict=True):
        if not 64 <= start <= end <= len(frame):
            raise _refused("a bad RLE header")
        packed = b"".join(_packets(frame[start:end], pixels))
        segments.append(packed + b"\0" * (len(packed) % 2))
    places, at = [count], 64
    for segment in segments:
        places.append(at)
        at += len(segment)
    header = b"".join(place.to_bytes(4, "little") for place in places)
    return b"".join([header.ljust(64, b"\0"), *segments])


def _packets(packed: bytes, wanted: int) -> Iterator[bytes]:
    """Give the packets that make the wanted number of bytes, the last one cut."""
    at = 0
    while wanted and at + 1 < len(packed):
        control = packed[at]
        if control == 128:
            at += 1
            continue
        size = min(control + 1 if control < 128 else 257 - control, wanted)
        taken = size if control < 128 else 1
        values = packed[at + 1 : at + 1 + taken]
        if len(values) < taken:
            break
        if control > 128:
            # A run of one is said as a literal.
            yield bytes([257 - size if size > 1 else 0]) + values
            at += 2
        else:
            yield bytes([size - 1]) + values
            at += 1 + control + 1
        wanted -= size
    if wanted:
        raise _refused("an RLE segment ends early")
