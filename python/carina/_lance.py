"""LanceDB behind the calls of :class:`carina.Index`, for many millions of rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._files import PathLike, write_text
from carina._progress import Watch
from carina.errors import FormatError, InvalidValueError, ShapeError

_CARD = "index.json"
_FORMAT = "carina-lance"
_TABLE = "rows"
# An approximate index looks into so many of its cells and ranks coarse vectors; so many
# times k are ranked again, exactly. With 20 and 1 it found 0.17 of the nearest ten of a
# million vectors, with these 0.998 (tests/compare/search.py).
PROBES = 100
REFINE = 100
# Below this LanceDB scans all rows, which is exact and fast enough.
_INDEX_FROM = 100_000


def is_store(path: PathLike) -> bool:
    """Say whether the folder holds a store of this kind."""
    try:
        return bool(json.loads(Path(path, _CARD).read_text())["format"] == _FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


class LanceStore:
    """Rows in a LanceDB table, created with the first of them."""

    precision = "float32"

    def __init__(self, path: Path, card: dict[str, Any]) -> None:
        import lancedb

        self.dimension = int(card["dimension"])
        self.vectors = int(card.get("vectors", 1))
        self.metric = str(card["metric"])
        self.model: str | None = card["model"]
        self._database = lancedb.connect(path)
        self._table: Any = None
        self.refresh()

    @classmethod
    def create(
        cls,
        path: PathLike,
        *,
        dimension: int,
        vectors: int,
        metric: str,
        precision: str,
        model: str | None,
    ) -> "LanceStore":
        """Make an empty store."""
        if precision != "float32":
            raise InvalidValueError("store: 'lance' keeps float32; use 'core'")
        if metric not in ("cosine", "dot"):
            raise InvalidValueError(
                f"metric: got {metric!r}, expected 'cosine' or 'dot'"
            )
        if vectors != 1 and metric != "cosine":
            raise InvalidValueError(
                "store: 'lance' compares rows of several vectors by the cosine only; "
                "use 'core'"
            )
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _CARD).exists():
            raise InvalidValueError(
                f"{path}: an index is already there; open it, or choose another folder"
            )
        card = {
            "format": _FORMAT,
            "dimension": dimension,
            "vectors": vectors,
            "metric": metric,
            "model": model,
        }
        store = cls(folder, card)
        write_text(folder / _CARD, json.dumps(card))
        return store

    @classmethod
    def open(cls, path: PathLike) -> "LanceStore":
        """Open a store."""
        card = json.loads(Path(path, _CARD).read_text())
        try:
            return cls(Path(path), card)
        except KeyError as error:
            raise FormatError(f"{path}: {_CARD} lacks {error}") from error

    @property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        if self._table is None:
            return []
        return sorted(set(self._table.schema.names) - {"key", "vector"})

    def __len__(self) -> int:
        return 0 if self._table is None else int(self._table.count_rows())

    def __contains__(self, key: object) -> bool:
        return bool(self._present([str(key)]))

    def _present(self, keys: list[str]) -> set[str]:
        found: set[str] = set()
        if self._table is not None:
            for start in range(0, len(keys), 1000):
                query = self._table.search().where(_among(keys[start : start + 1000]))
                found.update(row["key"] for row in query.select(["key"]).to_list())
        return found

    def add(
        self, vectors: NDArray[np.float32], keys: list[str], metadata: list[str]
    ) -> None:
        """Append rows in one commit."""
        import pyarrow as pa

        if vectors.shape[1:] != (self.vectors, self.dimension):
            raise ShapeError(
                f"vectors: expected shape (n, {self.vectors}, {self.dimension}), "
                f"got {list(vectors.shape)}"
            )
        ready = self._ready(vectors, "vectors")
        self._check_keys(keys)
        rows = [json.loads(text) for text in metadata]
        names = sorted({name for row in rows for name in row})
        if reserved := {"key", "vector", "score", "rank", "query"}.intersection(names):
            raise InvalidValueError(
                f"metadata: column {min(reserved)!r} cannot be used; rename it"
            )
        cells = pa.FixedSizeListArray.from_arrays(
            pa.array(ready.ravel()), self.dimension
        )
        if self.vectors > 1:
            starts = np.arange(len(ready) + 1, dtype=np.int32) * self.vectors
            cells = pa.ListArray.from_arrays(pa.array(starts), cells)
        columns: dict[str, Any] = {"key": pa.array(keys), "vector": cells}
        for name in names:
            values = [row.get(name) for row in rows]
            kind = self._kind(name)
            try:
                columns[name] = pa.array(values, type=kind)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                # Arrow's own text holds the value, which may name a patient.
                found = sorted({type(v).__name__ for v in values if v is not None})
                raise InvalidValueError(
                    f"metadata: column {name!r} holds {' and '.join(found)}, expected "
                    + (f"{kind}, as before" if kind else "one kind")
                ) from None
            if pa.types.is_null(columns[name].type):
                columns[name] = columns[name].cast(pa.string())
        table = pa.table(columns)
        if self._table is None:
            self._table = self._database.create_table(_TABLE, data=table)
            return
        fresh = [name for name in names if name not in self._table.schema.names]
        if fresh:
            self._table.add_columns([table.schema.field(name) for name in fresh])
        self._table.add(table)

    def _kind(self, name: str) -> Any:
        if self._table is None or name not in self._table.schema.names:
            return None
        return self._table.schema.field(name).type

    def _check_keys(self, keys: list[str]) -> None:
        seen: set[str] = set()
        there = self._present(keys)
        for row, key in enumerate(keys):
            if key in seen or key in there:
                # Keys may be names of patients or studies, so the row is named.
                place = "already in the index" if key in there else "given twice"
                raise InvalidValueError(
                    f"keys: row {row} is {place}, expected unique keys"
                )
            seen.add(key)

    def delete_keys(self, keys: list[str]) -> int:
        """Delete rows by key, all of which must be there."""
        there = self._present(keys)
        if missing := sum(key not in there for key in keys):
            raise InvalidValueError(
                f"keys: {missing} of {len(keys)} are not in the index"
            )
        return self._delete(_among(keys)) if keys else 0

    def delete_where(self, where: str) -> int:
        """Delete the rows that a filter keeps."""
        return self._delete(self._sql(where))

    def _delete(self, sql: str) -> int:
        if self._table is None:
            return 0
        count = int(self._table.count_rows(sql))
        self._table.delete(sql)
        return count

    def _sql(self, where: str) -> str:
        sql = _core.filter_to_sql(where)
        if self._table is not None:
            try:
                self._table.count_rows(sql)
            except Exception as error:
                known = ", ".join(self.columns) or "none"
                raise InvalidValueError(
                    f"where: LanceDB refused it; columns: {known}; {error}"
                ) from error
        return sql

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: str | None = None,
        watch: Watch | None = None,
    ) -> tuple[list[int], list[str], NDArray[np.float32], list[str]]:
        """Find the best rows of each query; scores are exact."""
        if queries.shape[2] != self.dimension:
            raise ShapeError(
                f"query: expected shape (n, q, {self.dimension}), "
                f"got {list(queries.shape)}"
            )
        ready = self._ready(queries, "query")
        sql = None if where is None else self._sql(where)
        counts: list[int] = []
        hits: list[tuple[float, str, str]] = []
        for number, query in enumerate(ready):
            found = self._nearest(query, k, sql)
            counts.append(len(found))
            hits.extend(found)
            if watch is not None:
                watch(number + 1, len(ready), [])
        scores = np.array([-hit[0] for hit in hits], dtype=np.float32)
        return counts, [hit[1] for hit in hits], scores, [hit[2] for hit in hits]

    def _nearest(
        self, query: NDArray[np.float32], k: int, sql: str | None
    ) -> list[tuple[float, str, str]]:
        """Rows near any vector of `query` (q, d), by their best pair of vectors."""
        if self._table is None:
            return []
        found: dict[str, tuple[float, str, str]] = {}
        # LanceDB would add up the bests of several query vectors; here the best counts.
        for vector in query:
            search = self._table.search(vector, vector_column_name="vector")
            search = search.distance_type(self.metric).limit(k)
            search = search.nprobes(PROBES).refine_factor(REFINE)
            if sql is not None:
                search = search.where(sql, prefilter=True)
            for row in search.to_list():
                own = np.asarray(row.pop("vector"), dtype=np.float32)
                row.pop("_distance", None)
                key = row.pop("key")
                if key not in found:
                    kept = {name: v for name, v in row.items() if v is not None}
                    best = float((np.atleast_2d(own) @ query.T).max())
                    found[key] = (-best, key, json.dumps(kept))
        return sorted(found.values())[:k]

    def compact(self) -> None:
        """Merge small files; for many rows, build or refresh the approximate index."""
        if self._table is None:
            return
        if len(self) >= _INDEX_FROM and not self._table.list_indices():
            self._table.create_index(metric=self.metric, vector_column_name="vector")
        self._table.optimize()

    def refresh(self) -> bool:
        """Look at the newest version; say whether it is another."""
        before = None if self._table is None else self._table.version
        if self._table is not None:
            self._table.checkout_latest()
        else:
            try:
                self._table = self._database.open_table(_TABLE)
            except (FileNotFoundError, ValueError):
                return False
        return bool(self._table.version != before)

    def _ready(self, vectors: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        """Finite vectors (n, v, d), of length one under the cosine."""
        bad = ~np.isfinite(vectors).all(axis=(1, 2))
        if bad.any():
            raise InvalidValueError(
                f"{what}: row {int(bad.argmax())} holds NaN or infinity, "
                "expected finite numbers"
            )
        if self.metric == "dot":
            return np.ascontiguousarray(vectors)
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        zero = (lengths == 0).any(axis=(1, 2))
        if zero.any():
            raise InvalidValueError(
                f"{what}: row {int(zero.argmax())} is all zeros, which has no cosine"
            )
        return np.ascontiguousarray(vectors / lengths, dtype=np.float32)


def _among(keys: list[str]) -> str:
    quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in keys)
    return f"key IN ({quoted})"
