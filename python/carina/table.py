"""A small table: named columns over numpy, for scores and results."""

import csv
import html
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from carina._files import PathLike, write_text
from carina.errors import InvalidValueError, ShapeError

_MAX_COLUMNS = 14


class Table:
    """Named columns of equal length; nothing in it can be changed.

    Parameters
    ----------
    columns : mapping of str to array-like of shape (n,)
        The columns, in order.
    hidden : iterable of str, optional
        Columns that are kept but not shown, because they name patients or
        studies: a saved notebook must not carry them.

    Raises
    ------
    ShapeError
        If a column is not one-dimensional or differs in length.
    InvalidValueError
        If a hidden column does not exist.

    Examples
    --------
    >>> Table({"finding": ["edema", "effusion"], "score": [0.25, 0.5]})
    finding   score
    edema      0.25
    effusion   0.50
    2 rows
    """

    __slots__ = ("_columns", "_hidden")
    _max_rows = 20
    _max_text = 40

    def __init__(
        self, columns: Mapping[str, ArrayLike], *, hidden: Iterable[str] = ()
    ) -> None:
        self._columns: dict[str, NDArray[Any]] = {}
        length = None
        for name, values in columns.items():
            array = _column(values)
            if array.ndim != 1 or (length is not None and len(array) != length):
                expected = "(n,)" if length is None else f"({length},)"
                raise ShapeError(
                    f"column {name!r}: expected shape {expected}, "
                    f"got {list(array.shape)}"
                )
            length = len(array)
            self._columns[str(name)] = array
        self._hidden = tuple(name for name in dict.fromkeys(hidden))
        for name in self._hidden:
            self._check_name(name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._columns)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Names of the columns that are not shown."""
        return self._hidden

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows as dicts of plain Python values."""
        lists = [values.tolist() for values in self._columns.values()]
        for row in zip(*lists, strict=True):
            yield dict(zip(self._columns, row, strict=True))

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return self.columns == other.columns and all(
            _same(values, other[name]) for name, values in self._columns.items()
        )

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any] | list[Any]) -> "Table": ...
    def __getitem__(self, key: Any) -> Any:
        """Return a column (by name), a row (by number) or some rows."""
        if isinstance(key, str):
            self._check_name(key)
            return self._columns[key]
        if isinstance(key, int | np.integer):
            return {name: values[key] for name, values in self._columns.items()}
        rows = {name: values[key] for name, values in self._columns.items()}
        return Table(rows, hidden=self._hidden)

    def select(self, *names: str) -> "Table":
        """Keep the columns `names`, in that order."""
        hidden = [name for name in self._hidden if name in names]
        return Table({name: self[name] for name in names}, hidden=hidden)

    def sort(self, by: str, *, descending: bool = False) -> "Table":
        """Sort rows by a column; equal rows keep their order, NaN comes last.

        Parameters
        ----------
        by : str
            The column.
        descending : bool, default=False
            Whether the largest comes first.
        """
        values = self[by]
        missing = np.array([v is None or v != v for v in values.tolist()], dtype=bool)
        present = np.flatnonzero(~missing)
        keys = values[present]
        _, rank = np.unique(keys, return_inverse=True)
        order = np.argsort(-rank if descending else rank, kind="stable")
        return self[np.concatenate([present[order], np.flatnonzero(missing)])]

    def head(self, n: int = 5) -> "Table":
        """Return the first `n` rows."""
        return self[:n]

    def to_numpy(self, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Return all columns side by side.

        Returns
        -------
        ndarray of shape (n, columns)
            Of the common number type, or objects when a column is text.
        """
        numeric = all(values.dtype.kind in "biuf" for values in self._columns.values())
        if dtype is None and not numeric:
            dtype = object
        arrays = [
            values if dtype is None else values.astype(dtype)
            for values in self._columns.values()
        ]
        if not arrays:
            return np.empty((0, 0), dtype=dtype or np.float64)
        return np.stack(arrays, axis=1)

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns as lists of plain Python values."""
        return {name: values.tolist() for name, values in self._columns.items()}

    def to_pandas(self) -> Any:
        """Return a :class:`pandas.DataFrame`; needs pandas."""
        import pandas as pd

        return pd.DataFrame({k: v.copy() for k, v in self._columns.items()})

    def to_json(self, path: PathLike | None = None) -> str | None:
        """Return, or write to `path`, a JSON object of columns; NaN becomes null."""
        text = json.dumps(_plain(self.to_dict()), ensure_ascii=False, allow_nan=False)
        if path is None:
            return text
        write_text(path, text)
        return None

    def to_csv(self, path: PathLike | None = None) -> str | None:
        """Return, or write to `path`, comma-separated values with a header."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self:
            writer.writerow(["" if v is None else v for v in row.values()])
        if path is None:
            return buffer.getvalue()
        write_text(path, buffer.getvalue())
        return None

    def __repr__(self) -> str:
        names, rows, note = self._shown()
        columns = []
        for name in names:
            cells = [name, *(row[name] for row in rows)]
            width = max(map(len, cells))
            right = self._is_number(name)
            columns.append([c.rjust(width) if right else c.ljust(width) for c in cells])
        lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
        return "\n".join([*lines, note])

    def _repr_html_(self) -> str:
        names, rows, note = self._shown()
        align = {n: "right" if self._is_number(n) else "left" for n in names}
        head = "".join(
            f'<th style="text-align:{align[n]}">{html.escape(n)}</th>' for n in names
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align:{align[n]}">{html.escape(row[n])}</td>'
                for n in names
            )
            + "</tr>"
            for row in rows
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(note)}</p>"
        )

    def _shown(self) -> tuple[list[str], list[dict[str, str]], str]:
        """Names, formatted rows and the closing line, cut to a readable size."""
        names = [name for name in self._columns if name not in self._hidden]
        notes = [f"{len(self)} row{'' if len(self) == 1 else 's'}"]
        if len(names) > _MAX_COLUMNS:
            notes.append(f"{len(names) - _MAX_COLUMNS} more columns")
            names = names[:_MAX_COLUMNS]
        if self._hidden:
            notes.append(f"not shown: {', '.join(self._hidden)}")
        total = len(self)
        if total > self._max_rows:
            half = self._max_rows // 2
            index = [*range(half), *range(total - half, total)]
        else:
            index = list(range(total))
        formatted = {n: _format(self._columns[n][index], self._max_text) for n in names}
        rows = [{n: formatted[n][i] for n in names} for i in range(len(index))]
        if total > self._max_rows:
            rows.insert(self._max_rows // 2, dict.fromkeys(names, "…"))
        return names, rows, ", ".join(notes)

    def _is_number(self, name: str) -> bool:
        return self._columns[name].dtype.kind in "biuf"

    def _check_name(self, name: str) -> None:
        if name not in self._columns:
            known = ", ".join(self._columns) or "none"
            raise InvalidValueError(f"no column {name!r}; there are: {known}")


def _column(values: ArrayLike) -> NDArray[Any]:
    array = np.array(values, copy=True)
    if array.dtype.kind in "OSU" and not isinstance(values, np.ndarray):
        # Mixed lists would become text: numbers and None must stay what they are.
        items = list(cast(Iterable[Any], values))
        if any(not isinstance(item, str) for item in items):
            array = np.empty(len(items), dtype=object)
            array[:] = items
    array.setflags(write=False)
    return array


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if len(a) != len(b):
        return False
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return all(x == y or (x != x and y != y) for x, y in pairs)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _format(values: NDArray[Any], widest: int) -> list[str]:
    """Texts of a column; numbers share their count of decimals."""
    if values.dtype.kind != "f":
        return [_cut("" if v is None else str(v), widest) for v in values.tolist()]
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    if largest >= 1e6 or 0 < largest < 1e-3:
        return [f"{v:.3g}" for v in values.tolist()]
    decimals = 3 if largest < 100 else 1
    texts = [f"{v:.{decimals}f}" for v in values.tolist()]
    while decimals > 0 and all(t.endswith("0") or "n" in t for t in texts):
        decimals -= 1
        texts = [f"{v:.{decimals}f}" for v in values.tolist()]
    return texts


def _cut(text: str, widest: int) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= widest else text[: widest - 1] + "…"
