"""Keys and metadata of rows, as text that the core reads."""

import datetime
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina._arrays import is_frame
from carina.errors import CarinaError, InvalidValueError

# Names of columns that tell who is meant, written in letters only.
_IDENTIFIERS = frozenset(
    {
        *("key", "name", "path", "file", "filename", "filepath", "mrn"),
        *("accession", "accessionnumber"),
        *("patient", "patientid", "patientname", "subject", "subjectid"),
        *("study", "studyid", "studyuid", "studyinstanceuid", "seriesinstanceuid"),
        *("dicomid", "imageid", "imageindex", "sopinstanceuid"),
    }
)


def names_patients(column: str) -> bool:
    """Say whether a column of that name is an identifier, however it is written."""
    return "".join(filter(str.isalpha, column)).lower() in _IDENTIFIERS


def named_rows(n: int, keys: Any, metadata: Any) -> tuple[list[str], list[str]]:
    names = [str(key) for key in keys]
    rows = [_json_row(row) for row in _metadata_rows(metadata, n)]
    for what, count in (("keys", len(names)), ("metadata", len(rows))):
        if count != n:
            raise InvalidValueError(
                f"{what}: {count} for {n} vectors, expected one each"
            )
    return names, rows


def _metadata_rows(metadata: Any, n: int) -> list[dict[str, Any]]:
    if metadata is None:
        return [{} for _ in range(n)]
    if is_frame(metadata):
        metadata = {str(name): list(metadata[name]) for name in metadata.columns}
    if isinstance(metadata, Mapping):
        lengths = {name: len(values) for name, values in metadata.items()}
        for name, length in lengths.items():
            if length != n:
                raise InvalidValueError(
                    f"metadata: column {name!r} has {length} rows, expected {n}"
                )
        columns = [list(values) for values in metadata.values()]
        names = [str(name) for name in metadata]
        return [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
    return [dict(row) for row in metadata]


def _json_row(row: Mapping[str, Any]) -> str:
    """Metadata of one row as a JSON object; what is missing becomes null."""
    plain = {str(name): _scalar(str(name), value) for name, value in row.items()}
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if np.isinf(value):
            raise InvalidValueError(f"metadata: column {name!r} holds infinity")
        return None if np.isnan(value) else value
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise InvalidValueError(
        f"metadata: column {name!r} holds a {type(value).__name__}, "
        "expected numbers, text, true/false or missing"
    )


def of_dataset(dataset: Any) -> tuple[list[str], list[dict[str, Any]]]:
    """Keys and metadata of studies: patient, and the scalars of the record."""
    keys, rows = [], []
    for number, study in enumerate(dataset):
        keys.append(str(getattr(study, "id", "") or f"{number:08}"))
        row: dict[str, Any] = {}
        patient = getattr(study, "patient", None)
        if patient:
            row["patient"] = str(patient)
        films = getattr(study, "films", None) or getattr(study, "images", None) or ()
        try:
            view = getattr(next(iter(films), None), "view", None)
        except CarinaError:
            view = None  # a film that cannot be read; its encoding says so
        if view is not None:
            row["view"] = str(view)
        record = getattr(study, "record", None) or {}
        row.update({str(name): value for name, value in dict(record).items()})
        rows.append(row)
    return keys, rows


def readable(
    array: NDArray[np.float32], keys: list[str], rows: list[str]
) -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Leave out the films that could not be read, with a warning."""
    read = np.asarray(~np.isnan(array).any(axis=(1, 2)))
    if read.all():
        return array, keys, rows
    if not read.any():
        raise InvalidValueError("dataset: found no film that can be read")
    warnings.warn(
        f"{int((~read).sum())} of {len(read)} films cannot be read; the index is made "
        "without them",
        stacklevel=3,
    )
    kept = np.flatnonzero(read)
    return array[kept], [keys[i] for i in kept], [rows[i] for i in kept]
