"""Films of children aged one to five: normal, bacterial or viral pneumonia.

The children are those of PneumoniaMNIST. The patient is the number in the file's
name, which bacteria and virus share.

References
----------
Kermany et al., Cell 172:1122-1131, 2018; doi 10.17632/rscbjbr9sj.
"""

from pathlib import Path

from carina.dataset import Dataset
from carina.manifest import from_rows
from carina.openers._table import table

NAME = "kermany_224"
ABOUT = "224 x 224 films of children; pneumonia, bacteria, virus; CC BY 4.0"


def open_folder(folder: Path) -> Dataset:
    """Open the folder."""
    columns = ["path", "split", "label", "kind", "patient"]
    rows = [
        {
            "study": row["path"],
            "patient": row["patient"],
            "image": row["path"],
            "labels": {
                "pneumonia": int(row["label"] == "PNEUMONIA"),
                "bacteria": int(row["kind"] == "bacteria"),
                "virus": int(row["kind"] == "virus"),
            },
            "split": row["split"],
        }
        for row in table(folder / "labels.csv", columns)
    ]
    return from_rows([rows], NAME, root=folder)
