"""What is done to a film before a model sees it, as data."""

import html
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina.geometry import Geometry
from carina.image import Image, from_array
from carina.volume import Volume
from carina.volume_geometry import VolumeGeometry


class VolumeInput(NamedTuple):
    """What a recipe makes of a volume."""

    voxels: NDArray[np.float32]
    geometry: VolumeGeometry
    voxel_size: tuple[float, float, float]


class Recipe:
    """The steps from a film to a model's input, as data.

    Recipes are equal when their steps are; what two unequal recipes made must
    not be mixed, so keep :attr:`hash` beside every embedding.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Recipe) -> None:
        self._core = core

    @classmethod
    def film(cls, size: int) -> "Recipe":
        """Our default: display range to [0, 1], black border, antialiased bilinear.

        Parameters
        ----------
        size : int
            Height and width in pixels.
        """
        return cls(_core.Recipe.film(size))

    @classmethod
    def cxr_foundation(cls, size: int = 1280, *, any_view: bool = False) -> "Recipe":
        """Prepare films as CXR Foundation (ELIXR) takes them.

        The lowest and highest value to [0, 1] in 65536 levels, except for films of 8
        bits, which keep theirs; black border, antialiased bilinear.
        :func:`carina.cxr_foundation.film` gives the levels themselves.

        Parameters
        ----------
        size : int, default=1280
            Height and width in pixels.
        any_view : bool, default=False
            Take films known to be lateral too; by default they are an error.
        """
        return cls(_core.Recipe.cxr_foundation(size, any_view))

    @classmethod
    def preset(cls, name: str) -> "Recipe":
        """Return a built-in recipe; :meth:`presets` lists them.

        Raises
        ------
        InvalidValueError
            If there is none of this name.
        """
        return cls(_core.Recipe.preset(name))

    @staticmethod
    def presets(*, volumes: bool = False) -> list[str]:
        """List the names of the built-in recipes, for films or for volumes."""
        return _core.recipe_presets(volumes)

    @classmethod
    def from_steps(cls, steps: Sequence[dict[str, Any]]) -> "Recipe":
        """Make a recipe of steps, each a dict with its name under ``"step"``.

        Raises
        ------
        ConfigError
            If a step is misspelt or impossible; the message names it.
        """
        return cls.from_json(json.dumps({"steps": list(steps)}))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read a recipe that :meth:`to_json` or a person wrote.

        Raises
        ------
        ConfigError
            If a step is misspelt or impossible; the message names it.
        """
        return cls(_core.Recipe.from_json(text))

    def to_json(self) -> str:
        """Write the recipe as canonical JSON."""
        return self._core.to_json()

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps as dicts."""
        steps: list[dict[str, Any]] = json.loads(self.to_json())["steps"]
        return steps

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal."""
        return self._core.hash()

    @property
    def output_shape(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) that comes out, when it does not depend on the film."""
        return self._core.output_shape

    def apply(self, image: Image | ArrayLike) -> tuple[NDArray[np.float32], Geometry]:
        """Make a model's input of a film.

        Parameters
        ----------
        image : Image or array-like of shape (rows, columns)

        Returns
        -------
        pixels : ndarray of shape (C, H, W), float32
        geometry : Geometry
            The map between the film's pixels and those of `pixels`.

        Raises
        ------
        InvalidValueError
            If a pixel is NaN or infinite.
        ShapeError
            If the film is smaller than the middle to be kept.
        """
        film = image if isinstance(image, Image) else from_array(image)
        pixels, geometry = self._core.apply(film._core)
        return pixels, Geometry(geometry)

    def apply_volume(self, volume: Volume) -> "VolumeInput":
        """Make a model's input of a volume, turned to LPS first.

        Parameters
        ----------
        volume : Volume

        Returns
        -------
        VolumeInput
            A named tuple of `voxels` (C, D, H, W), float32; `geometry`, the map back
            to the volume as it was read; and `voxel_size` (z, y, x) in mm, what the
            model is to be told.

        Raises
        ------
        ConfigError
            If a step is for films only.
        InvalidValueError
            If an organ to crop to is not found.
        """
        voxels, geometry, size = volume._core.cook(self._core)
        return VolumeInput(
            voxels, VolumeGeometry(geometry), (size[0], size[1], size[2])
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Recipe({self.hash[:8]}: {' -> '.join(self._core.describe())})"

    def _repr_html_(self) -> str:
        steps = "".join(f"<li>{html.escape(s)}</li>" for s in self._core.describe())
        return f"Recipe <code>{self.hash[:8]}</code><ol>{steps}</ol>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe.from_json, (self.to_json(),)
