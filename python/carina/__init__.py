"""One model, many clinical tasks: foundation models for chest imaging.

The heavy work runs in Rust (``carina._core``); this package is its face.
"""

from typing import TYPE_CHECKING, Any

from carina import cxr_foundation, metrics
from carina._core import (
    LoadReport,
    check_memory,
    num_threads,
    prepare_weights,
    set_num_threads,
)
from carina._progress import set_progress
from carina.asking import Answer
from carina.captioning import caption
from carina.classification import classification_result
from carina.corruption import Corruption, corrupt
from carina.curve import LearningCurve, Scratch, learning_curve
from carina.dataset import Dataset
from carina.decoder import Decoder, create_decoder, list_decoder_sizes, load_decoder
from carina.deidentification import deidentify
from carina.doctor import doctor
from carina.embeddings import Embeddings, load_embeddings
from carina.errors import CarinaError
from carina.evaluation import evaluate
from carina.explanation import phrase_map
from carina.geometry import Geometry
from carina.image import Image, decode
from carina.index import Index
from carina.label_reports import label_reports
from carina.manifest import open_dataset
from carina.model import Model
from carina.openers import list_public, open_public
from carina.opening import create, list_presets, load
from carina.phantom import phantom
from carina.plan import Plan
from carina.probe import Probe
from carina.prompts import Prompt, PromptBank, list_prompts, prompts
from carina.queries import Queries, Query, list_queries, queries
from carina.reading import read
from carina.recipe import Recipe
from carina.rendering import Picture, Slider
from carina.report_quality import ReportCheck, report_checks
from carina.result import Measurement, Protocol, Result
from carina.sensitivity import prompt_sensitivity
from carina.series import Series, SeriesList, read_series
from carina.study import Study
from carina.table import Table
from carina.text_encoder import TextEncoder
from carina.training import Run, list_stages, stage, train
from carina.volume import Volume, hu_windows
from carina.volume_geometry import VolumeGeometry
from carina.volume_reading import read_volume

if TYPE_CHECKING:
    from carina import dicomweb as dicomweb

__all__ = [
    "Answer",
    "CarinaError",
    "Corruption",
    "Dataset",
    "Decoder",
    "Embeddings",
    "Geometry",
    "Image",
    "Index",
    "LearningCurve",
    "LoadReport",
    "Measurement",
    "Model",
    "Picture",
    "Plan",
    "Probe",
    "Prompt",
    "PromptBank",
    "Protocol",
    "Queries",
    "Query",
    "Recipe",
    "ReportCheck",
    "Result",
    "Run",
    "Scratch",
    "Series",
    "SeriesList",
    "Slider",
    "Study",
    "Table",
    "TextEncoder",
    "Volume",
    "VolumeGeometry",
    "caption",
    "check_memory",
    "classification_result",
    "corrupt",
    "create",
    "create_decoder",
    "cxr_foundation",
    "decode",
    "deidentify",
    "doctor",
    "evaluate",
    "hu_windows",
    "label_reports",
    "learning_curve",
    "list_decoder_sizes",
    "list_presets",
    "list_prompts",
    "list_public",
    "list_queries",
    "list_stages",
    "load",
    "load_decoder",
    "load_embeddings",
    "metrics",
    "num_threads",
    "open_dataset",
    "open_public",
    "phantom",
    "phrase_map",
    "prepare_weights",
    "prompt_sensitivity",
    "prompts",
    "queries",
    "read",
    "read_series",
    "read_volume",
    "report_checks",
    "set_num_threads",
    "set_progress",
    "stage",
    "train",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the door to servers when it is asked for: it brings other packages."""
    if name == "dicomweb":
        from importlib import import_module

        return import_module("carina.dicomweb")
    raise AttributeError(f"module 'carina' has no attribute {name!r}")
