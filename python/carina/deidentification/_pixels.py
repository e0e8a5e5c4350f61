"""Pixels and look-up tables cut down to what is shown of them."""

from itertools import islice
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from carina.deidentification._stream import Refused, trimmed_rle, without_text

_TABLES = {
    "LUTData": "LUTDescriptor",
    **{
        f"{name}PaletteColorLookupTableData": (
            f"{name}PaletteColorLookupTableDescriptor"
        )
        for name in ("Red", "Green", "Blue", "Alpha")
    },
}


def is_table(keyword: str) -> bool:
    """Say whether an element holds the entries of a look-up table."""
    return keyword in _TABLES


def table(element: Any, source: Dataset) -> Any:
    """Return the entries that the table's descriptor counts; None if it does not."""
    descriptor = source.get(_TABLES[element.keyword])
    if descriptor is None or len(descriptor) != 3:
        return None
    count, bits = int(descriptor[0]) or 1 << 16, int(descriptor[2])
    value = element.value
    if not isinstance(value, bytes):
        return list(value)[:count] if element.VM > 1 else value
    words = value[: 2 * count]
    # Entries of 8 bits may take a word each, and then half of each is empty.
    if bits <= 8 and (len(words) < 2 * count or any(words[_high(source) :: 2])):
        words = value[:count]
    return words + b"\0" * (len(words) % 2)


def pixels(element: Any, source: Dataset) -> bytes:
    """Return pixel data without what lies behind, between or beside the pixels.

    Raises
    ------
    Refused
        If they are compressed in a way that cannot be cleaned.
    """
    raw = bytes(element.value)
    if not _syntax(source).is_encapsulated:
        return _uncompressed(element, source)
    if _overlay_bits(source):
        raise Refused("an overlay lies in the bits of its compressed pixels")
    count = int(source.get("NumberOfFrames", 1) or 1)
    frames = list(islice(generate_frames(raw, number_of_frames=count), count))
    return bytes(encapsulate([_frame(frame, source) for frame in frames]))


def _syntax(source: Dataset) -> UID:
    meta = getattr(source, "file_meta", None)
    return UID("" if meta is None else meta.TransferSyntaxUID)


def _high(source: Dataset) -> int:
    """Return which byte of a word is its higher one."""
    return 1 if source.original_encoding[1] is not False else 0


def _frame(frame: bytes, source: Dataset) -> bytes:
    if _syntax(source).name != "RLE Lossless":
        return without_text(frame)
    bits = int(source.BitsAllocated)
    pixels = int(source.Rows) * int(source.Columns)
    segments = int(source.get("SamplesPerPixel", 1)) * -(-bits // 8)
    return trimmed_rle(frame, (pixels * min(bits, 8) + 7) // 8, segments)


def _overlay_bits(source: Dataset) -> list[int]:
    """Return the bits of the pixels that hold overlays, as in old files."""
    places = [
        int(source[group, 0x0102].value or 0)
        for group in range(0x6000, 0x6100, 2)
        if (group, 0x0102) in source and (group, 0x3000) not in source
    ]
    return [place for place in places if place]


def _uncompressed(element: Any, source: Dataset) -> bytes:
    raw, keyword = bytes(element.value), element.keyword
    bits = int(source.get("BitsAllocated", 32 if "Float" in keyword else 16))
    count = int(source.Rows) * int(source.Columns)
    count *= int(source.get("SamplesPerPixel", 1)) * int(
        source.get("NumberOfFrames", 1) or 1
    )
    if str(source.get("PhotometricInterpretation", "")).endswith("_422"):
        count = count * 2 // 3
    expected = (count * bits + 7) // 8
    # What lies behind the last pixel is no picture, nor what lies in other bits.
    if expected % 2 and element.VR == "OW" and not _syntax(source).is_little_endian:
        # The last word's bytes are swapped, so that its first one is the filler.
        cut = raw[: expected - 1] + b"\0" + raw[expected : expected + 1]
    else:
        cut = raw[:expected]
    if keyword == "PixelData":
        cut = _meant(cut, bits, source)
    return cut + b"\0" * (len(cut) % 2)


def _meant(raw: bytes, bits: int, source: Dataset) -> bytes:
    """Return samples whose bits are those of pixels, or copies of their sign."""
    stored = int(source.get("BitsStored", bits))
    high = int(source.get("HighBit", stored - 1))
    lowest = max(high + 1 - stored, 0)
    above = bits - stored - lowest
    if stored < 1 or above < 0:
        raise Refused("BitsAllocated, BitsStored and HighBit contradict each other")
    spare = stored < bits
    if any(lowest <= p < lowest + stored for p in _overlay_bits(source)) or (
        spare and bits not in (8, 16, 32)
    ):
        raise Refused("what lies in the bits of its pixels cannot be told apart")
    if not spare:
        return raw
    width = bits // 8
    order = "<" if _syntax(source).is_little_endian else ">"
    sign = "i" if int(source.get("PixelRepresentation", 0)) == 1 else "u"
    words = np.frombuffer(raw[: len(raw) // width * width], f"{order}{sign}{width}")
    made = words << above >> (above + lowest) << lowest
    return made.astype(words.dtype).tobytes()
