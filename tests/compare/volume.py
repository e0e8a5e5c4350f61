"""Time to read CT volumes: carina beside pydicom and nibabel, interleaved.

The series is made here, of noise with the grain of a CT, so it needs no data::

    python tests/compare/volume.py --threads 1
    python tests/compare/volume.py --threads 2 --json volume.json
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import carina as ca
import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless


def scan(slices: int, side: int) -> np.ndarray:
    """Draw a round body with noise, in HU."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = np.where(x**2 + y**2 < 0.7, 40, -1000)
    hu = body + rng.normal(0, 12, (slices, side, side))
    return hu.round().clip(-1024, 3071).astype(np.int16)


def write_series(hu: np.ndarray, folder: Path, syntax: str) -> None:
    """Write a series whose names say nothing of its order."""
    for z, plane in enumerate(hu):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        ds.SOPInstanceUID, ds.SeriesInstanceUID = f"1.2.{z + 1}", "1.2"
        ds.Modality, ds.SliceThickness = "CT", 1.0
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [0, 0, float(z)]
        ds.PixelSpacing = [0.7, 0.7]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = 1
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelData = (plane + 1024).astype("<i2").tobytes()
        ds["PixelData"].VR = "OW"
        if syntax != ExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        name = folder / f"{z * 7919 % 10007:05d}"
        ds.save_as(name, enforce_file_format=True)


def by_pydicom(folder: Path) -> np.ndarray:
    """Read a series as the usual loop does."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.stack(
        [
            ds.pixel_array.astype(np.float32) * np.float32(ds.RescaleSlope)
            + np.float32(ds.RescaleIntercept)
            for ds in slices
        ]
    )


def by_nibabel(path: Path) -> np.ndarray:
    """Read a NIfTI file as float32."""
    return nib.load(path).get_fdata(dtype=np.float32)


def seconds(act: Callable[[Path], Any], path: Path) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    act(path)
    return time.perf_counter() - start


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    ca.set_num_threads(asked.threads)
    hu = scan(asked.slices, asked.side)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cases: list[tuple[str, Path, Callable[[Path], np.ndarray], str]] = []
        for label, syntax in [("plain", ExplicitVRLittleEndian), ("RLE", RLELossless)]:
            folder = root / label
            folder.mkdir()
            write_series(hu, folder, syntax)
            cases.append((f"DICOM, {label}", folder, by_pydicom, "pydicom"))
        ca.read(root / "plain").save(root / "a.nii")
        ca.read(root / "plain").save(root / "a.nii.gz")
        for path in (root / "a.nii", root / "a.nii.gz"):
            cases.append((path.name, path, by_nibabel, "nibabel"))
        for label, path, theirs, other in cases:
            agree = theirs(path)
            agree = agree.T if other == "nibabel" else agree
            if not np.array_equal(ca.read(path).to_numpy(), agree):
                raise SystemExit(f"{label}: the two readers disagree")
            pairs = [
                (seconds(ca.read, path), seconds(theirs, path))
                for _ in range(asked.rounds)
            ]
            columns = zip(*pairs, strict=True)
            ours, their = (statistics.median(column) for column in columns)
            ratio = statistics.median(b / a for a, b in pairs)
            rows.append(
                {
                    "what": label,
                    "shape": list(hu.shape),
                    "threads": asked.threads,
                    "carina_s": ours,
                    f"{other}_s": their,
                    "ratio": ratio,
                }
            )
            print(
                f"{label:14} {asked.threads} threads  carina {ours:7.3f} s  "
                f"{other} {their:7.3f} s  ratio {ratio:5.2f}"
            )
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
