"""Boxes and masks of the lungs against a learnt model's, beside a trivial baseline.

The only labelled CT at hand shows the bases of the lungs (ct_totalseg; its labels
are a model's output). The baseline takes all that is darker than -400 HU and off
the border of the volume, and cuts it at the middle::

    python tests/compare/organs.py ../shared/data/ct_totalseg
"""

import argparse
from pathlib import Path

import carina as ca
import numpy as np

LOBES = {"left_lung": (10, 11), "right_lung": (12, 13, 14)}


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return twice the overlap over the sum."""
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def box(mask: np.ndarray) -> np.ndarray:
    """Return z0, y0, x0, z1, y1, x1 around a mask."""
    at = np.argwhere(mask)
    if not len(at):
        return np.zeros(6)
    return np.concatenate([at.min(0), at.max(0) + 1])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the overlap of two boxes over their union."""
    low, high = np.maximum(one[:3], other[:3]), np.minimum(one[3:], other[3:])
    both = np.prod(np.maximum(0, high - low))
    volumes = [np.prod(b[3:] - b[:3]) for b in (one, other)]
    return float(both / (sum(volumes) - both))


def baseline(hu: np.ndarray) -> dict[str, np.ndarray]:
    """Threshold the middle of the volume and cut it in two."""
    dark = hu < -400
    rows, columns = hu.shape[1:]
    margin = np.zeros_like(dark)
    inner = (slice(rows // 8, -(rows // 8)), slice(columns // 8, -(columns // 8)))
    margin[(slice(None), *inner)] = True
    left = np.arange(columns) >= columns // 2
    return {"left_lung": dark & margin & left, "right_lung": dark & margin & ~left}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    volume = ca.read(folder / "example_ct_sm.nii.gz")
    labels = np.round(ca.read(folder / "example_seg.nii.gz").to_numpy())
    found, plain = volume.organs(), baseline(volume.to_numpy())
    for name, lobes in LOBES.items():
        truth = np.isin(labels, lobes)
        for label, mask in [("carina", found.mask(name)), ("baseline", plain[name])]:
            overlap = iou(box(mask), box(truth))
            print(
                f"{name:11} {label:9} Dice {dice(mask, truth):.3f}  box {overlap:.3f}"
            )


if __name__ == "__main__":
    main()
