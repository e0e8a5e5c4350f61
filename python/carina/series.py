"""The series of slices in a folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from carina import _core
from carina._files import PathLike, named
from carina._progress import Bar
from carina.errors import CarinaError
from carina.volume import Volume
from carina.volume_reading import VolumeOptions


class Series:
    """Slices of one scan, found but not yet decoded; :meth:`read` makes the volume.

    Holds no names, identifiers or dates; `files` are for you to look at.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _core.Series) -> None:
        self._core = core

    @property
    def files(self) -> list[Path]:
        """The files of its slices, by name."""
        return self._core.files

    @property
    def modality(self) -> str:
        """DICOM modality."""
        return self._core.modality

    @property
    def localizer(self) -> bool:
        """Whether it is scout films that the scan was planned on."""
        return self._core.localizer

    @property
    def patient(self) -> int:
        """Which of the folder's patients it belongs to, counted from 0."""
        return self._core.patient

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Shape (slices, rows, columns), when the slices are a regular stack."""
        return self._core.shape

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Distance of slices, rows and columns in mm, for a regular stack."""
        return self._core.spacing

    @property
    def problem(self) -> str | None:
        """Why the slices are no regular stack, and which repair would help."""
        return self._core.problem

    def __len__(self) -> int:
        return len(self._core)

    def read(self, *, progress: bool | None = None, **options: Any) -> Volume:
        """Read the slices; options as for :func:`carina.read_volume`."""
        chosen = VolumeOptions("Series.read", options)
        with Bar("reading", show=progress, unit="slice") as bar:
            return chosen.told(self._core.read(chosen.core, bar))

    def __reduce__(self) -> tuple[Any, ...]:
        raise CarinaError(
            "a series is not pickled, for its files may change: pickle the volume that "
            "read() gives, or call read_series() where it is needed"
        )

    def __repr__(self) -> str:
        parts = [f"{len(self)} slices"]
        if self.modality:
            parts.append(self.modality)
        if self.localizer:
            parts.append("localizer")
        if self.shape is not None and self.spacing is not None:
            parts.append(" x ".join(map(str, self.shape)))
            parts.append(" x ".join(f"{step:.4g}" for step in self.spacing) + " mm")
        if self.problem is not None:
            parts.append(self.problem)
        return f"Series({', '.join(parts)})"


class SeriesList(Sequence[Series]):
    """The series of a folder, and what else was in it."""

    def __init__(
        self,
        series: list[Series],
        counts: Sequence[int],
        left_out: list[tuple[Path, str]],
    ) -> None:
        self._series = series
        self.files, self.not_dicom, self.without_pixels, self.patients = counts
        self.left_out = left_out

    @overload
    def __getitem__(self, index: int) -> Series: ...
    @overload
    def __getitem__(self, index: slice) -> list[Series]: ...
    def __getitem__(self, index: int | slice) -> Series | list[Series]:
        return self._series[index]

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series)

    def __repr__(self) -> str:
        people = "1 patient" if self.patients == 1 else f"{self.patients} patients"
        head = f"{len(self)} series of {people} in {self.files} files"
        counts = [
            (self.not_dicom, "not DICOM"),
            (self.without_pixels, "without pixels"),
            (len(self.left_out), "left out"),
        ]
        head += "".join(f", {count} {what}" for count, what in counts if count)
        lines = [f"  {index}: {one!r}" for index, one in enumerate(self)]
        return "\n".join([head, *lines])


def read_series(path: PathLike, *, progress: bool | None = None) -> SeriesList:
    """Find the series of DICOM slices in a folder and the folders below it.

    Nothing is decoded yet. Series are those that share a SeriesInstanceUID, with
    scout films apart; they come by their number, then by their first file.

    Parameters
    ----------
    path : path-like
        A folder, or a multi-frame file.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    SeriesList
        With the number of `files` looked at, of those `not_dicom` and
        `without_pixels`, of `patients`, and `left_out`: the images that cannot be
        slices, each with the reason.

    Raises
    ------
    MissingFileError, FileError
        If the folder cannot be opened.
    """
    folder = named("path", path)
    with Bar("looking", show=progress, unit="file") as bar:
        series, counts, left_out = _core.scan_folder(folder, bar)
    return SeriesList([Series(one) for one in series], counts, left_out)
