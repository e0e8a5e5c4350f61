"""Films and volumes as pictures for people: static, bounded in size, without ids."""

from carina.rendering.picture import Picture
from carina.rendering.slider import Slider

__all__ = ["Picture", "Slider"]
