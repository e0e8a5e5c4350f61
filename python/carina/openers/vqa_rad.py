"""VQA-RAD: questions of clinicians about radiological images, with answers.

A study is an image with all its questions. The parts go by image, since patients
are not known; scores on them are not the published benchmark.

References
----------
Lau et al., Scientific Data 5:180251, 2018; images from MedPix.
"""

from pathlib import Path
from typing import Any

from carina.dataset import Dataset
from carina.manifest import from_rows
from carina.openers._table import table

NAME = "vqa_rad"
ABOUT = "images of chest, abdomen and head; 1513 questions with answers; CC0"


def open_folder(folder: Path) -> Dataset:
    """Open the folder."""
    columns = [
        "image_name",
        "image_organ",
        "question",
        "question_type",
        "answer",
        "answer_type",
        "split",
    ]
    studies: dict[str, dict[str, Any]] = {}
    for row in table(folder / "questions.csv", columns):
        name = row["image_name"]
        study = studies.setdefault(
            name,
            {
                "study": name,
                "patient": name,
                "image": f"images/{name}",
                "questions": [],
                "record.organ": row["image_organ"],
                "split": row["split"],
            },
        )
        study["questions"].append(
            {
                "question": row["question"].strip(),
                "answer": row["answer"].strip(),
                "form": row["answer_type"].strip().lower(),
                "topic": row["question_type"].strip(),
            }
        )
    return from_rows([list(studies.values())], NAME, root=folder)
