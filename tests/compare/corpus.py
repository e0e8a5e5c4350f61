"""What becomes of every file of the corpus of real DICOM files: one row a file.

Run with the folder of the corpus, and where to write the table::

    python tests/compare/corpus.py ../shared/data/dicom tests/compare/results/corpus.csv

``result`` is "exact" (byte for byte the reference's stored values), "within 3" (lossy
JPEG, which no two decoders round alike: the extremes differ by three levels at most),
"beyond" (the reference cannot decode it, carina can), "no pixels" (a report, a plan, a
directory) or "refused", with the reason beside it.
"""

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import carina as ca
import numpy as np
from pydicom.pixels.processing import convert_color_space

COLUMNS = ["file", "syntax", "photometric", "bits", "result", "reason"]
LOSSY = ("JPEG Baseline", "JPEG Extended")


def compare(pixels: np.ndarray, row: dict[str, str]) -> str:
    """Return "exact", "within 3" (lossy JPEG only) or what differs."""
    wanted = np.dtype(row["dtype"])
    # The reference turns YBR_FULL to RGB; we hand out what is stored.
    if row["photo"].startswith("YBR_FULL"):
        pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
    shape = "x".join(map(str, pixels.shape))
    if shape != row["shape"] or pixels.dtype != wanted.newbyteorder("="):
        return f"{shape} {pixels.dtype}, expected {row['shape']} {wanted}"
    digest = hashlib.sha256(np.ascontiguousarray(pixels.astype(wanted)).tobytes())
    if digest.hexdigest()[:16] == row["pixel_sha256"]:
        return "exact"
    extremes = [float(pixels.min()), float(pixels.max())]
    apart = np.abs(np.subtract(extremes, [float(row["min"]), float(row["max"])])).max()
    if row["syntax"].startswith(LOSSY) and apart <= 3:
        return "within 3"
    return f"other pixels, {apart} apart at the extremes"


def judge(path: Path, row: dict[str, str]) -> tuple[str, str]:
    """Return the result of one file, and why it was refused."""
    try:
        pixels = ca.decode(path)
    except ca.CarinaError as error:
        reason = str(error).split(path.name, 1)[-1].lstrip(": ")
        return ("no pixels", "") if "no pixel data" in reason else ("refused", reason)
    return (compare(pixels, row) if row["decode"] == "ok" else "beyond"), ""


def table(root: Path) -> Iterator[dict[str, str]]:
    """Yield one row for each file that the corpus's index lists."""
    with (root / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            result, reason = judge(root / row["file"], row)
            stored, allocated = (row[k].removesuffix(".0") for k in ("stored", "alloc"))
            yield {
                "file": row["file"],
                "syntax": row["syntax"],
                "photometric": row["photo"],
                "bits": f"{stored}/{allocated}".strip("/"),
                "result": result,
                "reason": reason,
            }


def main() -> None:
    """Write the table and print how many files went which way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("table", type=Path)
    arguments = parser.parse_args()
    rows = list(table(arguments.corpus))
    with arguments.table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for result, count in Counter(row["result"] for row in rows).most_common():
        print(f"{count:4}  {result}")


if __name__ == "__main__":
    main()
