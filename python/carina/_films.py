"""Whatever holds films, as a data set."""

import os
from typing import Any

import numpy as np

from carina.dataset import Dataset
from carina.errors import InvalidValueError
from carina.image import Image
from carina.manifest import open_dataset
from carina.study import Study


def as_dataset(data: Any) -> Dataset:
    """Make a data set of a film, a study, or several of them.

    Parameters
    ----------
    data : Dataset, Study, Image, path, array (H, W), array (N, H, W) or a sequence
        A data set is returned as it is; of a study, the first film is taken.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidValueError
        If something is none of these.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (Study, Image, str, os.PathLike)):
        items: list[Any] = [data]
    elif isinstance(data, np.ndarray):
        if data.ndim not in (2, 3):
            msg = f"films: expected shape (H, W) or (N, H, W), found {data.shape}"
            raise InvalidValueError(msg)
        items = [data] if data.ndim == 2 else list(data)
    elif isinstance(data, (list, tuple)):
        items = list(data)
    else:
        msg = f"films: expected films, found {type(data).__name__}"
        raise InvalidValueError(msg)
    if not items:
        msg = "films: found none, expected at least one"
        raise InvalidValueError(msg)
    rows = [_row(number, item) for number, item in enumerate(items)]
    return open_dataset(rows, root=".", findings=[], progress=False)


def _row(number: int, item: Any) -> dict[str, Any]:
    name = str(number)
    if isinstance(item, Study):
        item = item.images[0]
    elif isinstance(item, os.PathLike):
        item = os.fspath(item)
    elif not isinstance(item, (Image, np.ndarray, str)):
        found = type(item).__name__
        msg = f"films: expected films, found {found} at place {number}"
        raise InvalidValueError(msg)
    if isinstance(item, str):
        item = os.path.abspath(item)  # noqa: PTH100 — no resolution of links
    return {"study": name, "patient": name, "image": item}
