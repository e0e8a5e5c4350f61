"""What the estimators ask of a model: encode, and say who you are."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina.embeddings import Embeddings
from carina.errors import InvalidValueError, ShapeError


def fingerprint(model: Any) -> str | None:
    """Say which weights and recipe make the vectors of `model`, if it says.

    Reads the attribute ``fingerprint``, else ``recipe_hash``.
    """
    for name in ("fingerprint", "recipe_hash"):
        found = getattr(model, name, None)
        if found is not None:
            return str(found() if callable(found) else found)
    return None


def made_by(model: Any, data: Any) -> str | None:
    """Say what made `data`: imported embeddings say it, others are of `model`.

    Embeddings that `model` did not make are refused.
    """
    found = fingerprint(model)
    if not isinstance(data, Embeddings):
        return found
    check_fingerprint(found, data.fingerprint(), "these embeddings")
    return data.fingerprint()


def encode(model: Any, what: Any, *, shared: bool = False) -> NDArray[np.float32]:
    """Encode with `model`, as float32.

    `shared` asks for vectors in the space shared with text, when the model tells the
    two apart (by a method ``embed``).
    """
    method = getattr(model, "embed", model.encode) if shared else model.encode
    return np.asarray(method(what), dtype=np.float32)


def check_may_join(made: str | None, vectors: Any, store: str | None) -> None:
    """Refuse what an index cannot hold beside its own vectors.

    `made` and `store` say which model made the vectors, and those of the index.
    """
    check_fingerprint(made, store, "the index")
    if store is None and isinstance(vectors, Embeddings):
        raise InvalidValueError(
            "vectors: the index does not know which model made its vectors, so "
            "embeddings may be of another; make it by "
            "Index.create(path, vectors=embeddings), which keeps where they come from"
        )


def check_fingerprint(found: str | None, expected: str | None, what: str) -> None:
    """Refuse vectors of another model or recipe than `what` was made with."""
    if found is not None and expected is not None and found != expected:
        raise InvalidValueError(
            f"model: its fingerprint is {found!r}, but {what} was made with "
            f"{expected!r}; vectors of different models or recipes cannot be mixed"
        )


def is_numeric(query: Any) -> bool:
    """Say whether `query` is vectors rather than a film or text."""
    if isinstance(query, np.ndarray):
        return query.dtype.kind in "biuf"
    if not isinstance(query, list | tuple):
        return False
    try:
        return np.asarray(query).dtype.kind in "biuf"
    except ValueError:
        return False


def as_rows(
    vectors: ArrayLike | Embeddings, what: str = "vectors"
) -> NDArray[np.float32]:
    """Return vectors as (n, vectors, d), float32."""
    if isinstance(vectors, Embeddings):
        vectors = vectors.vectors
    try:
        array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what}: not an array of numbers: {error}") from error
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3 or 0 in array.shape:
        raise ShapeError(
            f"{what}: expected shape (n, d) or (n, vectors, d) with n > 0, "
            f"got {list(array.shape)}"
        )
    return array
