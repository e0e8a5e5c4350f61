"""Time to decode real DICOM films: carina beside pydicom, file by file, interleaved.

Run with the folder of the DICOM corpus and, optionally, where to write JSON::

    python tests/compare/decode.py ../shared/data/dicom decode.json
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
import pydicom

FILES = [
    "pydicom-wheel/CT_small.dcm",
    "pylibjpeg-data/ds/JPEG2000Lossless/966_fixed.dcm",
    "dicom-test-files/WG04/RLE/RG3_RLE",
    "dicom-test-files/WG04/JPLL/RG3_JPLL",
    "dicom-test-files/WG04/JLSL/RG3_JLSL",
    "dicom-test-files/WG04/J2KR/XA1_J2KR",
    "dicom-test-files/WG04/RLE/XA1_RLE",
    "dicom-test-files/WG04/JPLL/CT1_JPLL",
]


def best(act: Callable[[], Any], seconds: float) -> float:
    """Return the milliseconds of one call."""
    start = time.perf_counter()
    act()
    return min(seconds, time.perf_counter() - start)


def compare(path: Path, rounds: int) -> dict[str, Any] | None:
    """Time both readers in turns and check that they agree."""
    try:
        theirs = pydicom.dcmread(path).pixel_array
    except RuntimeError as error:
        print(f"{path.name}: left out, no pydicom plugin here: {error!s:.60}")
        return None
    if not np.array_equal(ca.decode(path), theirs):
        raise SystemExit(f"{path}: the two readers disagree")
    ours_ms = theirs_ms = film_ms = float("inf")
    for _ in range(rounds):
        theirs_ms = best(lambda: pydicom.dcmread(path).pixel_array, theirs_ms)
        ours_ms = best(lambda: ca.decode(path), ours_ms)
        film_ms = best(lambda: ca.read(path), film_ms)
    return {
        "file": path.name,
        "shape": list(theirs.shape),
        "pydicom_ms": theirs_ms * 1e3,
        "carina_ms": ours_ms * 1e3,
        "carina_film_ms": film_ms * 1e3,
        "ratio": theirs_ms / ours_ms,
    }


def plain_copy(path: Path, folder: Path) -> Path:
    """Write an uncompressed copy of a film."""
    dataset = pydicom.dcmread(path)
    dataset.decompress()
    target = folder / f"{path.stem}_plain.dcm"
    dataset.save_as(target)
    return target


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("json", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [asked.corpus / name for name in FILES]
        paths.append(plain_copy(paths[1], Path(folder)))
        found = [compare(path, asked.rounds) for path in paths]
    rows = [row for row in found if row is not None]
    print(f"{'file':22} {'shape':>14} {'pydicom':>9} {'carina':>9} {'film':>9} ratio")
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        print(
            f"{row['file']:22} {shape:>14} {row['pydicom_ms']:6.1f} ms "
            f"{row['carina_ms']:6.1f} ms {row['carina_film_ms']:6.1f} ms "
            f"{row['ratio']:5.2f}"
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
