"""Arrays of an ``.npz`` file that may be hostile: no pickle, bounded memory.

Source: the NPY format (numpy.lib.format), in a zip archive.
"""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from carina.errors import FormatError, MissingFileError

# numpy's own reader of headers evaluates them; one form is written, and it is enough.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][A-Za-z][0-9]{0,6}(?:\[\w+\])?)', "
    rb"'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,18}(?:, ?|(?=\))))*)\), \}\s*"
)
_LONGEST_HEADER = 10_000
# Deflate packs a byte into no less than a thousandth of one.
_MOST_PACKED = 1100
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
    # Of an encrypted member, one packed in a way unknown, a header that makes no sense.
    *(RuntimeError, ValueError, TypeError, struct.error),
)


def arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Give the arrays of numbers and texts, by name, one after the other.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FormatError
        If it is no such archive, a damaged one, or one with pickled objects.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > _MOST_PACKED * path.stat().st_size:
                raise FormatError(f"{path}: claims {total} bytes, more than fit")
            names = [member.filename for member in members]
            if len(set(names)) != len(names):
                raise FormatError(f"{path}: two of its arrays have one name")
            for member in members:
                with archive.open(member) as file:
                    array = _array(file, member.file_size)
                yield member.filename.removesuffix(".npy"), array
    except FormatError:
        raise
    except _DAMAGE as error:
        raise FormatError(f"{path}: expected a whole npz archive: {error}") from error


def _array(file: IO[bytes], size: int) -> NDArray[Any]:
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
        raise ValueError("it holds what is no array")
    kind = "<H" if start[6] == 1 else "<I"
    (length,) = struct.unpack(kind, file.read(struct.calcsize(kind)))
    if length > _LONGEST_HEADER:
        raise ValueError(f"an array has a header of {length} bytes")
    header = _HEADER.fullmatch(file.read(length))
    if header is None:
        raise ValueError("the header of an array makes no sense")
    code, fortran, sides = (part.decode() for part in header.groups())
    if "O" in code:
        raise ValueError("it holds pickled objects, which are never opened")
    dtype = np.dtype(code)
    if dtype.kind not in "fiuSU" or not dtype.itemsize:
        raise ValueError(f"expected numbers or text, found {dtype}")
    shape = tuple(int(side) for side in sides.split(",") if side.strip())
    expected = math.prod(shape) * dtype.itemsize
    if expected != size - file.tell():
        raise ValueError(
            f"an array of shape {shape} takes {expected} bytes, "
            f"found {size - file.tell()}"
        )
    held = file.read()  # to the end, where its checksum is compared
    if len(held) != expected:
        raise EOFError("an array is cut short")
    flat = np.frombuffer(held, dtype)
    return flat.reshape(shape[::-1]).T if fortran == "True" else flat.reshape(shape)
