"""Libraries that say nothing of patients while they work for us."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

# What these log holds addresses, in which identifiers stand, or whole data sets.
_LIBRARIES = (
    "dicomweb_client",
    "highdicom",
    "pydicom",
    "pynetdicom",
    "retrying",
    "urllib3",
)
_SILENT: ContextVar[bool] = ContextVar("carina.dicomweb.silent", default=False)

T = TypeVar("T")


# Threads of pynetdicom that work for us.
_OVERHEARD: set[int | None] = set()


def _keep(record: logging.LogRecord) -> bool:
    return not _SILENT.get() and record.thread not in _OVERHEARD


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what the libraries log in this block; other code's logs go on."""
    # A filter sees what its own logger is given, and nothing of those below.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LIBRARIES:
            logging.getLogger(name).addFilter(_keep)
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


@contextmanager
def mute() -> Iterator[None]:
    """Drop warnings, too: pydicom's quote what they warn of.

    Only for a short stretch in one thread, as Python keeps warnings for all of them.
    """
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def overheard(*threads: int | None) -> Iterator[None]:
    """Drop what these threads log, too."""
    _OVERHEARD.update(threads)
    try:
        yield
    finally:
        _OVERHEARD.difference_update(threads)


def quietly(items: Iterable[T]) -> Iterator[T]:
    """Yield `items`, in :func:`quiet` while they are made, not while they are used."""
    end = object()
    source = iter(items)
    while True:
        with quiet():
            item: Any = next(source, end)
        if item is end:
            return
        yield item
