"""A film as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carina._arrays import interval
from carina.errors import InvalidValueError
from carina.rendering.overlays import gather
from carina.rendering.paint import paint, pixels_per_step
from carina.rendering.picture import Panel, Picture, key
from carina.rendering.windows import named

if TYPE_CHECKING:
    from carina.image import Image

OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))


def film_picture(
    film: "Image",
    *,
    window: str | Sequence[float] | None,
    side: int,
    **overlays: Any,
) -> Picture:
    """Paint a film; see :meth:`carina.Image.show`."""
    pixels = film.to_numpy()
    ends, words = _window(film, window)
    over = gather(film.shape, **overlays, values=_values)
    spacing = film.spacing or (1.0, 1.0)
    scale = pixels_per_step(film.shape, spacing, side)
    rows, columns = film.shape
    edges = ""
    if film.orientation:
        right, bottom = film.orientation[0], film.orientation[1]
        edges = OPPOSITE[right] + right + OPPOSITE[bottom] + bottom
    drawn = {
        layer.name
        for layer in over.layers
        if any(mask.any() for mask in layer.masks)
        or any(_meets(box, film.shape) for box in layer.boxes)
    }
    panel = Panel(
        paint(
            pixels,
            scale,
            ends,
            boxes=[
                (layer.colour, box)
                for layer in over.layers
                for box in layer.boxes
                if _meets(box, film.shape)
            ],
            masks=[(layer.colour, m) for layer in over.layers for m in layer.masks],
            warmth=over.warmth(lambda whole: whole),
        ),
        "",
        edges,
        (0, columns, rows, 0),
        spacing,
    )
    size = "" if film.spacing else "; pixels taken as square, their size is unknown"
    legend, bar = key(over, drawn, "outside of the film")
    return Picture((panel,), f"{film!r}; {words}{size}", legend, bar)


def _window(
    film: "Image", window: str | Sequence[float] | None
) -> tuple[tuple[float, float], str]:
    if window is None:
        pixels = film.to_numpy()
        ends = film.range or (float(pixels.min()), float(pixels.max()))
        kinds = ("window ", "VOI ")
        applied = [step for step in film.history if step.startswith(kinds)]
        default = f"shown from {ends[0]:g} to {ends[1]:g}"
        return ends, applied[-1] if applied else default
    if isinstance(window, str):
        if film.modality != "CT":
            raise InvalidValueError(
                "window: expected (low, high) for a film; names are for CT, "
                f"found {window!r}"
            )
        return named(window)
    low, high = interval("window", window)
    return (low, high), f"shown from {low:g} to {high:g}"


def _values(what: str, given: Any) -> NDArray[Any]:
    return np.asarray(given)


def _meets(box: NDArray[np.float64], shape: tuple[int, int]) -> bool:
    return bool((box[:2] < shape).all() and (box[2:] > 0).all())
