"""What the openers share: tables, and the fourteen findings of the NIH."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from carina.errors import FormatError, MissingFileError

NIH_FINDINGS = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
]


def table(path: Path, columns: list[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file that must have `columns`."""
    _require(path)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = reader.fieldnames or []
        absent = [column for column in columns if column not in found]
        if absent:
            raise FormatError(
                f"{path}: found columns {', '.join(found)}, expected {absent[0]} too"
            )
        yield from reader


def arrays(path: Path, names: list[str]) -> dict[str, Any]:
    """Return the named arrays of an NPZ file; pickled objects are refused."""
    _require(path)
    with np.load(path, allow_pickle=False) as file:
        absent = [name for name in names if name not in file]
        if absent:
            raise FormatError(
                f"{path}: found arrays {', '.join(file)}, expected {absent[0]} too"
            )
        return {name: file[name] for name in names}


def nih_row(row: Mapping[str, str]) -> dict[str, Any]:
    """Return what the rows of every NIH table share."""
    return {
        "patient": row["Patient ID"],
        "view": row["View Position"],
        "labels": {finding: row[finding] for finding in NIH_FINDINGS},
        "record.age": row["Patient Age"],
        "record.sex": row["Patient Gender"],
        "record.view": row["View Position"],
        "record.follow_up": row["Follow-up #"],
        "split": row["split"],
    }


NIH_COLUMNS = [
    "Patient ID",
    "View Position",
    "Patient Age",
    "Patient Gender",
    "Follow-up #",
    "split",
    *NIH_FINDINGS,
]


def _require(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"{path}: expected a file, found none")
