"""Films of Shenzhen and Montgomery: tuberculosis, lung masks, short readings.

A model may learn the hospital (``record["source"]``) in place of the disease. The
Shenzhen masks are for research only. Each film is another person.

References
----------
Jaeger et al., Quant Imaging Med Surg 4:475-477, 2014.
Candemir et al., IEEE TMI 33:577-590, 2014; masks of Shenzhen: Stirenko et al. 2018.
"""

from pathlib import Path

from carina.dataset import Dataset
from carina.manifest import from_rows
from carina.openers._table import table

NAME = "tb_lung_masks"
ABOUT = "512 x 512 films; tuberculosis, lung masks, readings, age, sex; NLM, citation"


def open_folder(folder: Path) -> Dataset:
    """Open the folder."""
    columns = ["id", "source", "tb", "has_mask", "split", "sex", "age", "reading"]
    rows = [
        {
            "study": row["id"],
            "patient": row["id"],
            "image": f"images/{row['id']}.jpg",
            "labels": {"tuberculosis": row["tb"]},
            "findings_text": row["reading"],
            "masks": [{"finding": "lungs", "path": f"masks/{row['id']}.png"}]
            if row["has_mask"] == "1"
            else None,
            "record": {key: row[key] for key in ("sex", "age", "source")},
            "split": row["split"],
        }
        for row in table(folder / "labels.csv", columns)
    ]
    return from_rows([rows], NAME, root=folder)
