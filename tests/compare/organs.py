"""Boxes and masks of lungs and heart against labels, beside trivial baselines.

The only labelled CT at hand shows the bases of the lungs and no heart (ct_totalseg; its
labels are a model's output). There the baseline takes all that is darker than -400 HU
and off the border of the volume, and cuts it at the middle. The heart is measured on
synthetic patients, whose truth is exact, beside a box at a fixed place between the
lungs; the constants of the method were chosen on seeds 5 and 11. Intervals: 95 %, over
patients::

    python tests/compare/organs.py ../shared/data/ct_totalseg --json PATH
"""

import argparse
import json
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
from numpy.typing import NDArray

LOBES = {"left_lung": (10, 11), "right_lung": (12, 13, 14)}
RESULTS = Path(__file__).parent / "results" / "organs.json"
# Where a heart is between the ends of the box of both lungs: z0, y0, x0, z1, y1, x1.
USUAL = np.array([0.15, 0.1, 0.3, 0.5, 0.65, 0.75])


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


def inside(mask: np.ndarray, edges: np.ndarray) -> float:
    """Return the part of a mask that a box holds."""
    z0, y0, x0, z1, y1, x1 = np.round(edges).astype(int)
    return float(mask[z0:z1, y0:y1, x0:x1].sum() / mask.sum())


def hearts(count: int, seed: int) -> dict[str, Any]:
    """Measure the box of the heart on synthetic patients."""
    rows: dict[str, list[list[float]]] = {"carina": [], "baseline": []}
    studies = ca.phantom(
        count, kind="ct", seed=seed, size=160, slices=100, progress=False
    )
    for study in studies:
        volume = study.volumes[0]
        truth = next(m for m in study.masks if m.finding == "heart").to_numpy()
        boxes = volume.organs().boxes
        lungs = np.array(boxes["lungs"], dtype=float)
        low, extent = np.tile(lungs[:3], 2), np.tile(lungs[3:] - lungs[:3], 2)
        found = boxes["heart"] or (0,) * 6
        for name, edges in (("carina", found), ("baseline", low + USUAL * extent)):
            edges = np.array(edges, dtype=float)
            rows[name].append([iou(edges, box(truth)), inside(truth, edges)])
    return {name: summary(np.array(values)) for name, values in rows.items()}


def summary(values: NDArray[np.float64]) -> dict[str, list[float]]:
    """Give mean, interval and least of the overlap of boxes and of what is inside."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975], axis=0)
    columns = zip(values.mean(axis=0), low, high, values.min(axis=0), strict=True)
    names = ("iou", "inside")
    return {
        name: [round(float(number), 3) for number in column]
        for name, column in zip(names, columns, strict=True)
    }


def lungs(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Measure masks and boxes of the lungs on the labelled CT."""
    volume = ca.read(folder / "example_ct_sm.nii.gz")
    labels = np.round(ca.read(folder / "example_seg.nii.gz").to_numpy())
    found, plain = volume.organs(), baseline(volume.to_numpy())
    rows: dict[str, dict[str, list[float]]] = {}
    for name, lobes in LOBES.items():
        truth = np.isin(labels, lobes)
        rows[name] = {
            label: [round(dice(mask, truth), 3), round(iou(box(mask), box(truth)), 3)]
            for label, mask in (
                ("carina", found.mask(name)),
                ("baseline", plain[name]),
            )
        }
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = {"lungs: Dice, box": lungs(given.folder)}
    rows["heart: mean, low, high, least"] = hearts(given.phantoms, given.seed)
    print(json.dumps(rows, indent=1))
    given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
