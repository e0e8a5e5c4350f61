"""Studies as static HTML, with boxes and findings and without ids."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carina.rendering.overlays import MOST_BOXES

if TYPE_CHECKING:
    from carina.study import Study


def picture(study: "Study", side: int) -> str:
    """Return the first film with its boxes, or the middle of the first volume."""
    try:
        if len(study.images) or not len(study.volumes):
            frames = {"finding": [box.corners for box in study.boxes[:MOST_BOXES]]}
            boxes = frames if study.boxes else None
            return study.images[0].show(side=side, boxes=boxes).thumbnail()
        # From the front, as the films beside it are.
        scan = study.volumes[0].montage(1, plane="coronal", side=side)
        return scan.thumbnail()
    except Exception as error:  # a gallery with one bad file is still shown
        kind = html.escape(type(error).__name__)
        return f"<div style='width:{side}px'>cannot be read: {kind}</div>"


def caption(study: "Study") -> str:
    """Return the present and uncertain findings as HTML, without ids."""
    labels = study.labels
    present = [name for name, value in labels.items() if value == 1]
    unsure = [f"{name}?" for name, value in labels.items() if value == -1]
    if labels and not present and not unsure:
        return "no finding"
    return html.escape(", ".join(present + unsure))


def prevalence(title: str, findings: Sequence[str], labels: NDArray[np.float32]) -> str:
    """Return how often each finding is present, as an HTML table."""
    rows = ""
    for finding, values in zip(findings, labels.T, strict=True):
        counts = [int((values == v).sum()) for v in (1, 0, -1)]
        counts.append(int(np.isnan(values).sum()))
        known = counts[0] + counts[1]
        share = f"{counts[0] / known:.1%}" if known else ""
        cells = "".join(f"<td>{count:,}</td>" for count in counts)
        rows += f"<tr><th>{html.escape(finding)}</th>{cells}<td>{share}</td></tr>"
    names = ("", "present", "absent", "uncertain", "unknown", "prevalence")
    head = "".join(f"<th>{name}</th>" for name in names)
    table = f"<table><tr>{head}</tr>{rows}</table>" if rows else ""
    return f"<div>{html.escape(title)}{table}</div>"


class Gallery:
    """Studies side by side, as static HTML."""

    def __init__(self, studies: "Sequence[Study]", columns: int) -> None:
        self._studies = studies
        self._columns = max(1, columns)

    def __repr__(self) -> str:
        return f"Gallery({len(self._studies)} films)"

    def _repr_html_(self) -> str:
        # A table, because code hosts strip styles: a grid would become one column.
        cells = [
            "<td style='vertical-align:top;text-align:left;width:160px'>"
            f"{picture(study, 160)}<br>{caption(study)}</td>"
            for study in self._studies
        ]
        rows = "".join(
            f"<tr>{''.join(cells[start : start + self._columns])}</tr>"
            for start in range(0, len(cells), self._columns)
        )
        return f"<table>{rows}</table>"
