"""What a volume shows of itself."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from carina._arrays import interval
from carina.errors import InvalidValueError
from carina.rendering.overlays import Overlays, gather
from carina.rendering.paint import LEAST_SIDE, MOST_SIDE, pixels_per_step, whole
from carina.rendering.picture import Picture, key
from carina.rendering.planes import PLANES, Planes, check_own, check_plane, onto
from carina.rendering.slider import Slider
from carina.rendering.windows import named

if TYPE_CHECKING:
    from carina.volume import Volume

MOST_SLICES = 100
MOST_PIXELS = 1 << 24


class VolumeViews:
    """Pictures of a volume; :class:`carina.Volume` has them.

    All take the same overlays, in the voxels of this very volume:

    - ``boxes``: the :class:`Organs` found in it, a mapping of names to boxes (z0, y0,
      x0, z1, y1, x1) or rows of them, or boxes alone. None in place of a box is named
      in the legend as not found.
    - ``masks``: such :class:`Organs`, ``study.masks``, or a mapping of names to masks;
      a mask is an array of this volume's shape, of booleans or of numbers that are
      all 0 or 1, or such a :class:`Volume`, which is mapped through its geometry when
      both were made of one volume.
    - ``heatmap``: an array or volume likewise, or a mapping of one name to it. Its
      lowest values are clear, and ``heat_range`` says what the ends of its colours
      are.

    ``window`` is a name (:func:`carina.hu_windows` lists them) or the lowest and
    highest value; without one a CT is shown as lung, anything else from its lowest
    value to its highest. The caption says it.
    """

    __slots__ = ()

    def show(
        self,
        window: str | Sequence[float] | None = None,
        *,
        at: Sequence[int] | str | None = None,
        boxes: Any = None,
        masks: Any = None,
        heatmap: Any = None,
        heat_range: Sequence[float] | None = None,
        side: int = 256,
    ) -> Picture:
        """Show the axial, the coronal and the sagittal plane through a voxel.

        All three have the same scale; the patient's right is on the left.

        Parameters
        ----------
        window : str or sequence of 2 floats, optional
            See :class:`VolumeViews`, as for the overlays.
        at : sequence of 3 ints or str, optional
            The voxel (z, y, x), or the name of an overlay to go to where it is
            largest; the middle by default.
        boxes, masks, heatmap : optional
            What to draw over the planes.
        heat_range : sequence of 2 floats, optional
        side : int, default=256
            Pixels along the longest side, 16 to 2048.

        Raises
        ------
        InvalidValueError, ShapeError
            If the window, the voxel or an overlay does not fit the volume.
        """
        volume = cast("Volume", self)
        ends, words = _window(volume, window)
        over = _over(volume, boxes, masks, heatmap, heat_range)
        planes = Planes(volume, over)
        place = planes.place(_voxel(volume, over, at))
        scale = pixels_per_step(planes.shape, planes.spacing, side)
        drawn: set[str] = set()
        panels = tuple(
            planes.panel(plane, place[across], scale, ends, drawn)
            for plane, (across, _, _) in PLANES.items()
        )
        return Picture(panels, f"{volume!r}; {words}", *key(over, drawn), 3)

    def montage(
        self,
        n: int = 12,
        *,
        plane: str = "axial",
        between: Sequence[int] | None = None,
        window: str | Sequence[float] | None = None,
        columns: int = 4,
        boxes: Any = None,
        masks: Any = None,
        heatmap: Any = None,
        heat_range: Sequence[float] | None = None,
        side: int = 160,
    ) -> Picture:
        """Show slices side by side, evenly spread.

        They go from head to feet, from front to back or from right to left.

        Parameters
        ----------
        n : int, default=12
            How many, at most 100; where there are fewer slices, all are shown.
        plane : {"axial", "coronal", "sagittal"}
        between : sequence of 2 ints, optional
            The first slice and the one after the last, as the array counts them; the
            whole volume by default.
        window : str or sequence of 2 floats, optional
            See :class:`VolumeViews`, as for the overlays.
        columns : int, default=4
        boxes, masks, heatmap : optional
        heat_range : sequence of 2 floats, optional
        side : int, default=160
            Pixels along the longest side of the volume, 16 to 2048; less for many
            slices.

        Raises
        ------
        InvalidValueError, ShapeError
            If the window or an overlay does not fit the volume, or the picture would
            be too large.
        """
        volume = cast("Volume", self)
        across = PLANES[check_plane(plane)][0]
        n = whole("n", n, 1, MOST_SLICES)
        most = int((MOST_PIXELS / n) ** 0.5)
        side = whole("side", side, LEAST_SIDE, min(most, MOST_SIDE))
        columns = whole("columns", columns, 1, MOST_SLICES)
        ends, words = _window(volume, window)
        over = _over(volume, boxes, masks, heatmap, heat_range)
        planes = Planes(volume, over)
        scale = pixels_per_step(planes.shape, planes.spacing, side)
        drawn: set[str] = set()
        first, last = planes.between(plane, between)
        panels = tuple(
            planes.panel(plane, place, scale, ends, drawn)
            for place in _spread(first, last, n, downwards=across == 0)
        )
        caption = f"{volume!r}; {words}"
        return Picture(panels, caption, *key(over, drawn), columns)

    def slider(
        self,
        *,
        plane: str = "axial",
        window: str | Sequence[float] | None = None,
        boxes: Any = None,
        masks: Any = None,
        heatmap: Any = None,
        heat_range: Sequence[float] | None = None,
        side: int = 384,
    ) -> Slider:
        """Go through the slices by hand, in a live notebook with ipywidgets.

        Without ipywidgets, and where a saved notebook is read, a montage stands in
        its place.

        Parameters
        ----------
        plane : {"axial", "coronal", "sagittal"}
        window : str or sequence of 2 floats, optional
            See :class:`VolumeViews`, as for the overlays.
        boxes, masks, heatmap : optional
        heat_range : sequence of 2 floats, optional
        side : int, default=384
            Pixels along the longest side of the volume, 16 to 2048.
        """
        volume = cast("Volume", self)
        across = PLANES[check_plane(plane)][0]
        ends, words = _window(volume, window)
        over = _over(volume, boxes, masks, heatmap, heat_range)
        planes = Planes(volume, over)
        scale = pixels_per_step(planes.shape, planes.spacing, side)
        count = planes.shape[across]
        order = _spread(0, count, count, downwards=across == 0)

        def picture(step: int) -> Picture:
            drawn: set[str] = set()
            panel = planes.panel(plane, order[step], scale, ends, drawn)
            return Picture((panel,), f"{volume!r}; {words}", *key(over, drawn), 1)

        still = self.montage(
            8,
            plane=plane,
            window=window,
            boxes=boxes,
            masks=masks,
            heatmap=heatmap,
            heat_range=heat_range,
            side=min(side, 160),
        )
        return Slider(count, picture, still)

    def _repr_html_(self) -> str:
        volume = cast("Volume", self)
        steps = "".join(f"<li>{html.escape(step)}</li>" for step in volume.history)
        return f"<div>{self.show(side=200).body()}<ol>{steps}</ol></div>"


def _window(
    volume: "Volume", window: str | Sequence[float] | None
) -> tuple[tuple[float, float], str]:
    unit = " HU" if volume.modality == "CT" else ""
    if isinstance(window, str):
        return named(window)
    if window is not None:
        low, high = interval("window", window)
        return (low, high), f"window {low:g} to {high:g}{unit}"
    applied = [step for step in volume.history if step.startswith("window ")]
    if applied:  # Volume.window has made it 0 to 1
        return (0.0, 1.0), applied[-1]
    voxels = volume.to_numpy()
    low, high = float(voxels.min()), float(voxels.max())
    if volume.modality == "CT" and low < -100:
        return named("lung")
    return (low, high), f"shown from {low:g} to {high:g}"


def _over(
    volume: "Volume", boxes: Any, masks: Any, heatmap: Any, heat_range: Any
) -> Overlays:
    for what, given in (("boxes", boxes), ("masks", masks)):
        check_own(volume, what, given)
    return gather(
        volume.shape,
        boxes=boxes,
        masks=masks,
        heatmap=heatmap,
        heat_range=heat_range,
        values=lambda what, given: onto(volume, what, given),
    )


def _voxel(
    volume: "Volume", over: Overlays, at: Sequence[int] | str | None
) -> list[int]:
    if at is None:
        return [count // 2 for count in volume.shape]
    if isinstance(at, str):
        return _middle(volume, over, at)
    voxel = np.asarray(at)
    if (
        voxel.shape != (3,)
        or voxel.dtype.kind not in "iu"
        or not ((voxel >= 0) & (voxel < volume.shape)).all()
    ):
        raise InvalidValueError(
            f"at: expected a voxel (z, y, x) within {list(volume.shape)}, found {at!r}"
        )
    return [int(i) for i in voxel]


def _middle(volume: "Volume", over: Overlays, name: str) -> list[int]:
    """Find the planes in which an overlay is largest."""
    layers = {layer.name: layer for layer in over.layers}
    if name not in layers or layers[name].note:
        raise InvalidValueError(
            f"at: expected a voxel or an overlay that is not empty, found {name!r}"
        )
    masks = [mask for mask in layers[name].masks if mask.any()]
    if masks:
        mask = max(masks, key=np.count_nonzero)
        others = ((1, 2), (0, 2), (0, 1))
        return [int(mask.sum(axis=axes).argmax()) for axes in others]
    box = layers[name].boxes[0]
    middle = np.clip((box[:3] + box[3:]) // 2, 0, np.array(volume.shape) - 1)
    return [int(i) for i in middle]


def _spread(first: int, last: int, n: int, *, downwards: bool) -> list[int]:
    """Give n slices, the same distance apart and half of it from the ends."""
    n = min(n, last - first)
    places = [first + int((i + 0.5) * (last - first) / n) for i in range(n)]
    return places[::-1] if downwards else places
