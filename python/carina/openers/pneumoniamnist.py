"""PneumoniaMNIST: small films of children, normal or pneumonia.

References
----------
Yang et al., MedMNIST v2, Scientific Data 10:41, 2023.
Kermany et al., Cell 172:1122-1131, 2018.
"""

from pathlib import Path

from carina.dataset import Dataset
from carina.manifest import from_rows
from carina.openers._table import arrays

NAME = "pneumoniamnist"
ABOUT = "28 x 28 films of children; pneumonia; CC BY 4.0"


def open_folder(folder: Path) -> Dataset:
    """Open the folder; patients are not known, so each film counts as one."""
    parts = ("train", "val", "test")
    names = [f"{part}_{what}" for part in parts for what in ("images", "labels")]
    data = arrays(folder / "pneumoniamnist.npz", names)
    rows = (
        [
            {
                "study": f"{part}-{number:05}",
                "patient": f"{part}-{number:05}",
                "image": image,
                "labels": {"pneumonia": int(label)},
                "split": part,
            }
            for number, (image, label) in enumerate(
                zip(data[f"{part}_images"], data[f"{part}_labels"][:, 0], strict=True)
            )
        ]
        for part in parts
    )
    return from_rows(rows, NAME)
