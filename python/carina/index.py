"""A store of vectors to search: similar films, films for a sentence, with filters."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._failures import rows_of_nan_are_known
from carina._files import PathLike
from carina._metadata import named_rows, names_patients, of_dataset, readable
from carina._models import (
    as_rows,
    check_fingerprint,
    check_may_join,
    encode,
    fingerprint,
    is_numeric,
    made_by,
)
from carina._progress import Bar, Watch
from carina.embeddings import Embeddings
from carina.errors import InvalidValueError, ShapeError
from carina.table import Table

__all__ = ["Index"]


class _Store(Protocol):
    """What keeps the rows of an :class:`Index`."""

    @property
    def dimension(self) -> int: ...
    @property
    def vectors(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def columns(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    def add(
        self, vectors: NDArray[np.float32], keys: list[str], metadata: list[str]
    ) -> None: ...
    def delete_keys(self, keys: list[str]) -> int: ...
    def delete_where(self, where: str, /) -> int: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: str | None = None,
        watch: Watch | None = None,
        /,
    ) -> tuple[list[int], list[str], NDArray[np.float32], list[str]]: ...
    def compact(self) -> None: ...
    def refresh(self) -> bool: ...


class Index:
    """Vectors with keys and metadata in a folder, searched exactly.

    Use :meth:`create` and :meth:`open`. Every change is atomic: a crash leaves
    the old state or the new. One process writes at a time; readers never wait,
    and see later changes after :meth:`refresh`.

    Filters are conditions on metadata, ``view == 'PA' and (age >= 60 or sex is
    null)``: comparisons ``== != < <= > >=``, ``in (…)``, ``is null``, joined by
    ``and``, ``or``, ``not`` and brackets; ``key`` is the row's name. A
    comparison with a missing value is not true.
    """

    def __init__(self, store: _Store, model: Any = None) -> None:
        self._store = store
        self.model = model

    @classmethod
    def create(
        cls,
        path: PathLike,
        model: Any = None,
        dataset: Any = None,
        *,
        vectors: ArrayLike | Embeddings | None = None,
        keys: Sequence[str] | None = None,
        metadata: Any = None,
        dimension: int | None = None,
        metric: Literal["cosine", "dot"] = "cosine",
        dtype: Literal["float32", "float16"] = "float32",
        store: Literal["core", "lance"] = "core",
    ) -> "Index":
        """Make an index, empty or filled.

        Parameters
        ----------
        path : path-like
            A folder; it must not hold an index.
        model : object, optional
            Anything with ``encode`` and ``encode_text``; its fingerprint is
            kept, and vectors of another model are refused from then on.
        dataset : Dataset, optional
            Studies for `model` to encode; gives keys and metadata as well. Those whose
            film cannot be read are left out, with a warning that says how many.
        vectors : Embeddings or array-like of shape (n, d) or (n, vectors, d), optional
            Vectors at hand. A row of several vectors scores by its best. Embeddings
            bring their fingerprint along.
        keys : sequence of str, optional
            Unique names of the rows; by default those of Embeddings, or row numbers.
        metadata : DataFrame, Table, dict of columns or list of dicts, optional
            Numbers, text, true/false or missing, a row each.
        dimension : int, optional
            Length d of a vector, to make an empty index. Without `model` it knows no
            fingerprint, and takes no Embeddings.
        metric : {"cosine", "dot"}, default="cosine"
            How vectors are compared.
        dtype : {"float32", "float16"}, default="float32"
            How numbers are stored.
        store : {"core", "lance"}, default="core"
            The built-in store, or LanceDB for many millions of rows
            (``pip install carina[index]``).

        Raises
        ------
        InvalidValueError
            If an index is already there, keys repeat, no film can be read, or a
            vector is not finite or, under the cosine, all zeros.
        ShapeError
            If the shapes do not fit.
        """
        if dataset is not None:
            if model is None or vectors is not None:
                raise InvalidValueError("dataset: needs a model, and no vectors")
            found_keys, found_metadata = of_dataset(dataset)
            with rows_of_nan_are_known():
                vectors = encode(model, dataset, shared=True)
            keys = found_keys if keys is None else keys
            metadata = found_metadata if metadata is None else metadata
        array = None if vectors is None else as_rows(vectors)
        if array is not None:
            if dimension not in (None, array.shape[2]):
                raise ShapeError(
                    f"vectors: expected length {dimension}, got {array.shape[2]}"
                )
            dimension = array.shape[2]
        if dimension is None:
            raise InvalidValueError("vectors: give vectors, a dataset or a dimension")
        options: dict[str, Any] = {
            "dimension": int(dimension),
            "vectors": 1 if array is None else array.shape[1],
            "metric": metric,
            "precision": dtype,
            "model": made_by(model, vectors),
        }
        if keys is None and isinstance(vectors, Embeddings):
            keys = vectors.ids
        if array is not None:
            if keys is None:
                keys = [f"{row:08}" for row in range(len(array))]
            names, rows = named_rows(len(array), keys, metadata)
            if dataset is not None:
                array, names, rows = readable(array, names, rows)
        fresh = not Path(path).exists()
        made = cls(_backend(store).create(path, **options), model)
        if array is None:
            return made
        try:
            made._store.add(array, names, rows)
        except BaseException:
            # Rows that cannot be added must not leave an empty index behind.
            if fresh:
                shutil.rmtree(path, ignore_errors=True)
            else:
                Path(path, "index.json").unlink(missing_ok=True)
            raise
        return made

    @classmethod
    def open(cls, path: PathLike, model: Any = None, *, verify: bool = True) -> "Index":
        """Open an index.

        Parameters
        ----------
        path : path-like
            Its folder.
        model : object, optional
            For queries by text or film; must be the model of the vectors.
        verify : bool, default=True
            Compare all vectors with their checksums; reads the whole index.

        Raises
        ------
        FormatError
            If the folder is no index, or a file of it is damaged.
        InvalidValueError
            If `model` is not the one of the vectors.
        """
        from carina import _lance

        if _lance.is_store(path):
            store: _Store = _lance.LanceStore.open(path)
        else:
            store = _core.VectorIndex.open(path, verify)
        check_fingerprint(fingerprint(model), store.model, "the index")
        return cls(store, model)

    def add(
        self,
        vectors: ArrayLike | Embeddings,
        *,
        keys: Sequence[str] | None = None,
        metadata: Any = None,
    ) -> None:
        """Append rows, all or, on an error, none.

        Parameters
        ----------
        vectors : Embeddings or array-like of shape (n, d) or (n, vectors, d)
            The vectors, of the index's model.
        keys : sequence of str
            Unique names; Embeddings have their own.
        metadata : DataFrame, Table, dict of columns or list of dicts, optional
            A row each; columns may be new.

        Raises
        ------
        InvalidValueError
            If the model is not the one of the vectors, Embeddings come to an index
            that knows no model, or a key is there already.
        ShapeError
            If the shapes do not fit.
        """
        made = made_by(self.model, vectors)
        check_may_join(made, vectors, self._store.model)
        if keys is None:
            if not isinstance(vectors, Embeddings):
                raise InvalidValueError("keys: expected a name for each row, got none")
            keys = vectors.ids
        array = as_rows(vectors)
        keys, rows = named_rows(len(array), keys, metadata)
        self._store.add(array, keys, rows)

    def delete(
        self, keys: str | Iterable[str] | None = None, *, where: str | None = None
    ) -> int:
        """Delete rows by key or by filter, and return how many.

        Parameters
        ----------
        keys : str or iterable of str, optional
            Names, all of which must be there.
        where : str, optional
            A filter, instead of keys.
        """
        if (keys is None) == (where is None):
            raise InvalidValueError("keys, where: give one of them")
        if where is not None:
            return self._store.delete_where(where)
        names = [keys] if isinstance(keys, str) else [str(key) for key in keys or ()]
        return self._store.delete_keys(names)

    def search(
        self,
        query: Any,
        k: int = 5,
        *,
        where: str | None = None,
        progress: bool | None = None,
    ) -> Table:
        """Find the rows most similar to a query.

        Parameters
        ----------
        query : str, array-like, Embeddings, or what ``model.encode`` takes one of
            A sentence (a list of them), a vector (d,), several (m, d), several
            of many vectors each (m, q, d), or a film or study for the model.
        k : int, default=5
            How many rows at most.
        where : str, optional
            A filter on metadata; only rows that pass take part.
        progress : bool, optional
            Show a bar; by default in notebooks and terminals, for large batches.

        Returns
        -------
        Table
            Rank, key, score and metadata, the best first, equal scores by key;
            with a column `query` where there are several. Columns that name
            patients or studies are there, but not shown.

        Raises
        ------
        InvalidValueError
            If the filter cannot be read (it says where), names an unknown
            column, a sentence is empty, or the model is not the one of the vectors.
        """
        if k < 1:
            raise InvalidValueError(f"k: got {k}, expected at least 1")
        queries, several = self._queries(query)
        # No more can be found, and larger numbers have no room in the stores.
        k = min(int(k), max(len(self), 1))
        show = progress if len(queries) > 256 or progress else False
        with Bar("search", show=show, unit="block") as bar:
            counts, keys, scores, metadata = self._store.search(queries, k, where, bar)
        rows = [json.loads(text) for text in metadata]
        columns: dict[str, Any] = {}
        if several:
            columns["query"] = np.repeat(np.arange(len(counts)), counts)
        columns["rank"] = [rank for n in counts for rank in range(1, n + 1)]
        columns["key"] = list(keys)
        columns["score"] = scores
        for name in self._store.columns:
            columns[name] = [row.get(name) for row in rows]
        return Table(columns, hidden=filter(names_patients, columns))

    def compact(self) -> None:
        """Rewrite the rows as one segment and free the space of deleted ones."""
        self._store.compact()

    def refresh(self) -> bool:
        """Catch up with what other processes wrote; say whether there was anything."""
        return self._store.refresh()

    @property
    def dimension(self) -> int:
        """Length of one vector."""
        return self._store.dimension

    @property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
        return self._store.columns

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the model that made the vectors."""
        return self._store.model

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def __repr__(self) -> str:
        store = self._store
        several = f"{store.vectors} x " if store.vectors > 1 else ""
        columns = ", ".join(store.columns) or "none"
        made = f", model {store.model[:16]}" if store.model else ""
        return (
            f"Index({len(self)} rows of {several}{store.dimension} {store.precision}, "
            f"{store.metric}{made}; columns: {columns})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p><b>{html.escape(repr(self))}</b></p>"

    def _queries(self, query: Any) -> tuple[NDArray[np.float32], bool]:
        """Return queries (m, q, d), and whether there may be several."""
        texts = [query] if isinstance(query, str) else query
        if isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts):
            if not all(text.strip() for text in texts):
                raise InvalidValueError("query: found an empty text, expected words")
            encoded = np.asarray(self._model("encode_text")(texts), dtype=np.float32)
            return as_rows(encoded, "query"), not isinstance(query, str)
        if isinstance(query, Embeddings):
            check_may_join(query.fingerprint(), query, self._store.model)
            return as_rows(query, "query"), True
        if is_numeric(query):
            array = np.asarray(query, dtype=np.float32)
            if array.ndim == 1:
                return np.ascontiguousarray(array[None, None, :]), False
            return as_rows(array, "query"), True
        self._model("encode")
        return as_rows(encode(self.model, [query], shared=True), "query"), False

    def _model(self, verb: str) -> Any:
        found = getattr(self.model, verb, None)
        if found is None:
            raise InvalidValueError(
                f"query: needs a model that can {verb}; open the index with model=…, "
                "or give a vector"
            )
        check_fingerprint(fingerprint(self.model), self._store.model, "the index")
        return found


def _backend(name: str) -> Any:
    if name == "core":
        return _core.VectorIndex
    if name == "lance":
        from carina._lance import LanceStore

        return LanceStore
    raise InvalidValueError(f"store: got {name!r}, expected 'core' or 'lance'")
