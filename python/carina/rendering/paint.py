"""A plane of numbers and what lies over it, as the pixels of a picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina.errors import InvalidValueError
from carina.rendering.colours import Colour, heat

LEAST_SIDE, MOST_SIDE = 16, 2048
MOST_ENLARGED = 8
"""A stored pixel becomes at most so many pixels a side: more shows nothing new."""

FILL, HEAT = 0.25, 0.6

Pixels = NDArray[np.uint8]


def whole(what: str, value: int, least: int, most: int) -> int:
    """Return a whole number that is in its range."""
    if not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InvalidValueError(
            f"{what}: expected a whole number from {least} to {most}, found {value!r}"
        )
    return int(value)


def pixels_per_step(
    shape: Sequence[int], spacing: Sequence[float], side: int
) -> list[float]:
    """Give the pixels per step of the array along each axis, true to their size.

    The longest axis takes `side` pixels, unless that enlarges too much.
    """
    # Shares of the largest: the products of extreme lengths would overflow.
    steps = np.maximum(np.asarray(spacing, dtype=np.float64) / max(spacing), 1e-9)
    longest = float((steps * np.asarray(shape)).max())
    side = whole("side", side, LEAST_SIDE, MOST_SIDE)
    scale = min(side / longest, MOST_ENLARGED / float(steps.min()))
    return [float(step * scale) for step in steps]


def paint(
    plane: NDArray[np.float32],
    scale: Sequence[float],
    ends: tuple[float, float],
    *,
    boxes: Sequence[tuple[Colour, NDArray[np.float64]]] = (),
    masks: Sequence[tuple[Colour, NDArray[np.bool_]]] = (),
    warmth: NDArray[np.float64] | None = None,
) -> Pixels:
    """Paint a plane.

    Parameters
    ----------
    plane : ndarray of shape (rows, columns), float32
    scale : pair of float
        Pixels of the picture per row and per column.
    ends : pair of float
        What becomes black and white.
    boxes : sequence of colour and box (4,)
        First row and column, last row and column, as edges. The first box lies above
        the others, and all lie above the masks.
    masks : sequence of colour and mask (rows, columns)
        The first lies above the others.
    warmth : ndarray of shape (rows, columns), optional
        A heat map, 0 to 1.

    Returns
    -------
    ndarray of shape (H, W, 1), or (H, W, 3) where anything lies over it, uint8
    """
    rows, columns = (
        max(1, round(count * step))
        for count, step in zip(plane.shape, scale, strict=True)
    )
    low, high = ends
    values = _resized(plane, rows, columns).astype(np.float64)
    shares = np.clip((values - low) / (high - low), 0, 1) if low < high else 0 * values
    grey = np.rint(shares * 255)[..., None]
    if not boxes and not masks and warmth is None:
        return grey.astype(np.uint8)
    canvas: NDArray[np.float64] = np.repeat(grey, 3, axis=2)
    if warmth is not None:
        shown = np.clip(_resized(warmth.astype(np.float32), rows, columns), 0, 1)
        # What is cold stays grey; from a third on, the colours alone tell the value.
        cover = (HEAT * np.clip(3 * shown, 0, 1))[..., None]
        canvas = (1 - cover) * canvas + cover * heat(shown)
    width = max(1, round(max(rows, columns) / 300))
    for colour, mask in reversed(masks):
        inside = _covered(mask, rows, columns)
        canvas[inside] = (1 - FILL) * canvas[inside] + FILL * np.array(colour)
        canvas[_outline(inside, width)] = colour
    for colour, box in reversed(boxes):
        _frame(canvas, colour, box * np.tile(scale, 2), width)
    return np.rint(canvas).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    """Return a picture as PNG."""
    return _core.encode_png(np.ascontiguousarray(pixels))


def _resized(
    plane: NDArray[np.float32], rows: int, columns: int
) -> NDArray[np.float32]:
    return _core.resize_plane(np.ascontiguousarray(plane), rows, columns)


def _covered(mask: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.bool_]:
    share = _resized(mask.astype(np.float32), rows, columns)
    # What is smaller than a pixel of the picture must not vanish from it.
    covered: NDArray[np.bool_] = share > 0.5 * min(1.0, float(share.max()))
    return covered


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    inner = mask
    for _ in range(width):
        around = np.pad(inner, 1)
        inner = (
            inner
            & around[:-2, 1:-1]
            & around[2:, 1:-1]
            & around[1:-1, :-2]
            & around[1:-1, 2:]
        )
    edge: NDArray[np.bool_] = mask & ~inner
    return edge


def _frame(
    canvas: NDArray[np.float64],
    colour: Colour,
    box: NDArray[np.float64],
    width: int,
) -> None:
    most = np.array(canvas.shape[:2])
    low = np.rint(np.clip(box[:2], 0, most - 1)).astype(int)
    high = np.maximum(np.rint(np.clip(box[2:], 0, most)).astype(int), low + 1)
    (top, left), (bottom, right) = low, high
    wide, tall = min(width, right - left), min(width, bottom - top)
    canvas[top:bottom, left : left + wide] = colour
    canvas[top:bottom, right - wide : right] = colour
    canvas[top : top + tall, left:right] = colour
    canvas[bottom - tall : bottom, left:right] = colour
