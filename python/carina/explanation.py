"""Explanations by ablation: what a model no longer says of a film that is covered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._films import as_dataset
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.image import Image
from carina.model import Model
from carina.searching import similarity

_AT_A_TIME = 16


def phrase_map(
    model: Model,
    film: Any,
    phrase: str,
    *,
    against: str | None = None,
    grid: int = 12,
    reach: int = 3,
    progress: bool | None = None,
) -> NDArray[np.float32]:
    """Show where a film says what a phrase says.

    One square after the other is covered with the film's mean; how much less alike
    film and phrase then are is what the square tells [1]_. It is what the model uses,
    not where a finding is: look at both. Nothing of the model's inside is needed, so
    maps of different models compare.

    Parameters
    ----------
    model : Model
        A model aligned with language.
    film : Study, Image, path or array (H, W)
        The film.
    phrase : str
        What is looked for: ``"There is a large left pleural effusion."``
    against : str, optional
        Its contrary; the map is then that of the difference of both similarities.
    grid : int, default=12
        Steps along the longer side of the film.
    reach : int, default=3
        Steps that a square covers; squares overlap, and each step is the mean of those
        over it.
    progress : bool, optional
        Whether to show a bar; by default in notebooks and terminals.

    Returns
    -------
    ndarray of shape (rows, columns), float32
        For each pixel of the film the loss of similarity (cosine) by covering it;
        negative where the phrase is told better without it. ``film.show(heatmap=…)``
        draws it.

    Raises
    ------
    InvalidValueError
        If a phrase is empty, `grid` is not within 2 to 64, or `reach` not within 1 to
        `grid`.
    CarinaError
        If the film cannot be read.

    References
    ----------
    .. [1] Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
       2014. arXiv:1311.2901.
    """
    phrases = [phrase] if against is None else [phrase, against]
    if any(not text.strip() for text in phrases):
        raise InvalidValueError("phrase: found an empty text, expected words")
    if not 2 <= grid <= 64:
        raise InvalidValueError(f"grid: found {grid}, expected 2 to 64")
    if not 1 <= reach <= grid:
        raise InvalidValueError(f"reach: found {reach}, expected 1 to {grid}")
    [study] = as_dataset(film)
    image = study.images[0]
    edges = _edges(image.shape, grid)
    squares = [
        (top, left)
        for top in range(len(edges[0]) - 1 + reach - 1)
        for left in range(len(edges[1]) - 1 + reach - 1)
    ]
    texts = model.encode_text(phrases)

    def told(films: list[Image]) -> NDArray[np.float64]:
        """Say how alike films and phrase are."""
        seen = model.encode(films, level="contrastive", progress=False, errors="raise")
        alike = similarity(seen, texts).astype(np.float64)
        return alike[:, 0] if against is None else alike[:, 0] - alike[:, 1]

    whole = told([image])[0]
    steps = np.zeros([len(side) - 1 for side in edges])
    over = np.zeros_like(steps)
    with Bar("phrase map", show=progress, unit="square") as bar:
        for start in range(0, len(squares), _AT_A_TIME):
            bar(start, len(squares), [])
            some = squares[start : start + _AT_A_TIME]
            covers = [
                tuple(slice(max(0, at - reach + 1), at + 1) for at in square)
                for square in some
            ]
            lost = whole - told([_covered(image, edges, cover) for cover in covers])
            for cover, loss in zip(covers, lost, strict=True):
                steps[cover] += loss
                over[cover] += 1
        bar(len(squares), len(squares), [])
    mean = (steps / over).astype(np.float32)
    return _core.resize_plane(mean, *image.shape)


def _edges(shape: tuple[int, int], grid: int) -> list[NDArray[np.int64]]:
    """Give the bounds of the steps along rows and columns: about square, at least 2."""
    step = max(shape) / grid
    counts = [min(side, max(2, round(side / step))) for side in shape]
    return [
        np.linspace(0, side, count + 1).round().astype(np.int64)
        for side, count in zip(shape, counts, strict=True)
    ]


def _covered(
    image: Image, edges: Sequence[NDArray[np.int64]], cover: tuple[slice, ...]
) -> Image:
    """Copy a film with some steps covered by its mean."""
    pixels = np.array(image.to_numpy())
    # Covering must not move what black and white are.
    levels = image.range or (float(pixels.min()), float(pixels.max()))
    rows, columns = (
        slice(side[part.start], side[min(part.stop, len(side) - 1)])
        for side, part in zip(edges, cover, strict=True)
    )
    pixels[rows, columns] = pixels.mean()
    core = _core.Image(
        pixels,
        spacing=image.spacing,
        modality=image.modality,
        view=image.view,
        orientation=image.orientation,
        range=levels,
    )
    return Image(core)
