"""Small frontal films of ChestX-ray14 with fourteen findings, age, sex and view.

Labels were mined from reports and are noisy. Pneumonia is confounded with
``record["source"]``: report it apart.

References
----------
Wang et al., ChestX-ray8, CVPR 2017; provided by the NIH Clinical Center.
"""

from pathlib import Path

from carina.dataset import Dataset
from carina.errors import FormatError
from carina.manifest import from_rows
from carina.openers._table import NIH_COLUMNS, NIH_FINDINGS, arrays, nih_row, table

NAME = "nih14_64"
ABOUT = "64 x 64 films; 14 findings, age, sex, view; NIH, attribution"


def open_folder(folder: Path) -> Dataset:
    """Open the folder."""
    path = folder / "nih14_64.npz"
    data = arrays(path, ["images", "names"])
    rows = list(table(folder / "labels.csv", ["Image Index", "src", *NIH_COLUMNS]))
    if [row["Image Index"] for row in rows] != data["names"].tolist():
        raise FormatError(f"{path}: expected the images of labels.csv in its order")
    studies = [
        {
            "study": row["Image Index"],
            "image": image,
            "record.source": row["src"],
            **nih_row(row),
        }
        for row, image in zip(rows, data["images"], strict=True)
    ]
    return from_rows([studies], NAME, findings=NIH_FINDINGS)
