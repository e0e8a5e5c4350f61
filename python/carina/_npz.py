"""Arrays of an ``.npz`` file that may be hostile: no pickle, bounded memory.

Source: the NPY format (numpy.lib.format), in a zip archive.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from carina.errors import FormatError, MissingFileError

# Deflate packs a byte into no less than a thousandth of one.
_MOST_PACKED = 1100
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
    # Of an encrypted member, one packed in a way unknown, a header that makes no sense.
    *(RuntimeError, NotImplementedError, ValueError, SyntaxError, TypeError),
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
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"an array has the unknown format {version}")
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never opened")
    if dtype.kind not in "fiuSU" or not dtype.itemsize:
        raise ValueError(f"expected numbers or text, found {dtype}")
    if any(side < 0 for side in shape):
        raise ValueError(f"an array has the shape {shape}")
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
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
