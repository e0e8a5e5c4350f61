"""Files that are either whole or absent."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from carina.errors import InvalidValueError

PathLike = str | os.PathLike[str]


def named(what: str, path: PathLike) -> Path:
    """Return a path, which an empty text is none: it would be the working folder."""
    if os.fspath(path) == "":
        raise InvalidValueError(f"{what}: expected a path, found an empty text")
    return Path(path)


@contextmanager
def replace(path: PathLike) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` only when all went well.

    Parameters
    ----------
    path : path-like
        The file; a crash leaves the old content or the new.

    Yields
    ------
    binary file
        A temporary file in the same folder, synced and renamed at the end.
    """
    target = Path(path)
    # Not tempfile's: its files are for their owner alone, and would stay so.
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    file = part.open("xb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: PathLike, text: str) -> None:
    """Replace `path` by `text`; a crash leaves the old content or the new."""
    with replace(path) as file:
        file.write(text.encode())
