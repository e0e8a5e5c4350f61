"""One visit of one patient: films, words, truth and record."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._gallery import caption, picture
from carina.image import Image


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


@dataclass(frozen=True)
class Question:
    """A question about a study, with its answer."""

    question: str
    answer: str
    form: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Mask:
    """The exact extent of a finding or structure on the first film."""

    finding: str
    _study: _core.Study = field(repr=False, compare=False)
    _index: int = field(repr=False, compare=False)

    def to_numpy(self) -> NDArray[np.bool_]:
        """Read the mask.

        Returns
        -------
        ndarray of shape (rows, columns), bool
            True where the finding is.
        """
        return self._study.mask(self._index)


class Films(Sequence[Image]):
    """The films of a study, the frontal one first; each is read when asked for."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Study) -> None:
        self._core = core

    def __len__(self) -> int:
        return self._core.film_count

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return Image(self._core.film(range(len(self))[index]))

    def __iter__(self) -> Iterator[Image]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Films({len(self)})"


class Study:
    """One visit of one patient. Absent truth is empty, never guessed.

    Made by :class:`carina.Dataset`. The ids are attributes, and stand in no repr.
    """

    __slots__ = ("_core", "_findings")

    def __init__(self, core: _core.Study, findings: Sequence[str]) -> None:
        self._core = core
        self._findings = findings

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
        return Films(self._core)

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
        """Masks on the first film; each is read when asked for."""
        names = self._core.mask_findings
        return [Mask(name, self._core, i) for i, name in enumerate(names)]

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
        facts = [
            (True, f"{count} film{'s' if count != 1 else ''}"),
            (bool(labels), f"{sum(v == 1 for v in labels)} of {len(labels)} findings"),
            (words > 0, f"report of {words} words"),
            (bool(self._core.boxes), f"{len(self._core.boxes)} boxes"),
            (bool(self._core.mask_findings), f"{len(self._core.mask_findings)} masks"),
            (bool(self._core.questions), f"{len(self._core.questions)} questions"),
            (bool(self._core.record()), f"{len(self._core.record())} record fields"),
        ]
        return [text for there, text in facts if there]
