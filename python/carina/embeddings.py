"""Embeddings that another model made, with where they come from."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._files import PathLike
from carina._npz import arrays
from carina.errors import FormatError, InvalidValueError, MissingFileError, ShapeError

__all__ = ["Embeddings", "load_embeddings"]

Kind = Literal["pooled", "map", "queries", "contrastive"]

# What CXR Foundation gives of a film.
_SHAPES: dict[Kind, tuple[int, ...]] = {
    "pooled": (1376,),
    "map": (8, 8, 1376),
    "queries": (32, 768),
    "contrastive": (32, 128),
}
_IDS = ("ids", "id", "image_ids", "image_id", "keys")
_ENDINGS = (".npz", ".tfrecord", ".tfrecords")


class Embeddings:
    """Embeddings of films by name, made by a model that is not here.

    Made by :func:`load_embeddings`. :class:`Probe` takes it in place of features,
    :meth:`Index.create` and :meth:`Index.add` in place of vectors (its names become
    the keys), and both keep :meth:`fingerprint`: what another model or recipe made is
    refused from then on.

    Parameters
    ----------
    ids : sequence of str
        Unique names of the films.
    values : array-like of shape (n, d), (n, vectors, d) or (n, rows, columns, d)
        Finite numbers.
    kind : str
        What they are: ``"pooled"``, ``"map"``, ``"queries"``, ``"contrastive"``.
    recipe : str, default="cxr-foundation"
        Which model and preparation of films made them.
    """

    __slots__ = ("_ids", "_values", "kind", "recipe")

    def __init__(
        self,
        ids: Sequence[str],
        values: ArrayLike,
        *,
        kind: str,
        recipe: str = "cxr-foundation",
    ) -> None:
        # A copy, which nobody else can change.
        array = np.array(_numbers("values", values))
        if not 2 <= array.ndim <= 4 or 0 in array.shape:
            raise ShapeError(
                f"values: expected shape (n, …, d) with n > 0, got {list(array.shape)}"
            )
        names = [str(name) for name in ids]
        if len(names) != len(array):
            raise ShapeError(f"ids: expected {len(array)}, got {len(names)}")
        if len(set(names)) != len(names):
            raise InvalidValueError("ids: expected unique names, some are there twice")
        wrong = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if wrong.any():
            raise InvalidValueError(
                f"values: expected finite numbers, row {int(wrong.argmax())} has others"
            )
        array.setflags(write=False)
        self._ids = tuple(names)
        self._values = array
        self.kind = kind
        self.recipe = recipe

    @property
    def ids(self) -> list[str]:
        """The names of the films."""
        return list(self._ids)

    @property
    def values(self) -> NDArray[np.float32]:
        """The numbers (n, …, d), read-only."""
        return self._values

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The numbers as (n, vectors, d): one vector a film, or several."""
        return self._values.reshape(len(self), -1, self._values.shape[-1])

    @property
    def pooled(self) -> NDArray[np.float32]:
        """The mean of each film's vectors (n, d), for probes."""
        mean = self.vectors.mean(axis=1, dtype=np.float64)
        return np.asarray(mean, dtype=np.float32)

    def fingerprint(self) -> str:
        """Name what made them: only what says the same may be mixed with them."""
        return f"{self.recipe}:{self.kind}"

    def take(self, ids: Sequence[str]) -> "Embeddings":
        """Choose films by name, in this order.

        Raises
        ------
        InvalidValueError
            If a name is not there; the message says how many are not.
        """
        places = {name: place for place, name in enumerate(self._ids)}
        missing = sum(name not in places for name in ids)
        if missing:
            raise InvalidValueError(f"ids: {missing} of {len(ids)} are not there")
        return self[[places[name] for name in ids]]

    def similarity(self, queries: ArrayLike) -> NDArray[np.float32]:
        """Compare each film with each query: the largest cosine over its vectors.

        Parameters
        ----------
        queries : array-like of shape (d,), (m, d)
            Vectors of texts or films, of the same model.

        Returns
        -------
        ndarray of shape (n,) or (n, m), float32

        Raises
        ------
        ShapeError
            If a query has another length.
        """
        found = _numbers("queries", queries)
        rows = np.atleast_2d(found)
        width = self._values.shape[-1]
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ShapeError(
                f"queries: expected shape (m, {width}), got {list(found.shape)}"
            )
        cosines = _unit(self.vectors) @ _unit(rows).T  # (n, vectors, m)
        best: NDArray[np.float32] = cosines.max(axis=1)
        return best[:, 0] if found.ndim == 1 else best

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> NDArray[np.float32]:
        """Convert for numpy: the numbers (n, …, d)."""
        return np.array(self._values, dtype=dtype, copy=copy)

    def __getitem__(self, which: Any) -> "Embeddings":
        rows = np.arange(len(self))[which]
        if rows.ndim != 1:
            raise InvalidValueError("expected a slice, numbers or a mask, got one row")
        return Embeddings(
            [self._ids[row] for row in rows],
            self._values[rows],
            kind=self.kind,
            recipe=self.recipe,
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self._values.shape[1:]))
        return f"Embeddings({len(self)} films, {self.kind} {shape}, {self.recipe})"

    def _repr_html_(self) -> str:
        return f"<p><b>{html.escape(repr(self))}</b></p>"


def load_embeddings(
    path: PathLike | Sequence[PathLike],
    *,
    kind: Literal["auto"] | Kind = "auto",
    feature: str = "embedding",
    recipe: str = "cxr-foundation",
) -> Embeddings:
    """Load embeddings that CXR Foundation (ELIXR) published or its service wrote.

    Nothing is unpickled, and TensorFlow is not needed.

    Parameters
    ----------
    path : path-like or sequence of them
        A ``.npz`` archive (an array for each film under its name; one array of all
        beside an array ``ids``; or one film under `feature`), a ``.tfrecord`` of
        ``tf.Example``, or a folder of such files. Films that have no name of their own
        are called as their file.
    kind : str, default="auto"
        ``"pooled"`` (1376,), ``"map"`` (8, 8, 1376), ``"queries"`` (32, 768),
        ``"contrastive"`` (32, 128); by default what has as many numbers.
    feature : str, default="embedding"
        The name of the numbers in a record, or in the archive of one film.
    recipe : str, default="cxr-foundation"
        Which model and preparation made them; kept with probes and indexes.

    Returns
    -------
    Embeddings

    Raises
    ------
    MissingFileError
        If a file is not there.
    FormatError
        If a file is damaged, holds pickled objects, or numbers of another kind.
    InvalidValueError
        If two films have one name, or a number is not finite.

    References
    ----------
    .. [1] Sellergren et al., "Simplified transfer learning for chest radiography models
       using less data", Radiology 305(2), 2022.
    """
    if kind != "auto" and kind not in _SHAPES:
        known = ", ".join(_SHAPES)
        raise InvalidValueError(f"kind: expected auto, {known}, found {kind!r}")
    ids: list[str] = []
    parts: list[NDArray[np.float32]] = []
    found: Kind | None = None if kind == "auto" else kind
    for file in _files(path):
        for names, values in _read(file, feature):
            found = found or _kind(file, values.shape)
            shape = _SHAPES[found]
            if values.shape[1:] not in (shape, (int(np.prod(shape)),)):
                raise FormatError(
                    f"{file}: expected {found} embeddings {shape}, "
                    f"found {values.shape[1:]}"
                )
            ids.extend(names)
            parts.append(values.reshape(-1, *shape).astype(np.float32, copy=False))
    if found is None:
        raise FormatError(f"{path}: found no embeddings")
    return Embeddings(ids, np.concatenate(parts), kind=found, recipe=recipe)


def _files(path: PathLike | Sequence[PathLike]) -> list[Path]:
    if not isinstance(path, (list, tuple)):
        folder = Path(path)  # type: ignore[arg-type]
        if not folder.is_dir():
            return [folder]
        held = sorted(p for p in folder.iterdir() if p.suffix in _ENDINGS)
        if not held:
            raise MissingFileError(f"{folder}: no {' or '.join(_ENDINGS)} files")
        return held
    return [Path(one) for one in path]


def _read(path: Path, feature: str) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Give names and numbers (n, …) of a file, part by part."""
    if path.suffix == ".npz":
        yield from _npz(path, feature)
        return
    names, values = _core.read_records(path, feature)
    own = [path.stem]
    if len(names) > 1:
        own = [f"{path.stem}-{row:06}" for row in range(len(names))]
    yield [name or other for name, other in zip(names, own, strict=True)], values


def _npz(path: Path, feature: str) -> Iterator[tuple[list[str], NDArray[Any]]]:
    held = dict(arrays(path))
    ids = next((held.pop(name) for name in _IDS if _is_ids(held.get(name))), None)
    for name, array in held.items():
        if array.dtype.kind != "f":
            raise FormatError(f"{path}: expected floats, found {array.dtype}")
        if ids is not None:
            if len(held) > 1 or array.ndim < 2 or len(array) != len(ids):
                raise FormatError(
                    f"{path}: expected one array of {len(ids)} rows beside their "
                    f"names, found {len(held)}, the first of shape {array.shape}"
                )
            yield _texts(path, ids), array
        else:
            # One film may come in a batch of its own.
            film = array[0] if array.ndim > 1 and len(array) == 1 else array
            yield [path.stem if name == feature else name], film[None]


def _is_ids(array: NDArray[Any] | None) -> bool:
    return array is not None and array.ndim == 1 and array.dtype.kind in "SU"


def _texts(path: Path, ids: NDArray[Any]) -> list[str]:
    try:
        return [n.decode() if isinstance(n, bytes) else str(n) for n in ids.tolist()]
    except UnicodeError as error:
        raise FormatError(f"{path}: a name is no text: {error}") from error


def _kind(path: Path, shape: tuple[int, ...]) -> Kind:
    for kind, known in _SHAPES.items():
        if shape[1:] in (known, (int(np.prod(known)),)):
            return kind
    names = ", ".join(f"{kind} {shape}" for kind, shape in _SHAPES.items())
    raise FormatError(f"{path}: expected one of {names}, found {shape[1:]}")


def _numbers(what: str, values: ArrayLike) -> NDArray[np.float32]:
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what}: not an array of numbers: {error}") from error


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = x / np.maximum(length, 1e-12)
    return scaled
