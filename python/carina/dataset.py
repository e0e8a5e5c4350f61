"""Data sets: studies cut by patient, joined, shown, and loaded in the core."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._arrays import chosen, place
from carina._files import PathLike
from carina._gallery import Gallery, prevalence
from carina._progress import Bar
from carina.batch import Batch, RowError, read_batches
from carina.image import Image
from carina.metrics import Policy
from carina.recipe import Recipe
from carina.study import Study


class Dataset:
    """Studies that share one list of findings.

    Made by :func:`carina.open_dataset`, :func:`carina.open_public` and
    :func:`carina.phantom`. Parts share their studies, so cutting is cheap; films
    are read when they are needed.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Dataset) -> None:
        self._core = core

    def __len__(self) -> int:
        return len(self._core)

    def __iter__(self) -> Iterator[Study]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice | ArrayLike) -> "Dataset": ...
    def __getitem__(self, index: Any) -> "Study | Dataset":
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            at = place(int(index), len(self))
            return Study(
                self._core.study(at), self.findings, partial(self._select, [at])
            )
        if isinstance(index, slice):
            return self._select(range(*index.indices(len(self))))
        return self._select(chosen(index, len(self), lambda: self._core.ids))

    def _select(self, indices: Any) -> "Dataset":
        return Dataset(self._core.select([int(i) for i in indices]))

    @property
    def findings(self) -> list[str]:
        """What the columns of :attr:`labels` mean."""
        return self._core.findings

    @property
    def labels(self) -> NDArray[np.float32]:
        """Labels (studies, findings) as stored: 1, 0, -1 uncertain, NaN unknown."""
        return self._core.labels()

    def targets(self, uncertain: Policy = "ignore") -> NDArray[np.float32]:
        """Return labels to learn from and score by.

        Parameters
        ----------
        uncertain : {"ignore", "zeros", "ones"}
            What -1 becomes: NaN, which losses and metrics leave out, 0 or 1.

        Returns
        -------
        ndarray of shape (studies, findings), float32
            1, 0 or NaN.
        """
        return self._core.targets(uncertain)

    @property
    def patients(self) -> NDArray[np.str_]:
        """Patient ids, for clustering; shape (studies,)."""
        return np.array(self._core.patients, dtype=np.str_)

    @property
    def ids(self) -> NDArray[np.str_]:
        """Study ids; shape (studies,)."""
        return np.array(self._core.ids, dtype=np.str_)

    @property
    def splits(self) -> NDArray[np.str_]:
        """The part that each study belongs to, or empty; shape (studies,)."""
        return np.array(self._core.splits, dtype=np.str_)

    @property
    def reports(self) -> list[str]:
        """Findings and impression of each study, joined."""
        return self._core.reports

    @property
    def records(self) -> list[dict[str, float | str]]:
        """The clinical record of each study."""
        return self._core.records()

    def filter(self, keep: Callable[[Study], bool]) -> "Dataset":
        """Return the studies for which `keep` is true."""
        return self._select([i for i, study in enumerate(self) if keep(study)])

    @overload
    def split(
        self, fractions: Mapping[str, float], *, by: str = ..., seed: int = ...
    ) -> "dict[str, Dataset]": ...
    @overload
    def split(
        self, fractions: Sequence[float] = ..., *, by: str = ..., seed: int = ...
    ) -> "tuple[Dataset, ...]": ...
    def split(
        self,
        fractions: Mapping[str, float] | Sequence[float] = (0.8, 0.1, 0.1),
        *,
        by: str = "patient",
        seed: int = 0,
    ) -> "dict[str, Dataset] | tuple[Dataset, ...]":
        """Cut the data set into parts that share no patient.

        Parameters
        ----------
        fractions : sequence or mapping of float
            Parts of the patients, adding up to 1; a mapping gives them names.
        by : {"patient", "study"}
            What stays together. ``"study"`` is for sets where every study is
            known to be another patient.
        seed : int
            Decides who goes where, whatever the order of the manifest.

        Returns
        -------
        tuple or dict of Dataset
            As `fractions` was given.

        Raises
        ------
        InvalidValueError
            If the fractions do not add up to 1 or leave a part empty.
        """
        named = isinstance(fractions, Mapping)
        pairs = (
            [(str(name), float(part)) for name, part in fractions.items()]
            if isinstance(fractions, Mapping)
            else [(str(number), float(part)) for number, part in enumerate(fractions)]
        )
        parts = self._core.split(by, pairs, seed)
        if named:
            return {name: Dataset(part) for name, part in parts}
        return tuple(Dataset(part) for _, part in parts)

    def split_named(self, name: str) -> "Dataset":
        """Return the studies that the manifest puts into the part `name`."""
        return Dataset(self._core.split_named(name))

    def check_disjoint(self, *others: "Dataset") -> None:
        """Raise InvalidValueError when a patient is also in one of `others`."""
        parts = [(str(i), part._core) for i, part in enumerate((self, *others))]
        _core.check_disjoint(parts)

    def with_findings(
        self, findings: Sequence[str] | Mapping[str, str | None]
    ) -> "Dataset":
        """Return the same studies under other findings, to align label spaces.

        Parameters
        ----------
        findings : sequence of str, or mapping of new name to present name
            A finding that this set does not have is NaN in every study.
        """
        pairs = (
            list(findings.items())
            if isinstance(findings, Mapping)
            else [(name, name) for name in findings]
        )
        return Dataset(self._core.with_findings(pairs))

    def with_reports(self, reports: Sequence[str]) -> "Dataset":
        """Return the same studies with other reports.

        Parameters
        ----------
        reports : sequence of str
            One text for each study: ``FINDINGS:`` and the like begin a section, a text
            without them is findings, an empty one is no report.
        """
        return Dataset(self._core.with_reports(list(reports)))

    @staticmethod
    def concat(
        parts: "Sequence[Dataset]", *, names: Sequence[str] | None = None
    ) -> "Dataset":
        """Join data sets that share their findings.

        Parameters
        ----------
        parts : sequence of Dataset
        names : sequence of str, optional
            Put before the ids (``"nih/17"``), so that patient 17 of one source is
            not taken for patient 17 of another.

        Raises
        ------
        InvalidValueError
            If findings differ (align them with :meth:`with_findings`) or a study
            id comes twice.
        """
        core = _core.Dataset.concat(
            [part._core for part in parts], None if names is None else list(names)
        )
        return Dataset(core)

    def to_manifest(self, path: PathLike, *, progress: bool | None = None) -> None:
        """Write the data set as JSON Lines.

        Paths below the manifest's folder become relative to it. Films in memory
        are written as 16-bit PNG in a folder beside it, their display range (or
        extremes) spread over all levels; their spacing and units are not kept.

        Parameters
        ----------
        path : path-like
            Where to write; the manifest is either whole or absent.
        progress : bool, optional
            Whether to show a bar; in notebooks and terminals by default.
        """
        with Bar("writing", show=progress, unit="study") as bar:
            self._core.write(Path(path), bar)

    def write_dicom(
        self,
        folder: PathLike,
        *,
        syntax: str = "explicit",
        progress: bool | None = None,
    ) -> list[Path]:
        """Write phantoms as DX images and CT series, with identifiers that say so.

        `syntax` is ``explicit``, ``implicit``, ``big_endian``, ``deflated``, ``rle``,
        ``jpeg_lossless`` or ``jpeg_ls``. Gives the files, each study's in a folder.
        """
        with Bar("writing", show=progress, unit="study") as bar:
            return self._core.write_dicom(Path(folder), syntax, bar)

    def to_frame(self) -> Any:
        """Return ids, splits, reports, labels and record as a pandas DataFrame."""
        import pandas as pd

        frame = pd.DataFrame(
            {"study": self.ids, "patient": self.patients, "split": self.splits}
        )
        frame["report"] = self.reports
        labels = pd.DataFrame(self.labels, columns=self.findings)
        record = pd.DataFrame(self.records).add_prefix("record.")
        return pd.concat([frame, labels, record], axis=1)

    def tensors(
        self,
        recipe: Recipe,
        *,
        cache: PathLike | None = None,
        workers: int = 0,
        progress: bool | None = None,
    ) -> tuple[NDArray[np.float32], list[RowError]]:
        """Prepare the first film of every study.

        Parameters
        ----------
        recipe : Recipe
            The steps from film to tensor; the shape must not depend on the film.
        cache : path-like, optional
            A folder that keeps prepared films, by content and recipe.
        workers : int
            Threads; 0 takes one for each processor.
        progress : bool, optional
            Whether to show a bar; in notebooks and terminals by default.

        Returns
        -------
        pixels : ndarray of shape (studies, C, H, W), float32
            NaN where a film failed.
        failures : list of RowError

        Raises
        ------
        InvalidValueError
            If every film fails, or the array does not fit into memory.
        """
        with Bar("preparing", show=progress, unit="film") as bar:
            pixels, failed = self._core.tensors(recipe._core, cache, workers, bar)
        return pixels, [RowError(*row) for row in failed]

    def batches(
        self,
        recipe: Recipe,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: bool = False,
        random_film: bool = False,
        cache: PathLike | None = None,
        workers: int = 0,
    ) -> Iterator[Batch]:
        """Load one epoch in batches, read ahead on threads of the core.

        The order, the augmentation and the choice of film depend on `seed` and
        `epoch` only, never on the number of threads.

        Parameters
        ----------
        recipe : Recipe
            The steps from film to tensor.
        batch_size : int
        shuffle : bool
            Whether the epoch has an order of its own.
        drop_last : bool
            Whether a last batch that is not full is left out.
        seed, epoch : int
            What the random choices depend on.
        start : int
            The batch to begin with, to resume an epoch.
        augment : bool
            Whether to move, relight and blur films at random; sides are kept.
        random_film : bool
            Whether one of a study's films is drawn, in place of the first.
        cache : path-like, optional
            A folder that keeps prepared films, by content and recipe.
        workers : int
            Threads; 0 takes one for each processor.

        Yields
        ------
        Batch
            A film that cannot be read is a failure of its batch, and no more.
        """
        epoch_ = self._core.batches(
            recipe._core,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            epoch=epoch,
            start=start,
            augment=_core.film_augmentation() if augment else None,
            random_film=random_film,
            cache=cache,
            workers=workers,
        )
        return read_batches(epoch_)

    def show(self, n: int = 8, *, columns: int = 4) -> "Gallery":
        """Show the first `n` films with boxes and findings, without ids.

        Returns
        -------
        Gallery
            Static HTML, which stays in a saved notebook.
        """
        return Gallery([self[i] for i in range(min(n, len(self)))], columns)

    def __repr__(self) -> str:
        return (
            f"Dataset({len(self):,} studies, {self._core.patient_count:,} patients, "
            f"{len(self.findings)} findings)"
        )

    def _repr_html_(self) -> str:
        return prevalence(repr(self), self.findings, self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        rows, order, images, masks = self._core.rows()
        films = [Image(image) for image in images]
        return _rebuild, (self.findings, rows, order, films, masks)


def _rebuild(
    findings: list[str],
    rows: list[str],
    order: list[int],
    films: list[Image],
    masks: list[NDArray[np.bool_]],
) -> Dataset:
    if not rows:
        return Dataset(_core.Dataset.empty(findings))
    builder = _core.ManifestBuilder("rows", Path(), findings, {})
    builder.push(0, rows, [film._core for film in films], masks)
    return Dataset(builder.finish().select(order))
