"""Openers of public data sets in the layouts that they are distributed in.

A set is one module with ``NAME``, ``ABOUT`` and ``open_folder``, and one line here.
Three-dimensional sets are not among them: a data set holds films.
"""

from collections.abc import Callable
from pathlib import Path

from carina._files import PathLike
from carina.dataset import Dataset
from carina.errors import InvalidValueError, MissingFileError
from carina.openers import (
    kermany_224,
    nih14_64,
    nih512,
    pneumoniamnist,
    tb_lung_masks,
    vqa_rad,
)

_MODULES = (kermany_224, nih14_64, nih512, pneumoniamnist, tb_lung_masks, vqa_rad)
_OPENERS: dict[str, Callable[[Path], Dataset]] = {
    module.NAME: module.open_folder for module in _MODULES
}


def list_public() -> dict[str, str]:
    """List the public data sets that :func:`open_public` knows.

    Returns
    -------
    dict
        Name to what it holds.
    """
    return {module.NAME: module.ABOUT for module in _MODULES}


def open_public(name: str, *, root: PathLike) -> Dataset:
    """Open a public data set from its own folder.

    Parameters
    ----------
    name : str
        One of :func:`list_public`.
    root : path-like
        The folder that holds a folder of this name.

    Returns
    -------
    Dataset
        With the set's own parts: ``ds.split_named("train")``.

    Raises
    ------
    InvalidValueError
        If the name is unknown.
    MissingFileError
        If the folder is not there.
    """
    if name not in _OPENERS:
        raise InvalidValueError(
            f"name: found {name!r}, expected one of {', '.join(_OPENERS)}"
        )
    folder = Path(root) / name
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: expected the folder of {name}, found none")
    return _OPENERS[name](folder)
