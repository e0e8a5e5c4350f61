"""Slices under a slider, where there is a kernel to paint them."""

import importlib.util
from collections.abc import Callable
from typing import Any

from carina.errors import CarinaError
from carina.rendering.paint import png
from carina.rendering.picture import Picture


class Slider:
    """The slices of a volume under a slider; made by :meth:`carina.Volume.slider`.

    A live notebook shows the widget if ipywidgets is installed. What is saved with
    the notebook also holds a still picture, for places without a kernel.
    """

    def __init__(
        self, count: int, picture: Callable[[int], Picture], still: Picture
    ) -> None:
        self._count = count
        self._picture = picture
        self._still = still

    def widget(self) -> Any:
        """Make the widget.

        Returns
        -------
        ipywidgets.VBox

        Raises
        ------
        ModuleNotFoundError
            If ipywidgets, of ``carina[notebooks]``, is not installed.
        """
        import ipywidgets

        middle = self._count // 2
        image = ipywidgets.Image(format="png")
        words = ipywidgets.HTML()
        slider = ipywidgets.IntSlider(
            value=middle, min=0, max=self._count - 1, description="slice"
        )

        def turn(step: int) -> None:
            picture = self._picture(step)
            panel = picture.panels[0]
            image.value = png(panel.pixels)
            words.value = picture.words()

        slider.observe(lambda change: turn(change["new"]), names="value")
        turn(middle)
        return ipywidgets.VBox([slider, image, words])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        still = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if importlib.util.find_spec("ipywidgets") is None:
            return still
        live = self.widget()._repr_mimebundle_(include=include, exclude=exclude)
        return {**live, **still}

    def _repr_html_(self) -> str:
        return f"<div>{self._still.body()}</div>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise CarinaError(
            "a slider is not pickled, for it paints when it is moved: pickle the "
            "volume, or the picture that montage() gives"
        )

    def __repr__(self) -> str:
        return f"Slider({self._count} slices: {self._still.caption})"
