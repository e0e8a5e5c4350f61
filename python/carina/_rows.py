"""Tables of any kind as manifest rows for the core."""

import datetime
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina.errors import CarinaError, InvalidValueError, ManifestError
from carina.image import Image, read_film

CHUNK = 4096


def chunks(source: Any) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows of a Parquet path, a table or an iterable, some at a time."""
    if isinstance(source, (str, os.PathLike)):
        from pyarrow import parquet

        for batch in parquet.ParquetFile(Path(source)).iter_batches(CHUNK):
            yield batch.to_pylist()
    elif hasattr(source, "iloc") and hasattr(source, "to_dict"):  # pandas
        for start in range(0, len(source), CHUNK):
            yield source.iloc[start : start + CHUNK].to_dict("records")
    elif hasattr(source, "to_dicts"):  # polars
        for start in range(0, len(source), CHUNK):
            yield source.slice(start, CHUNK).to_dicts()
    elif hasattr(source, "to_batches"):  # an Arrow table
        for batch in source.to_batches(CHUNK):
            yield batch.to_pylist()
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        rows = iter(source)
        while chunk := list(islice(rows, CHUNK)):
            yield chunk
    else:
        raise InvalidValueError(
            "manifest: expected a path, a data frame, an Arrow table or a list of "
            f"dicts, found {type(source).__name__}"
        )


class Portion:
    """Rows as JSON, with the pixels that they hold taken out."""

    def __init__(self, source: str, columns: Mapping[str, str | None]) -> None:
        self._source = source
        self._image = columns.get("image", "image")
        self._masks = columns.get("masks", "masks")
        self.rows: list[str] = []
        self.images: list[_core.Image] = []
        self.masks: list[NDArray[np.bool_]] = []

    def add(self, number: int, row: Any) -> None:
        """Add a row; an error names its number and column."""
        if not isinstance(row, Mapping):
            raise ManifestError(
                f"{self._source}, row {number}: expected a mapping of column to "
                f"value, found {type(row).__name__}"
            )
        plain = {}
        for name, value in row.items():
            try:
                plain[str(name)] = self._plain(str(name), value)
            except ManifestError:
                raise
            except CarinaError as error:
                place = f"{self._source}, row {number}, column `{name}`"
                raise ManifestError(f"{place}: {error}") from None
        self.rows.append(json.dumps(plain, allow_nan=False))

    def _plain(self, column: str, value: Any) -> Any:
        if column == self._image:
            if isinstance(value, (list, tuple)):
                return [self._film(item) for item in value]
            return self._film(value)
        if column == self._masks and isinstance(value, (list, tuple)):
            return [self._mask(item) for item in value]
        return plain(value)

    def _film(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == object:
            return [self._film(item) for item in value]
        if isinstance(value, (Image, np.ndarray)):
            self.images.append(read_film(value)._core)
            return {"array": len(self.images) - 1}
        return plain(value)

    def _mask(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or "mask" not in value:
            return plain(value)
        pixels = np.asarray(value["mask"])
        if pixels.ndim != 2 or pixels.dtype.kind not in "bui":
            raise InvalidValueError(
                "mask: expected booleans of shape (rows, columns), found "
                f"{pixels.dtype} of shape {list(pixels.shape)}"
            )
        self.masks.append(np.ascontiguousarray(pixels != 0))
        rest = {k: plain(v) for k, v in value.items() if k != "mask"}
        return {**rest, "array": len(self.masks) - 1}


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; NaN and its kin become None."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        if value != value:
            return None
        return value if abs(value) != float("inf") else str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    raise InvalidValueError(
        f"expected text, a number, a list or a mapping, found {type(value).__name__}"
    )
