"""One model, many clinical tasks: foundation models for chest imaging.

The heavy work runs in Rust (``carina._core``); this package is its face.
"""

from carina._core import num_threads, set_num_threads
from carina.errors import CarinaError
from carina.geometry import Geometry
from carina.image import Image, decode, read
from carina.recipe import Recipe

__all__ = [
    "CarinaError",
    "Geometry",
    "Image",
    "Recipe",
    "decode",
    "num_threads",
    "read",
    "set_num_threads",
]
__version__ = "0.1.0"
