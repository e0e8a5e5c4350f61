"""Rust core of carina; use the classes of the package instead."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Batches",
    "Dataset",
    "Decoder",
    "FittedProbe",
    "Geometry",
    "Image",
    "LoadReport",
    "ManifestBuilder",
    "Model",
    "Recipe",
    "Series",
    "Study",
    "TextEncoder",
    "VectorIndex",
    "Volume",
    "VolumeGeometry",
    "ask",
    "bootstrap_measure",
    "box_iou",
    "check_disjoint",
    "check_memory",
    "corrects",
    "corrupt_reports",
    "corrupt_texts",
    "corruption_kinds",
    "ct_phantom_findings",
    "cxr_foundation_film",
    "decode_dicom",
    "decoder_sizes",
    "delong",
    "delong_test",
    "doctor_facts",
    "encode_png",
    "film_augmentation",
    "film_tasks",
    "filter_to_sql",
    "find_threshold",
    "finding_name",
    "grade_answers",
    "grade_query",
    "graft",
    "hits_at",
    "hu_windows",
    "is_volume",
    "list_presets",
    "list_prompts",
    "list_stages",
    "make_ct_phantoms",
    "make_phantoms",
    "mask_overlap",
    "measure",
    "measure_baseline",
    "mend_report",
    "merge_lora",
    "ndcg",
    "num_threads",
    "open_manifest",
    "phantom_findings",
    "plan_asking",
    "prefer",
    "plain_wordings",
    "prepare_weights",
    "prompt_bank",
    "query_set",
    "query_sets",
    "read_film",
    "read_judgement",
    "read_records",
    "read_volume",
    "recipe_presets",
    "report_claims",
    "report_phrases",
    "resample",
    "resize_plane",
    "scan_folder",
    "set_num_threads",
    "stage_preset",
]

_Path: TypeAlias = str | os.PathLike[str]
# Called with what is done, what there is to do, and records as JSON; may raise to stop.
_Watch: TypeAlias = Callable[[int, int, list[str]], object]
_Bools: TypeAlias = NDArray[np.bool_]
_Integers: TypeAlias = NDArray[np.int64]
_Singles: TypeAlias = NDArray[np.float32]
_Doubles: TypeAlias = NDArray[np.float64]
# Index and message of what could not be read.
_Failures: TypeAlias = list[tuple[int, str]]

# Data sets

@final
class Dataset:
    """Studies that share one list of findings."""
    @staticmethod
    def empty(findings: Sequence[str]) -> Dataset:
        """A data set without studies."""
    def __len__(self) -> int: ...
    @property
    def findings(self) -> list[str]:
        """What the columns of labels mean."""
    @property
    def ids(self) -> list[str]:
        """The study ids."""
    @property
    def patients(self) -> list[str]:
        """The patient ids."""
    @property
    def patient_count(self) -> int:
        """How many different patients there are."""
    @property
    def splits(self) -> list[str]:
        """The part that each study belongs to; empty when not said."""
    @property
    def reports(self) -> list[str]:
        """The findings and impression of each report, joined."""
    def records(self) -> list[dict[str, float | str]]:
        """The clinical records."""
    def labels(self) -> _Singles:
        """The labels (studies, findings) as stored: 1, 0, -1 or NaN."""
    def targets(self, policy: str) -> _Singles:
        """The labels (studies, findings) to learn from: 1, 0 or NaN."""
    def study(self, index: int) -> Study:
        """The study at `index`."""
    def select(self, indices: Sequence[int]) -> Dataset:
        """The studies at `indices`, in that order."""
    def split_named(self, name: str) -> Dataset:
        """The studies whose split is `name`."""
    def split(
        self, by: str, fractions: Sequence[tuple[str, float]], seed: int
    ) -> list[tuple[str, Dataset]]:
        """Named parts by patient or by study."""
    def with_findings(self, mapping: Sequence[tuple[str, str | None]]) -> Dataset:
        """The same studies under other findings: pairs of a new name and the old one, or None."""
    def with_reports(self, reports: Sequence[str]) -> Dataset:
        """The same studies with other reports, one text each."""
    @staticmethod
    def concat(parts: Sequence[Dataset], names: Sequence[str] | None) -> Dataset:
        """One data set of several; `names` go before the ids."""
    def write(self, path: _Path, watch: _Watch | None) -> None:
        """Writes a JSON Lines manifest and, beside it, the pixels that are in memory."""
    def write_dicom(
        self, folder: _Path, syntax: str, watch: _Watch | None
    ) -> list[Path]:
        """Writes phantoms as DICOM files below `folder`; gives the files."""
    def rows(self) -> tuple[list[str], list[int], list[Image], list[_Bools]]:
        """The rows as JSON, for each place its row, and the images and masks that rows name."""
    def tensors(
        self, recipe: Recipe, cache: _Path | None, workers: int, watch: _Watch | None
    ) -> tuple[_Singles, _Failures]:
        """Every first film, prepared (N, C, H, W), and the failures as (index, message)."""
    def batches(
        self,
        recipe: Recipe,
        *,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        epoch: int,
        start: int,
        augment: str | None,
        random_film: bool,
        cache: _Path | None,
        workers: int,
    ) -> Batches:
        """The batches of one epoch."""

@final
class Study:
    """One visit of one patient."""
    @property
    def id(self) -> str:
        """The study's id."""
    @property
    def patient(self) -> str:
        """The patient's id."""
    @property
    def split(self) -> str:
        """The part of the data set that it belongs to; empty when not said."""
    @property
    def labels(self) -> list[float]:
        """The labels, in the order of the data set's findings."""
    @property
    def report(self) -> tuple[str, str, str]:
        """Indication, findings and impression."""
    @property
    def boxes(self) -> list[tuple[str, list[float]]]:
        """Finding and corners (x0, y0, x1, y1) of each box."""
    @property
    def attributes(self) -> list[list[str]]:
        """Finding, side, zone, severity, attenuation and margin."""
    @property
    def questions(self) -> list[list[str]]:
        """Question, answer, form and topic."""
    def record(self) -> dict[str, float | str]:
        """The clinical record."""
    @property
    def film_count(self) -> int:
        """How many films there are."""
    def film(self, index: int) -> Image:
        """Reads the film at `index`."""
    @property
    def mask_findings(self) -> list[str]:
        """The findings that have masks."""
    def mask(self, index: int) -> _Bools:
        """Reads the mask at `index` (rows, columns)."""
    @property
    def follow_up(self) -> list[tuple[str, float, bool]]:
        """Outcome, years and whether the event came."""
    def follow_up_targets(
        self, index: int, horizon: int
    ) -> tuple[list[bool], list[bool]]:
        """For years 1 to `horizon`: whether the event came by then, and whether it is known."""
    @property
    def scan_count(self) -> int:
        """How many volumes there are."""
    def scan_grid(
        self, index: int
    ) -> tuple[list[int], tuple[float, float, float], tuple[float, float, float]]:
        """Shape and spacing (z, y, x) and origin (x, y, z) of a volume."""
    def scan(self, index: int) -> _Singles:
        """Renders the volume at `index` (z, y, x), HU."""
    @property
    def scan_mask_names(self) -> list[str]:
        """What the first volume has masks of."""
    def scan_mask(self, index: int) -> _Bools:
        """Renders a mask of the first volume (z, y, x)."""

@final
class ManifestBuilder:
    """Builds a data set from rows that are handed over in portions."""
    def __new__(
        cls,
        source: str,
        root: _Path,
        findings: Sequence[str] | None,
        columns: dict[str, str | None],
    ) -> ManifestBuilder: ...
    def push(
        self,
        first: int,
        rows: Sequence[str],
        images: Sequence[Image],
        masks: Sequence[_Bools],
    ) -> None:
        """Adds rows, each a JSON object; `first` is the number of the first one."""
    def finish(self) -> Dataset:
        """The data set, once every row is in."""

@final
class Batches:
    """The batches of one epoch."""
    def next(self) -> tuple[list[int], _Singles, _Failures] | None:
        """The next batch: indices, pixels (B, C, H, W) and failures; None after the last."""

def open_manifest(
    path: _Path,
    root: _Path,
    findings: Sequence[str] | None,
    columns: dict[str, str | None],
    watch: _Watch | None,
) -> Dataset:
    """Opens a CSV, TSV or JSON Lines manifest."""
def check_disjoint(parts: Sequence[tuple[str, Dataset]]) -> None:
    """Fails when one patient is in two of the named parts."""
def film_augmentation() -> str:
    """The amounts of the random changes that suit films, as JSON."""
def make_phantoms(options: str, watch: _Watch | None) -> Dataset:
    """Synthetic studies with exact truth; `options` is the JSON of the core's `PhantomOptions`."""
def make_ct_phantoms(options: str, watch: _Watch | None) -> Dataset:
    """Synthetic chest CT with exact truth; `options` is the JSON of the core's `CtOptions`."""
def ct_phantom_findings() -> list[str]:
    """The findings of every CT phantom, in the order of the labels."""
def phantom_findings() -> list[str]:
    """The findings of every phantom, in the order of the labels."""

# Films

@final
class Image:
    """A film: float32 pixels (rows, columns) with what a reader must know about them."""
    def __new__(
        cls,
        pixels: _Singles,
        *,
        spacing: Sequence[float] | None = None,
        modality: str = ...,
        view: str = "UNKNOWN",
        orientation: str = ...,
        range: Sequence[float] | None = None,
        history: Sequence[str] = ...,
    ) -> Image: ...
    def to_numpy(self) -> _Singles:
        """The pixels (rows, columns), float32, read-only, without a copy."""
    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
    @property
    def spacing(self) -> tuple[float, float] | None:
        """Size of a pixel (row spacing, column spacing) in mm, or None."""
    @property
    def modality(self) -> str:
        """DICOM modality; empty when unknown."""
    @property
    def view(self) -> str:
        """PA, AP, LATERAL or UNKNOWN."""
    @property
    def orientation(self) -> str:
        """Where x and y point in the patient, a letter each; empty when unknown."""
    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and highest value that the display pipeline can produce, or None."""
    @property
    def history(self) -> list[str]:
        """What was done to the pixels, in order."""
    def save_levels(self, path: _Path) -> None:
        """Writes levels as a 16-bit grey PNG, as they are."""
    def save_png(self, path: _Path) -> None:
        """Writes a 16-bit grey PNG."""

@final
class Recipe:
    """The steps from a film to a model's input, as data."""
    @staticmethod
    def from_json(text: str) -> Recipe:
        """Reads a recipe from JSON."""
    @staticmethod
    def film(size: int) -> Recipe:
        """Our own default at a size."""
    @staticmethod
    def cxr_foundation(size: int, any_view: bool) -> Recipe:
        """That of CXR Foundation's clients, at a size."""
    @staticmethod
    def preset(name: str) -> Recipe:
        """A recipe by name."""
    def to_json(self) -> str:
        """The recipe as canonical JSON."""
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
    def describe(self) -> list[str]:
        """One line for each step."""
    @property
    def output_shape(self) -> tuple[int, int, int] | None:
        """Shape (C, H, W) that comes out, when it does not depend on the film."""
    def apply(self, image: Image) -> tuple[_Singles, Geometry]:
        """Makes a model's input (C, H, W), float32, and the map back."""

@final
class Geometry:
    """The map between original pixels and model pixels."""
    @staticmethod
    def from_json(text: str) -> Geometry:
        """Reads a map from JSON."""
    def to_json(self) -> str:
        """The map as JSON."""
    def describe(self) -> str:
        """The map in one line."""
    def facts(self) -> dict[str, tuple[float, float]]:
        """The sizes, scales and offsets, by name."""
    @property
    def spacing(self) -> tuple[float, float] | None:
        """Spacing of the film's pixels in mm, or None."""
    @property
    def model_spacing(self) -> tuple[float, float] | None:
        """Spacing of the model's pixels in mm, or None."""
    def points(self, points: _Doubles, back: bool) -> _Doubles:
        """Points (N, 2) as (x, y), from the film to the model, or back."""
    def boxes(self, boxes: _Doubles, back: bool) -> _Doubles:
        """Boxes (N, 4) as (x0, y0, x1, y1), from the film to the model, or back."""
    def mask(self, mask: _Bools, back: bool) -> _Bools:
        """A mask (H, W) from the film to the model, or back."""
    def heatmap(self, heatmap: _Singles) -> _Singles:
        """A heat map (any grid over the model's canvas) on the film (H, W)."""

def read_records(path: _Path, feature: str) -> tuple[list[str | None], _Singles]:
    """Names and floats (n, width) of the feature of a TFRecord file's examples."""
def cxr_foundation_film(
    source: _Path | bytes | bytearray, *, released: bool, any_view: bool
) -> Image:
    """Reads a film in levels of 8 or 16 bits, as CXR Foundation's clients make them."""
def read_film(
    source: _Path | bytes | bytearray,
    *,
    apply_window: bool | None = None,
    window_index: int | None = None,
    window_name: str | None = None,
    frame: int | None = None,
) -> Image:
    """Reads a frame of a file or of its content, in a window by name or number if one is chosen."""
def resize_plane(plane: _Singles, rows: int, columns: int) -> _Singles:
    """A plane at another size, bilinear, smoothed where it shrinks."""
def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG of grey values (H, W, 1) or colours (H, W, 3)."""
def decode_dicom(source: _Path | bytes | bytearray) -> NDArray[Any]:
    """The stored values of a DICOM file (frames, rows, columns, samples), squeezed."""
@final
class Series:
    """A series of slices, not yet decoded."""
    def __len__(self) -> int: ...
    @property
    def files(self) -> list[Path]:
        """Its files, in the order of their names."""
    @property
    def modality(self) -> str:
        """DICOM modality."""
    @property
    def localizer(self) -> bool:
        """Whether it is scout films."""
    @property
    def patient(self) -> int:
        """Which of the folder's patients, counted from 0."""
    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape (z, y, x) of the stack, or None."""
    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Spacing (z, y, x) of the stack in mm, or None."""
    @property
    def problem(self) -> str | None:
        """Why the slices are no regular stack, or None."""
    def read(self, options: dict[str, Any], watch: _Watch | None) -> Volume:
        """Reads the slices as a volume."""

@final
class Volume:
    """A volume: float32 voxels (z, y, x) with their place in the patient."""
    def __new__(
        cls,
        voxels: _Singles,
        grid: str,
        *,
        original: str | None = None,
        modality: str = ...,
        history: Sequence[str] = ...,
    ) -> Volume: ...
    def to_numpy(self) -> _Singles:
        """The voxels (z, y, x), float32, read-only, without a copy."""
    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of the voxels along (z, y, x) in mm."""
    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel, (x, y, z) in mm."""
    @property
    def direction(self) -> list[list[float]]:
        """Where the axes z, y, x point: rows of unit vectors (x, y, z)."""
    @property
    def orientation(self) -> str:
        """Where x, y, z point, a letter each."""
    @property
    def modality(self) -> str:
        """DICOM modality; empty when unknown."""
    @property
    def history(self) -> list[str]:
        """What was done to the voxels, in order."""
    @property
    def geometry(self) -> VolumeGeometry:
        """The map between the volume as it was read and this one."""
    def affine(self) -> _Doubles:
        """Row by row, the matrix (4, 4) from a voxel's index to mm."""
    def grid_json(self) -> str:
        """The grid as JSON."""
    def reorient(self, orientation: str) -> Volume:
        """The volume with x, y, z pointing where three letters say."""
    def resample(self, spacing: Sequence[float], nearest: bool) -> Volume:
        """The same box at about this spacing (z, y, x) in mm."""
    def resize(self, shape: Sequence[int], nearest: bool) -> Volume:
        """The same box as (z, y, x) voxels."""
    def crop(self, edges: Sequence[int], fill: float) -> Volume:
        """The box (z0, y0, x0, z1, y1, x1) of voxels, `fill` outside the volume."""
    def crop_resize(self, edges: Sequence[int], size: Sequence[int]) -> Volume:
        """The box, grown to `size` where there is room, cut out and resized to it."""
    def window(
        self, *, name: str | None = None, ends: tuple[float, float] | None = None
    ) -> Volume:
        """A window of a name, or from `low` to `high`, as [0, 1]."""
    def tiles(self, size: Sequence[int], overlap: float) -> list[list[int]]:
        """Boxes of one size that cover the volume."""
    def organs(
        self,
    ) -> tuple[NDArray[np.uint8], dict[str, Sequence[int] | None]]:
        """The labels of the lungs (0 none, 1 right, 2 left) and boxes by name."""
    def cook(
        self, recipe: Recipe
    ) -> tuple[_Singles, VolumeGeometry, list[float]]:
        """What a recipe makes of the volume: (C, D, H, W), the way back, voxel size."""
    def save(self, path: _Path) -> None:
        """Writes a .nii or .nii.gz file."""

@final
class VolumeGeometry:
    """The map between a volume as it was read and what became of it."""
    @staticmethod
    def from_json(text: str) -> VolumeGeometry:
        """Reads a map from JSON."""
    def to_json(self) -> str:
        """The map as JSON."""
    def describe(self) -> str:
        """The map in one line."""
    @property
    def shapes(self) -> tuple[list[int], list[int]]:
        """Shapes (z, y, x) of the volume as read and of what the model sees."""
    @property
    def spacings(self) -> tuple[list[float], list[float]]:
        """Spacings (z, y, x) in mm, likewise."""
    def points(self, points: _Doubles, back: bool) -> _Doubles:
        """Points (N, 3) as (z, y, x), from the original to the model, or back."""
    def boxes(self, boxes: _Doubles, back: bool) -> _Doubles:
        """Boxes (N, 6) as (z0, y0, x0, z1, y1, x1), likewise."""
    def patient(self, points: _Doubles, back: bool) -> _Doubles:
        """Points (N, 3) of the original as patient points (x, y, z) in mm, or back."""
    def mask(self, mask: NDArray[np.bool_], back: bool) -> NDArray[np.bool_]:
        """A mask (z, y, x) from the original to the model, or back."""
    def heatmap(self, heatmap: _Singles) -> _Singles:
        """A heat map (any grid over the model's volume) on the original."""

def is_volume(path: _Path) -> bool:
    """Whether a path is a volume: a folder, NIfTI, or an enhanced CT, MR or PET."""
def read_volume(path: _Path, options: dict[str, Any], watch: _Watch | None) -> Volume:
    """Reads a volume from a folder of slices, a file of frames or a NIfTI file."""
def scan_folder(
    path: _Path, watch: _Watch | None
) -> tuple[list[Series], list[int], list[tuple[Path, str]]]:
    """Finds the series of a folder, counts its files and tells what was left out."""
def hu_windows() -> list[tuple[str, tuple[float, float]]]:
    """The names of the windows of Hounsfield units, with their ends."""
def recipe_presets(volumes: bool) -> list[str]:
    """The names of the recipes that are built in, for films or for volumes."""

# Models

@final
class Model:
    """A model: towers, weights, recipe and tokenizer."""
    @staticmethod
    def create(
        preset: str,
        *,
        seed: int,
        device: str,
        image_size: int,
        recipe: str | None = None,
        overrides: str | None = None,
    ) -> Model:
        """An untrained model of a preset (`system-size`), reproducible from `seed`."""
    @staticmethod
    def load(folder: _Path, device: str) -> tuple[Model, str]:
        """Opens a model's folder; the second value is the load report as text."""
    def save(self, folder: _Path) -> None:
        """Writes the model's folder."""
    def spec(self) -> str:
        """The specification (config.json) as text."""
    def recipe(self) -> str:
        """How pixels are made right for the model, as JSON."""
    def recipe_hash(self) -> str:
        """The hash of the recipe."""
    def fingerprint(self) -> str:
        """A hash that changes with any weight or setting."""
    def system(self) -> str:
        """The system's name."""
    def findings(self) -> list[str]:
        """What the classification head scores."""
    def parameter_count(self) -> int:
        """How many numbers the parameters hold."""
    def parameters(self) -> list[tuple[str, list[int]]]:
        """Names and shapes of the parameters."""
    def parameter(self, name: str) -> _Singles:
        """One parameter as an array."""
    def device(self) -> str:
        """Where the model computes."""
    def set_licence(self, licence: str) -> None:
        """Sets the licence of the weights."""
    def encode(
        self,
        dataset: Dataset,
        *,
        level: str,
        precision: str,
        batch_size: int,
        cached: str,
        watch: _Watch | None = None,
    ) -> tuple[_Singles, _Failures]:
        """Features of every study at a level: float32 array (N, …) and (row, message) failures."""
    def caption(
        self,
        dataset: Dataset,
        *,
        max_tokens: int,
        batch_size: int,
        cached: str,
        watch: _Watch | None = None,
    ) -> tuple[list[str | None], _Failures]:
        """A caption for every study, none where it could not be read, and (row, message) failures."""
    def plan(
        self,
        batch: int,
        *,
        size: Sequence[int] | None = None,
        level: str = "pooled",
        precision: str = "f32",
        texts: bool = False,
        films: int | None = None,
    ) -> str:
        """What encoding films, or embedding texts, will hold in memory, as JSON."""
    def plan_training(
        self, stage: str, *, size: Sequence[int] | None = None, recompute: bool = False
    ) -> str:
        """What a step of a stage (JSON) will hold in memory, as JSON."""
    def overlong(self, texts: Sequence[str]) -> tuple[int, int]: ...
    def encode_text(self, texts: Sequence[str]) -> _Singles:
        """Unit embeddings (T, E) of texts."""
    def zero_shot(
        self,
        films: _Singles,
        *,
        present: Sequence[str],
        absent: Sequence[str],
        scoring: str,
    ) -> _Singles:
        """Zero-shot scores (N) of films embedded at the contrastive level (N, Q, E)."""
    def train(
        self,
        dataset: Dataset,
        stage: str,
        *,
        validation: Dataset | None = None,
        out: _Path | None = None,
        resume: bool = True,
        checkpoint_steps: int = 0,
        stop_after: int | None = None,
        cached: str = "memory",
        workers: int = 2,
        recompute: bool = False,
        watch: _Watch | None = None,
    ) -> str:
        """Trains the model in place by a stage (JSON); gives the history as JSON."""

@final
class LoadReport:
    """What a checkpoint gave to a model, key by key."""
    @property
    def source(self) -> str:
        """The file that was read."""
    @property
    def matched(self) -> list[str]:
        """Parameters that took their values from the checkpoint."""
    @property
    def missing(self) -> list[str]:
        """Parameters that the checkpoint does not have."""
    @property
    def unexpected(self) -> list[str]:
        """Keys of the checkpoint that the model does not have."""
    @property
    def misshapen(self) -> list[tuple[str, list[int], list[int]]]:
        """Parameters whose shapes differ: name, shape found, shape expected."""
    @property
    def dropped(self) -> list[str]:
        """Keys that the model is known to have no use for."""
    @property
    def renamed(self) -> int:
        """How many of the matched had another name, or were cut or joined."""
    @property
    def complete(self) -> bool:
        """Whether every parameter was matched and every key used or dropped on purpose."""
    def _repr_html_(self) -> str: ...

@final
class Decoder:
    """A decoder: tokenizer, weights and perhaps a chat template."""
    @staticmethod
    def load(
        folder: _Path, precision: str, device: str, shared: _Path | None = None
    ) -> Decoder:
        """Opens a folder with options, tokenizer and weights."""
    @staticmethod
    def create(
        size: str, *, seed: int, device: str, overrides: str | None = None
    ) -> Decoder:
        """Makes an untrained decoder from a preset."""
    def generate(
        self,
        prompts: Sequence[str],
        *,
        options: str,
        batch_size: int,
        watch: _Watch | None = None,
    ) -> list[tuple[str, int, bool]]:
        """Writes after each prompt; `options` are JSON."""
    def chat(
        self,
        messages: Sequence[tuple[str, str]],
        *,
        options: str,
        watch: _Watch | None = None,
    ) -> tuple[str, int, bool]:
        """Answers a conversation of (role, content); `options` are JSON."""
    def logits(self, text: str) -> _Singles:
        """The logits after each token of a text, (T, V)."""
    def score(
        self, texts: Sequence[str], *, batch_size: int, watch: _Watch | None = None
    ) -> tuple[_Doubles, _Integers]:
        """Mean log-probability and number of the tokens after the first of each text."""
    def plan(self, batch: int, tokens: int, *, options: str | None = None) -> str:
        """What writing or scoring will hold in memory, as JSON."""
    def tokenize(self, text: str) -> list[str]:
        """The pieces that a prompt is read as."""
    def save(self, folder: _Path) -> None:
        """Writes options, tokenizer and weights in the layout of published decoders."""
    @property
    def report(self) -> LoadReport | None:
        """What the checkpoint gave, if there was one."""
    @property
    def config(self) -> str:
        """Its options, as JSON in the layout of published decoders."""
    @property
    def precision(self) -> str:
        """What its matrices are multiplied in."""
    @property
    def parameters(self) -> int:
        """How many numbers its parameters hold."""
    @property
    def chats(self) -> bool:
        """Whether it knows how conversations are written."""

@final
class TextEncoder:
    """A text encoder in a folder."""
    @staticmethod
    def load(folder: _Path, device: str) -> TextEncoder:
        """Opens a folder with options, tokenizer and weights."""
    def encode(
        self, texts: Sequence[str], batch_size: int, watch: _Watch | None
    ) -> _Singles:
        """Embeds texts in their order, (n, d)."""
    def tokenize(self, text: str) -> list[str]:
        """The pieces that a text is read as, special ones included."""
    @property
    def report(self) -> LoadReport:
        """What the checkpoint gave."""
    @property
    def dim(self) -> int:
        """Features of an embedding."""
    @property
    def max_length(self) -> int:
        """The longest text, in tokens."""
    @property
    def pooling(self) -> str:
        """How tokens become one vector."""
    @property
    def normalises(self) -> bool:
        """Whether embeddings have length one."""
    def fingerprint(self) -> str:
        """SHA-256 over options, tokenizer and weights on disk."""

def list_presets() -> list[str]:
    """The model presets."""
def list_stages() -> list[str]:
    """The stage presets."""
def stage_preset(name: str) -> str:
    """A stage preset as JSON."""
def list_prompts() -> list[str]:
    """The prompt banks."""
def prompt_bank(name: str) -> list[tuple[str, list[str], list[str]]]:
    """A prompt bank: (finding, phrases of presence, phrases of absence)."""

# Vectors

@final
class VectorIndex:
    """Vectors and metadata in a folder, searched exactly."""
    @staticmethod
    def create(
        folder: _Path,
        *,
        dimension: int,
        vectors: int,
        metric: str,
        precision: str,
        model: str | None = None,
    ) -> VectorIndex:
        """Makes an empty index in `folder`."""
    @staticmethod
    def open(folder: _Path, verify: bool) -> VectorIndex:
        """Opens the index in `folder`; `verify` compares all vectors with their checksums."""
    def add(
        self, vectors: _Singles, keys: Sequence[str], metadata: Sequence[str]
    ) -> None:
        """Appends vectors (N, V, D) with a key and a JSON object of metadata each."""
    def delete_keys(self, keys: Sequence[str]) -> int:
        """Deletes rows by key and says how many."""
    def delete_where(self, filter: str) -> int:
        """Deletes the rows that a filter keeps and says how many."""
    def search(
        self,
        queries: _Singles,
        k: int,
        filter: str | None = None,
        watch: _Watch | None = None,
    ) -> tuple[list[int], list[str], _Singles, list[str]]:
        """Hits of queries (M, Q, D): counts, then keys, scores and metadata (JSON) of all."""
    def compact(self) -> None:
        """Rewrites live rows as one segment."""
    def refresh(self) -> bool:
        """Catches up with what other processes wrote; says whether there was anything."""
    def check_model(self, model: str | None) -> None:
        """Fails when `model` is known not to be what made the vectors."""
    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    @property
    def dimension(self) -> int:
        """Length of one vector."""
    @property
    def vectors(self) -> int:
        """Vectors of one row."""
    @property
    def metric(self) -> str:
        """How vectors are compared."""
    @property
    def precision(self) -> str:
        """How numbers are stored."""
    @property
    def model(self) -> str | None:
        """What made the vectors."""
    @property
    def columns(self) -> list[str]:
        """Names of the metadata columns."""
    @property
    def waste(self) -> tuple[int, int]:
        """Segments and deleted rows that are still on disk."""

def filter_to_sql(filter: str) -> str:
    """A filter as an SQL condition, every value quoted."""

@final
class FittedProbe:
    """Standardisation and logits, fitted; numbers only, no names."""
    @staticmethod
    def fit_logistic(
        features: _Singles,
        labels: _Doubles,
        names: Sequence[str],
        *,
        policy: str,
        balanced: bool,
        c: float,
        standardise: bool,
        tolerance: float,
        max_steps: int,
        watch: _Watch | None = None,
    ) -> tuple[FittedProbe, list[int]]:
        """Logistic regression of labels (N, L) on features (N, D); also what did not converge."""
    @staticmethod
    def fit_network(
        features: _Singles,
        labels: _Doubles,
        names: Sequence[str],
        groups: _Integers,
        *,
        policy: str,
        balanced: bool,
        hidden: Sequence[int],
        dropout: float,
        learning_rate: float,
        weight_decay: float,
        epochs: int,
        batch_size: int,
        validation: float,
        patience: int,
        standardise: bool,
        seed: int,
        watch: _Watch | None = None,
    ) -> FittedProbe:
        """A network on labels (N, L) and features (N, D); `groups` (N,) names patients."""
    def decision(self, features: _Singles) -> _Doubles:
        """Logits (N, L) of features (N, D)."""
    @staticmethod
    def platt(
        logits: _Doubles, labels: _Doubles, names: Sequence[str], policy: str
    ) -> _Doubles:
        """Platt's slope and offset of each label (L, 2), from logits and labels (N, L)."""
    def coefficients(self) -> tuple[_Doubles, _Doubles] | None:
        """Weights (L, D) and offsets (L,) for features as they come; `None` for a network."""
    @property
    def features(self) -> int:
        """How many features a row has."""
    @property
    def labels(self) -> int:
        """How many labels there are."""
    def save(self, folder: _Path, details: str) -> None:
        """Writes the probe to a folder, with details (JSON) in its card."""
    @staticmethod
    def load(folder: _Path) -> tuple[FittedProbe, str]:
        """Reads the probe of a folder and the text of its card (JSON)."""
    @staticmethod
    def from_bytes(bytes: bytes) -> FittedProbe:
        """Reads what pickling wrote."""
    def __reduce__(self) -> tuple[Callable[[bytes], FittedProbe], tuple[bytes]]: ...

# Metrics

def measure(
    name: str,
    y_true: _Doubles,
    y_score: _Doubles,
    *,
    policy: str = "ignore",
    threshold: float = 0.5,
    bins: int = 15,
) -> tuple[float, str | None]:
    """A measure of scores (N,) against truth (N,), and why it is NaN if it is."""
def measure_baseline(name: str, prevalence: float) -> float:
    """What a model without knowledge scores at this prevalence; NaN if arbitrary."""
def bootstrap_measure(
    name: str,
    y_true: _Doubles,
    y_score: _Doubles,
    groups: _Integers,
    *,
    policy: str = "ignore",
    threshold: float = 0.5,
    bins: int = 15,
    stratify: bool = False,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    watch: _Watch | None = None,
) -> list[tuple[float, float, float, int]]:
    """Value, low, high and skipped resamples of each column (N, L), then of their mean."""
def resample(groups: _Integers, seed: int, number: int) -> _Doubles:
    """How often each row (N,) is drawn in resample `number`: whole patients, with replacement."""
def find_threshold(
    kind: str,
    y_true: _Doubles,
    y_score: _Doubles,
    *,
    wish: float = 0.0,
    policy: str = "ignore",
) -> float:
    """A threshold: `youden`, or the one for a `sensitivity` or `specificity` of `wish`."""
def delong(
    y_true: _Doubles, y_score: _Doubles, *, policy: str = "ignore", level: float = 0.95
) -> tuple[float, float, float, float]:
    """AUROC, its variance, and the ends of its interval after `DeLong`."""
def delong_test(
    y_true: _Doubles, y_score_a: _Doubles, y_score_b: _Doubles, *, policy: str = "ignore"
) -> tuple[float, float, float, float]:
    """AUROCs of two scores of the same rows, the standardised difference and its p."""
def ndcg(grades: _Doubles, scores: _Doubles, pool: _Doubles, k: int, gain: str) -> float:
    """NDCG of one list at `k`, the ideal from `pool`; NaN when nothing is relevant."""
def hits_at(
    kind: str, grades: _Doubles, scores: _Doubles, k: int, relevant: int
) -> float:
    """`precision`, `recall` or `average_precision` at `k`, with `relevant` items in all."""
def mask_overlap(kind: str, a: _Bools, b: _Bools, empty: float) -> float:
    """`dice` or `iou` of two flat masks; `empty` when both are."""
def box_iou(a: _Doubles, b: _Doubles) -> _Doubles:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4): left, top, right, bottom."""

# Reports, questions, searches

_Changes: TypeAlias = list[tuple[str, str]]
_Corruption: TypeAlias = tuple[str, tuple[list[str], str, str, _Changes, str] | None, str]
_Claim: TypeAlias = tuple[str, bool | None, tuple[bool, bool], int | None]

def corruption_kinds() -> list[str]:
    """How reports can be made wrong."""
def plain_wordings() -> list[list[str]]:
    """The plainest sentences that state and that deny something."""
def corrupt_texts(
    texts: Sequence[str],
    kinds: Sequence[str | None],
    seed: int,
    watch: _Watch | None,
) -> list[_Corruption]:
    """Makes each text wrong in its kind; without one, in a kind drawn from those that fit."""
def corrupt_reports(
    dataset: Dataset,
    kinds: Sequence[str | None],
    seed: int,
    watch: _Watch | None,
) -> list[_Corruption]:
    """Makes each study's report wrong in its kind; labels and attributes say what is there."""
def read_judgement(answer: str) -> tuple[str | None, str]:
    """The kind that an answer names, if it can be read, and its correction."""
def corrects(wrong: str, correction: str, answer: str, report: str) -> bool:
    """Whether a correction makes of a wrong report what the report said before."""
def mend_report(
    report: str, kind: str, finding: str, left: bool | None, level: int | None
) -> str | None:
    """The answer to a report with an error of this kind about a finding, by beliefs."""
def report_claims(text: str) -> list[_Claim]:
    """What a report claims: finding, presence (None in doubt), sides (left, right), level."""
def report_phrases(
    name: str,
) -> tuple[list[tuple[str, bool | None, int | None]], str, bool]:
    """Sentences that state it (text, left or else right, level), its denial; a device?"""
def finding_name(label: str) -> str | None:
    """The name that the word lists give to a label, if they know it."""
def grade_answers(
    questions: Sequence[str],
    truths: Sequence[str],
    answers: Sequence[str],
    right: float,
    partly: float,
) -> list[float | None]:
    """Grades 1, ½ or 0 of answers; None where the truth is open."""
def query_sets() -> list[str]:
    """The names of the query sets compiled in."""
def query_set(name: str) -> list[str]:
    """The queries of a set, each as JSON."""
def grade_query(query: str, dataset: Dataset) -> tuple[_Doubles, bool]:
    """The grade of every study for a query, and whether attributes tell what it asks for."""

# The machine

def set_num_threads(threads: int) -> None:
    """Sets how many threads the CPU kernels use; must come before any work."""
def num_threads() -> int:
    """How many threads the CPU kernels use."""
def prepare_weights(prepare: bool) -> None:
    """Sets whether models in use keep a second copy of their weights, laid out for speed.

    On by default. The copy is made at the first use of each layer, is as large as the
    weights of its linear maps, and goes when the model is trained or dropped.
    """
def check_memory(check: bool) -> None:
    """Sets whether calls that would take more memory than there is fail before they start.

    On by default. What is predicted is what :meth:`carina.Model.plan` says; what there is, is
    what the system can free, within the limits of the process's control groups.
    """
def doctor_facts() -> dict[str, str]:
    """What `carina doctor` prints about the core: names and values as text."""
def decoder_sizes() -> list[str]:
    """The sizes that decoders can be created in."""

def graft(
    model: Model,
    decoder: Decoder,
    *,
    adapter_dim: int | None = None,
    lora: str | None = None,
    seed: int = 0,
) -> None:
    """Puts a copy of a decoder behind a model; `lora` is JSON."""

def merge_lora(model: Model) -> None:
    """Adds the low-rank updates to the weights of a model's decoder, and drops them."""

def ask(
    model: Model,
    dataset: Dataset,
    *,
    task: str,
    questions: Sequence[str],
    options: str,
    precision: str,
    batch_size: int,
    cached: str,
    watch: _Watch | None = None,
) -> tuple[list[tuple[str, float, bool] | None], _Failures]:
    """Writes an answer about every study; `options` are JSON."""

def prefer(
    model: Model,
    dataset: Dataset,
    *,
    task: str,
    questions: Sequence[str],
    options: Sequence[str],
    precision: str,
    batch_size: int,
    cached: str,
    watch: _Watch | None = None,
) -> tuple[list[list[float] | None], _Failures]:
    """How likely each of `options` is as the answer about every study."""

def plan_asking(
    model: Model,
    batch: int,
    *,
    tokens: int,
    options: str,
    size: Sequence[int] | None = None,
) -> str:
    """What asking will hold in memory, as JSON."""

def film_tasks() -> list[tuple[str, int]]:
    """The tasks that films can be asked for, and the usual limits of tokens."""
