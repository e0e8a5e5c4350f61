"""One visit of one patient: films, words, truth and record."""

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import getitem
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._gallery import caption, picture
from carina.errors import InvalidValueError
from carina.image import Image
from carina.volume import Volume


@dataclass(frozen=True)
class Report:
    """The sections of a report; a section that is not there is empty."""

    indication: str = ""
    findings: str = ""
    impression: str = ""

    @property
    def text(self) -> str:
        """Findings and impression, joined."""
        filled = (s.strip() for s in (self.findings, self.impression) if s.strip())
        return " ".join(filled)

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return bool(self.text)


@dataclass(frozen=True)
class Box:
    """A box around a finding: x0, y0, x1, y1 in pixels of the original film."""

    finding: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Attributes:
    """A finding said more closely; what is not said is empty."""

    finding: str
    side: str = ""
    zone: str = ""
    severity: str = ""
    attenuation: str = ""
    margin: str = ""


@dataclass(frozen=True)
class FollowUp:
    """What came after a visit, as far as it is known.

    Attributes
    ----------
    outcome : str
        What was looked for, as ``"lung cancer"``.
    years : float
        From the visit to the event, or to the last time that there was none.
    event : bool
        Whether it came.
    """

    outcome: str
    years: float
    event: bool
    _targets: Callable[[int], tuple[list[bool], list[bool]]] = field(
        repr=False, compare=False
    )

    def targets(
        self, horizon: int = 6
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return labels of yearly risk.

        Parameters
        ----------
        horizon : int
            Number of years, at least 1.

        Returns
        -------
        y : ndarray of shape (horizon,), float32
            1 where the event came within 1, 2, … years.
        mask : ndarray of shape (horizon,), float32
            1 where that is known: all years after an event, else those lived through.

        Raises
        ------
        InvalidValueError
            If `horizon` is not 1 to 100.
        """
        if not 1 <= horizon <= 100:
            raise InvalidValueError(f"horizon: found {horizon}, expected 1 to 100")
        y, mask = self._targets(horizon)
        return np.array(y, np.float32), np.array(mask, np.float32)


@dataclass(frozen=True)
class Question:
    """A question about a study, with its answer."""

    question: str
    answer: str
    form: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Mask:
    """The exact extent of a finding or structure on the first film or volume."""

    finding: str
    _study: "Study" = field(repr=False, compare=False)
    _index: int = field(repr=False, compare=False)
    _volume: bool = field(default=False, repr=False, compare=False)

    def to_numpy(self) -> NDArray[np.bool_]:
        """Read the mask.

        Returns
        -------
        ndarray of shape (rows, columns), or (z, y, x) of a volume, bool
            True where the finding is.
        """
        if self._volume:
            return self._study._core.scan_mask(self._index)
        return self._study._core.mask(self._index)


class Films(Sequence[Image]):
    """The films of a study, the frontal one first; each is read when asked for."""

    __slots__ = ("_study",)

    def __init__(self, study: "Study") -> None:
        self._study = study

    def __len__(self) -> int:
        return self._study._core.film_count

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Image(self._study._core.film(range(len(self))[index]))

    def __iter__(self) -> Iterator[Image]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Films({len(self)})"


class Volumes(Sequence[Volume]):
    """The volumes of a study; each is rendered when asked for."""

    __slots__ = ("_study",)

    def __init__(self, study: "Study") -> None:
        self._study = study

    def __len__(self) -> int:
        return self._study._core.scan_count

    @overload
    def __getitem__(self, index: int) -> Volume: ...
    @overload
    def __getitem__(self, index: slice) -> list[Volume]: ...
    def __getitem__(self, index: int | slice) -> Volume | list[Volume]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        _, spacing, origin = self._study._core.scan_grid(place)
        voxels = self._study._core.scan(place)
        return Volume.from_array(voxels, spacing=spacing, origin=origin, modality="CT")

    def __iter__(self) -> Iterator[Volume]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Volumes({len(self)})"


class Study:
    """One visit of one patient. Absent truth is empty, never guessed.

    Made by :class:`carina.Dataset`. The ids are attributes, and stand in no repr.
    """

    __slots__ = ("_alone", "_core", "_findings")

    def __init__(
        self,
        core: _core.Study,
        findings: Sequence[str],
        alone: Callable[[], Any],
    ) -> None:
        self._core = core
        self._findings = findings
        self._alone = alone  # the data set of this study only, which can be pickled

    @property
    def id(self) -> str:
        """The study's id."""
        return self._core.id

    @property
    def patient(self) -> str:
        """The patient's id: what splits and intervals go by."""
        return self._core.patient

    @property
    def split(self) -> str:
        """The part of the data set that the study belongs to, or empty."""
        return self._core.split

    @property
    def images(self) -> Films:
        """The films, the frontal one first; each is read when asked for."""
        return Films(self)

    @property
    def volumes(self) -> Volumes:
        """The volumes; each is rendered when asked for."""
        return Volumes(self)

    @property
    def labels(self) -> dict[str, float]:
        """Finding to 1 present, 0 absent, -1 uncertain or NaN unknown."""
        return dict(zip(self._findings, self._core.labels, strict=True))

    @property
    def report(self) -> Report:
        """The report."""
        return Report(*self._core.report)

    @property
    def boxes(self) -> list[Box]:
        """Boxes on the first film."""
        return [
            Box(finding, (x0, y0, x1, y1))
            for finding, (x0, y0, x1, y1) in self._core.boxes
        ]

    @property
    def masks(self) -> list[Mask]:
        """Masks on the first film, then on the first volume; read when asked for."""
        flat, deep = self._core.mask_findings, self._core.scan_mask_names
        return [
            *(Mask(name, self, i) for i, name in enumerate(flat)),
            *(Mask(name, self, i, True) for i, name in enumerate(deep)),
        ]

    @property
    def attributes(self) -> list[Attributes]:
        """Findings said more closely."""
        return [Attributes(*fields) for fields in self._core.attributes]

    @property
    def questions(self) -> list[Question]:
        """Questions with their answers."""
        return [Question(*fields) for fields in self._core.questions]

    @property
    def record(self) -> dict[str, float | str]:
        """The clinical record; what is missing is absent."""
        return self._core.record()

    @property
    def follow_up(self) -> list[FollowUp]:
        """What came after the visit: one for each outcome that was looked for."""
        return [
            FollowUp(outcome, years, event, partial(_targets, self, i))
            for i, (outcome, years, event) in enumerate(self._core.follow_up)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        return getitem, (self._alone(), 0)

    def __repr__(self) -> str:
        return f"Study({', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        return (
            f"<figure style='display:inline-block'>{picture(self, 320)}"
            f"<figcaption>{html.escape(', '.join(self._facts()))}<br>"
            f"{caption(self)}</figcaption></figure>"
        )

    def _facts(self) -> list[str]:
        count = self._core.film_count
        labels = self._core.labels
        words = len(self.report.text.split())
        volumes = self._core.scan_count
        facts = [
            (volumes > 0, f"{volumes} volume{'s' if volumes != 1 else ''}"),
            (count > 0 or not volumes, f"{count} film{'s' if count != 1 else ''}"),
            (bool(labels), f"{sum(v == 1 for v in labels)} of {len(labels)} findings"),
            (words > 0, f"report of {words} words"),
            (bool(self._core.boxes), f"{len(self._core.boxes)} boxes"),
            (bool(self._core.mask_findings), f"{len(self._core.mask_findings)} masks"),
            (bool(self._core.questions), f"{len(self._core.questions)} questions"),
            (bool(self._core.record()), f"{len(self._core.record())} record fields"),
        ]
        return [text for there, text in facts if there]


def _targets(study: Study, index: int, horizon: int) -> tuple[list[bool], list[bool]]:
    """Call what can be pickled in place of a method of the core."""
    return study._core.follow_up_targets(index, horizon)
