"""Files sent to a server, each with what became of it."""

import os
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import pydicom
import requests
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from carina._progress import Bar
from carina.dicomweb._http import said
from carina.dicomweb._quiet import mute
from carina.errors import (
    AccessError,
    CarinaError,
    FileError,
    FormatError,
    InvalidValueError,
    MissingFileError,
)
from carina.table import Table

_PIXELS = 0x7FE00010

# Reasons and warnings of PS3.4, annex B, and PS3.18, table I.2-2.
_REASONS = {
    0x0110: "processing failure",
    0x0111: "the instance is there already",
    0x0117: "not a valid UID",
    0x0122: "the class is not supported",
    0x0124: "not authorised",
    0x0131: "another study was expected",
    0xB000: "values were coerced",
    0xB006: "elements were left out",
    0xB007: "the data do not match the class",
    0xC122: "the transfer syntax is not supported",
}


def reason(code: Any) -> str:
    """Say a failure's code in words."""
    if not isinstance(code, int):
        return "no reason given"
    if code in _REASONS:
        return _REASONS[code]
    kinds = {0xA7: "out of resources", 0xA9: "the data do not match the class"}
    kind = kinds.get(code >> 8, "not understood" if code >> 12 == 0xC else "failed")
    return f"{kind} ({code:04X})"


def load(item: Any) -> pydicom.Dataset:
    """Return what is to be sent as a data set."""
    if isinstance(item, pydicom.Dataset):
        return item
    if not isinstance(item, (str, os.PathLike, bytes, bytearray)):
        name = type(item).__name__
        raise InvalidValueError(f"expected a path, bytes or a data set, found {name}")
    problem = ""
    kind: type[CarinaError] = FormatError
    try:
        if isinstance(item, (bytes, bytearray)):
            return pydicom.dcmread(BytesIO(item))
        return pydicom.dcmread(item)
    except FileNotFoundError:
        kind, problem = MissingFileError, "no such file"
    except OSError as error:
        kind, problem = FileError, f"cannot be opened ({error.strerror or 'OSError'})"
    except Exception as error:  # pydicom's are many, and quote the file
        problem = f"cannot be read as DICOM ({type(error).__name__})"
    raise kind(problem)


def _check_letters(data: pydicom.Dataset) -> None:
    """Refuse text that its character set has not: question marks would be sent."""
    tags = set(data.keys()) - {_PIXELS}
    kept = {tag: data.get_item(tag) for tag in tags}
    out = DicomBytesIO()
    out.is_little_endian = out.is_implicit_VR = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Failed to encode value")
            write_dataset(out, pydicom.Dataset(kept))
        return
    except UserWarning:
        pass
    except Exception:  # what else is wrong is told when it is sent
        return
    raise FormatError("it has letters that its SpecificCharacterSet does not have")


def items(given: Any) -> list[Any]:
    """Return what is to be sent as a list."""
    single = isinstance(given, (str, os.PathLike, bytes, bytearray, pydicom.Dataset))
    if not single and not isinstance(given, Iterable):
        name = type(given).__name__
        raise InvalidValueError(f"expected files or data sets, found {name}")
    return [given] if single else list(given)


def each(
    given: Any,
    send: Callable[[pydicom.Dataset], tuple[str, str]],
    progress: bool | None,
) -> Table:
    """Send one file after the other, and tell what became of each."""
    todo = items(given)
    results, uids = [], []
    with Bar("storing", show=progress, unit="file") as bar:
        for done, item in enumerate(todo):
            bar(done, len(todo), [])
            uid = ""
            try:
                with mute():
                    data = load(item)
                    uid = str(data.get("SOPInstanceUID", ""))
                    if data is item:
                        _check_letters(data)
                    results.append(send(data))
            except AccessError:
                raise
            except CarinaError as error:
                results.append(("failed", str(error)))
            uids.append(uid)
        bar(len(todo), len(todo), [])
    columns = {
        "instance": uids,
        "status": [status for status, _ in results],
        "reason": [why for _, why in results],
    }
    return Table(columns, hidden=("instance",))


def send(client: Any, place: str, data: pydicom.Dataset) -> tuple[str, str]:
    """Send a file by STOW-RS: what became of it, and why."""
    reply, problem = _reply(client, place, data)
    return _outcome(str(data.get("SOPInstanceUID", "")), reply, problem)


def _reply(client: Any, place: str, data: pydicom.Dataset) -> tuple[Any, str]:
    """Return the server's reply, or why there is none."""
    refused: requests.Response | None = None
    problem = ""
    try:
        return client.store_instances([data]), ""
    except CarinaError:
        raise
    except requests.HTTPError as error:
        refused = error.response
    except Exception as error:  # of writing the data set, or of reading the reply
        problem = f"cannot be written as DICOM, or no reply ({type(error).__name__})"
    if refused is None:
        return None, problem
    try:
        # A conflict is explained in the body, as a success is.
        return pydicom.Dataset.from_json(refused.json()), ""
    except Exception:
        return None, f"{place}: the server refused ({said(refused.status_code)})"


def _outcome(uid: str, reply: Any, problem: str) -> tuple[str, str]:
    if reply is None:
        return "failed", problem
    # The sequence of failures is there even when nothing failed.
    for item in _items(reply, "FailedSOPSequence"):
        if item.get("ReferencedSOPInstanceUID") == uid:
            return "failed", reason(item.get("FailureReason"))
    for item in _items(reply, "ReferencedSOPSequence"):
        if item.get("ReferencedSOPInstanceUID") == uid:
            code = item.get("WarningReason")
            return ("stored", "") if code in (None, 0) else ("warned", reason(code))
    return "failed", "the reply does not name the instance"


def _items(reply: Any, name: str) -> list[Any]:
    value = reply.get(name)
    return list(value) if isinstance(value, pydicom.Sequence) else []
