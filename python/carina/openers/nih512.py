"""Frontal films of ChestX-ray14 at 512 pixels with findings and some boxes.

Half of the films are Pneumonia and half No Finding, from different stretches of
patient numbers: good scores may be acquisition, not disease.

References
----------
Wang et al., ChestX-ray8, CVPR 2017; provided by the NIH Clinical Center.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from carina.dataset import Dataset
from carina.manifest import from_rows
from carina.openers._table import NIH_COLUMNS, NIH_FINDINGS, nih_row, table

NAME = "nih512"
ABOUT = "512 x 512 films; 14 findings, age, sex, view, 36 boxes; NIH, attribution"


def open_folder(folder: Path) -> Dataset:
    """Open the folder."""
    boxes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table(folder / "boxes.csv", ["image", "label", "x", "y", "w", "h"]):
        x, y, w, h = (float(row[side]) for side in "xywh")
        # The table of boxes has its own word for this one finding.
        finding = row["label"].replace("Infiltrate", "Infiltration")
        boxes[row["image"]].append(
            {"finding": finding, "corners": [x, y, x + w, y + h]}
        )
    studies = [
        {
            "study": row["file"],
            "image": f"images/{row['file']}",
            "boxes": boxes[row["file"]],
            **nih_row(row),
        }
        for row in table(folder / "labels.csv", ["file", *NIH_COLUMNS])
    ]
    return from_rows([studies], NAME, root=folder, findings=NIH_FINDINGS)
