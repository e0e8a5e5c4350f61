"""One model, many clinical tasks: foundation models for chest imaging.

The heavy work runs in Rust (``carina._core``); this package is its face.
"""

from carina._core import LoadReport, num_threads, set_num_threads
from carina._core import num_threads, set_num_threads
from carina.dataset import Dataset
from carina.errors import CarinaError
from carina.image import Geometry, Image, Recipe, decode, read
from carina.manifest import open_dataset
from carina.openers import list_public, open_public
from carina.study import Study

__all__ = [
    "CarinaError",
    "Dataset",
    "Geometry",
    "Image",
    "Recipe",
    "Study",
    "decode",
    "list_public",
    "num_threads",
    "open_dataset",
    "open_public",
    "read",
from carina.text_encoder import TextEncoder

__all__ = [
    "CarinaError",
    "LoadReport",
    "TextEncoder",
from carina import metrics
from carina._core import num_threads, set_num_threads
from carina.classification import classification_result
from carina.errors import CarinaError
from carina.index import Index
from carina.probe import Probe
from carina.result import Measurement, Protocol, Result
from carina.table import Table

__all__ = [
    "CarinaError",
    "Index",
    "Measurement",
    "Probe",
    "Protocol",
    "Result",
    "Table",
    "classification_result",
    "metrics",
    "num_threads",
    "set_num_threads",
]
__version__ = "0.1.0"
