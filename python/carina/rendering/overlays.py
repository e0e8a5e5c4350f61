"""What is drawn over a picture, made of whatever the package hands out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina._arrays import binary, interval
from carina.errors import CarinaError, InvalidValueError, ShapeError
from carina.organs import Organs
from carina.rendering.colours import Colour, colours

MOST_BOXES = 1000


@dataclass
class Layer:
    """All that has one name.

    Attributes
    ----------
    boxes : ndarray of shape (N, 2 d)
        The d lower edges, then the upper ones, in the order of the array's axes.
    masks : list of ndarray of the picture's shape, bool
    """

    name: str
    colour: Colour
    boxes: NDArray[np.float64]
    masks: list[NDArray[np.bool_]]

    @property
    def note(self) -> str:
        """Why nothing of it can be seen anywhere, or empty."""
        if not len(self.boxes) and not self.masks:
            return "not found"
        if not len(self.boxes) and not any(mask.any() for mask in self.masks):
            return "empty mask"
        return ""


@dataclass(frozen=True)
class Heat:
    """A heat map over the whole picture, with the ends of its colours."""

    name: str
    values: NDArray[np.float32]
    low: float
    high: float


@dataclass(frozen=True)
class Overlays:
    """Boxes and masks by name, and a heat map."""

    layers: list[Layer] = field(default_factory=list)
    heat: Heat | None = None

    def warmth(
        self, cut: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> NDArray[np.float64] | None:
        """Return a cut through the heat map as shares of its range, if there is one."""
        if self.heat is None:
            return None
        low, high = self.heat.low, self.heat.high
        values = cut(self.heat.values).astype(np.float64)
        return (values - low) / (high - low) if low < high else np.zeros(values.shape)


Values = Callable[[str, Any], NDArray[Any]]


def gather(
    shape: tuple[int, ...],
    *,
    boxes: Any = None,
    masks: Any = None,
    heatmap: Any = None,
    heat_range: Sequence[float] | None = None,
    values: Values,
) -> Overlays:
    """Check overlays for a picture of `shape`.

    Parameters
    ----------
    shape : tuple of int
        (rows, columns) or (z, y, x).
    boxes, masks, heatmap, heat_range
        As :meth:`carina.Image.show` and :meth:`carina.Volume.show` take them.
    values : callable
        Gives the array of a mask or heat map that a user handed over, by its name.
    """
    found_boxes = list(_named("box", boxes))
    found_masks = list(_named("mask", masks))
    names = list(dict.fromkeys(name for name, _ in found_boxes + found_masks))
    palette = colours(names)
    nothing = np.empty((0, 2 * len(shape)))
    layers = {name: Layer(name, palette[name], nothing, []) for name in names}
    count = 0
    for name, box in found_boxes:
        if box is not None:
            edges = _edges(name, box, len(shape))
            count += len(edges)
            layers[name].boxes = np.concatenate([layers[name].boxes, edges])
    if count > MOST_BOXES:
        raise InvalidValueError(
            f"boxes: expected at most {MOST_BOXES} in a picture, found {count}"
        )
    for name, mask in found_masks:
        if mask is not None:
            array = _array(f"mask {name!r}", values, "mask", mask, shape)
            layers[name].masks.append(binary(f"mask {name!r}", array))
    return Overlays(list(layers.values()), _heat(shape, heatmap, heat_range, values))


def _named(kind: str, given: Any) -> Iterator[tuple[str, Any]]:
    """Take names and things from an :class:`Organs`, a mapping, a list or a thing."""
    if given is None:
        return
    if isinstance(given, Organs):
        # Not "lungs": its box is no more than that around the other two.
        for organ in ("right_lung", "left_lung"):
            thing = given.boxes[organ] if kind == "box" else given.mask(organ)
            yield organ.replace("_", " "), thing
        if kind == "box":
            yield "heart", given.boxes["heart"]
    elif isinstance(given, Mapping):
        for name, thing in given.items():
            yield str(name), thing
    elif hasattr(given, "finding"):
        yield given.finding, _content(given)
    elif (
        isinstance(given, Sequence)
        and len(given) > 0
        and all(hasattr(thing, "finding") for thing in given)
    ):
        for thing in given:
            yield thing.finding, _content(thing)
    elif not (isinstance(given, Sequence) and len(given) == 0):
        yield kind, given


def _content(thing: Any) -> Any:
    """Give the corners of a study's box or the pixels of its mask."""
    return thing.corners if hasattr(thing, "corners") else thing.to_numpy()


def _edges(name: str, box: Any, dims: int) -> NDArray[np.float64]:
    order = "x0, y0, x1, y1" if dims == 2 else "z0, y0, x0, z1, y1, x1"
    try:
        table = np.atleast_2d(np.asarray(box, dtype=np.float64))
    except (TypeError, ValueError):
        raise InvalidValueError(
            f"box {name!r}: expected numbers ({order}), found {type(box).__name__}"
        ) from None
    if table.ndim != 2 or table.shape[1] != 2 * dims:
        raise ShapeError(
            f"box {name!r}: expected ({order}) or rows of them, got shape "
            f"{list(np.shape(box))}"
        )
    low, high = table[:, :dims], table[:, dims:]
    wrong = ~(np.isfinite(table).all(axis=1) & (low < high).all(axis=1))
    if wrong.any():
        raise InvalidValueError(
            f"box {name!r}: expected ({order}), the first ends below the last, found "
            f"{table[wrong][0].tolist()}"
        )
    if dims == 2:  # films say x first, arrays rows
        return np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1)
    return table


def _array(
    what: str, values: Values, kind: str, given: Any, shape: tuple[int, ...]
) -> NDArray[Any]:
    try:
        array = values(kind, given)
    except CarinaError:
        raise
    except (TypeError, ValueError):  # numpy's, of rows that differ in length
        raise InvalidValueError(
            f"{what}: expected an array of numbers, found {type(given).__name__}"
        ) from None
    if array.dtype.kind not in "buif":
        raise InvalidValueError(f"{what}: expected numbers, found dtype {array.dtype}")
    if array.shape != shape:
        raise ShapeError(
            f"{what}: expected the picture's shape {list(shape)}, got "
            f"{list(array.shape)}; the geometry maps from one to the other"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0]
        raise InvalidValueError(
            f"{what}: expected finite values, found {array[tuple(place)]} at "
            f"{place.tolist()}"
        )
    return array


def _heat(
    shape: tuple[int, ...],
    given: Any,
    ends: Sequence[float] | None,
    values: Values,
) -> Heat | None:
    if given is None:
        if ends is not None:
            raise InvalidValueError("heat_range: expected a heatmap with it")
        return None
    name = "heat map"
    if isinstance(given, Mapping):
        if len(given) != 1:
            raise InvalidValueError(
                f"heatmap: expected one map and its name, found {len(given)}"
            )
        ((name, given),) = given.items()
    array = _array(f"heat map {name!r}", values, "heat map", given, shape)
    least = np.finfo(np.float32)
    if array.min() < least.min or array.max() > least.max:
        raise InvalidValueError(
            f"heat map {name!r}: expected values that float32 can hold, found "
            f"{array.min():g} to {array.max():g}"
        )
    array = np.asarray(array, dtype=np.float32)
    if ends is None:
        low, high = float(array.min()), float(array.max())
    else:
        low, high = interval("heat_range", ends)
    return Heat(str(name), array, low, high)
