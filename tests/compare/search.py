"""Retrieval at scale: the exact search of the core beside LanceDB.

    python tests/compare/search.py [--pooled 1000000] [--late 100000] [--case pooled]

`pooled` has one vector of 128 numbers a film, `late` has 32 (the best of them counts).
Films gather around centres, as embeddings do. Each store is built in a process of its
own, which gives time, memory and size; then one process opens all of them and asks
them in turn. Recall at 10 is measured against a full product in numpy. LanceDB
(``pip install carina[index]``) is left out where it is not installed; it is asked
before its approximate index is built (a scan), and after: in 20 cells without ranking
again, and as carina does. What carina does was chosen on the pooled vectors.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
from carina import _lance
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WIDTH, K, QUERIES, SEED = 128, 10, 50, 0
VECTORS = {"pooled": 1, "late": 32}
# Cells of the approximate index to look into, and how many times k to rank again.
EFFORTS = {"bare": (20, 1), "refined": (_lance.PROBES, _lance.REFINE)}
CENTRES = 2000
OUT = Path(__file__).parent / "results" / "search.json"
WHERE = "view == 'PA' and age >= 60"


def films(case: str, count: int) -> Iterator[tuple[Floats, dict[str, list[Any]]]]:
    """Give unit vectors (n, v, d) and metadata, part by part."""
    centres = np.random.default_rng(SEED).normal(size=(CENTRES, WIDTH))
    step = 50_000 // VECTORS[case]
    for start in range(0, count, step):
        random = np.random.default_rng([SEED, start])
        n = min(step, count - start)
        near = centres[random.integers(0, CENTRES, n)][:, None]
        made = near + random.normal(size=(n, VECTORS[case], WIDTH))
        made /= np.linalg.norm(made, axis=2, keepdims=True)
        facts = {
            "view": random.choice(["PA", "AP"], n).tolist(),
            "age": random.integers(20, 90, n).tolist(),
            "sex": random.choice(["F", "M"], n).tolist(),
        }
        yield made.astype(np.float32), facts


def queries() -> Floats:
    """Give queries (m, d) near some of the centres."""
    centres = np.random.default_rng(SEED).normal(size=(CENTRES, WIDTH))
    random = np.random.default_rng([SEED, 1])
    made = centres[random.integers(0, CENTRES, QUERIES)]
    made = made + random.normal(size=made.shape)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def exact(case: str, count: int) -> dict[str, list[list[str]]]:
    """Find the best films of each query by full products, of all and of the filter."""
    asked, scores, passes = queries(), [], []
    for part, facts in films(case, count):
        flat = part.reshape(-1, WIDTH) @ asked.T
        scores.append(flat.reshape(len(part), -1, QUERIES).max(axis=1))
        views, ages = np.array(facts["view"]), np.array(facts["age"])
        passes.append((views == "PA") & (ages >= 60))
    table, keep = np.concatenate(scores), np.concatenate(passes)
    kept = np.where(keep[:, None], table, -np.inf)
    best = {"all": table, "filtered": kept}
    return {
        name: [[f"{row:08}" for row in np.argsort(-column)[:K]] for column in found.T]
        for name, found in best.items()
    }


def peak() -> int:
    """Give the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def held() -> int:
    """Give the memory that this process holds, in MB, mapped files included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() >> 20


def build(case: str, store: str, count: int, folder: str) -> dict[str, Any]:
    """Build an index and say what it took; making the vectors does not count."""
    seconds, done, index = 0.0, 0, None
    for part, facts in films(case, count):
        keys = [f"{row:08}" for row in range(done, done + len(part))]
        done += len(part)
        started = time.perf_counter()
        if index is None:
            index = ca.Index.create(
                folder, vectors=part, keys=keys, metadata=facts, store=store
            )
        else:
            index.add(part, keys=keys, metadata=facts)
        seconds += time.perf_counter() - started
    files = [p for p in Path(folder).rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) >> 20
    return {
        "rows": done,
        "add_s": round(seconds, 1),
        "disk_mb": size,
        "peak_mb": peak(),
    }


def compact(folder: str) -> dict[str, Any]:
    """Build the approximate index of LanceDB."""
    index = ca.Index.open(folder)
    started = time.perf_counter()
    index.compact()
    return {"index_s": round(time.perf_counter() - started, 1), "peak_mb": peak()}


def memory(folder: str) -> dict[str, Any]:
    """Say what opening an index and asking it holds."""
    before = held()
    index = ca.Index.open(folder, verify=False)
    opened = held()
    for query in queries()[:5]:
        index.search(query, k=K)
    return {"open_mb": opened - before, "asked_mb": held() - before}


def ask(
    folders: dict[str, str],
    truth: dict[str, list[list[str]]],
    effort: tuple[int, int] = EFFORTS["refined"],
) -> dict[str, Any]:
    """Ask all stores in turn: median and slowest of the times, and the recall."""
    _lance.PROBES, _lance.REFINE = effort
    opened = {name: ca.Index.open(path, verify=False) for name, path in folders.items()}
    found: dict[str, Any] = {}
    for kind, where in (("all", None), ("filtered", WHERE)):
        times: dict[str, list[float]] = {name: [] for name in opened}
        hits = dict.fromkeys(opened, 0)
        for number, query in enumerate(queries()):
            for name, index in opened.items():
                started = time.perf_counter()
                table = index.search(query, k=K, where=where)
                times[name].append(time.perf_counter() - started)
                hits[name] += len(set(table["key"]) & set(truth[kind][number]))
        for name in opened:
            found.setdefault(name, {})[kind] = {
                "median_ms": round(1e3 * float(np.median(times[name])), 2),
                "p95_ms": round(1e3 * float(np.quantile(times[name], 0.95)), 2),
                "recall_at_10": round(hits[name] / (QUERIES * K), 4),
            }
    return found


def alone(work: Callable[..., Any], *options: Any) -> Any:
    """Run `work` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, options)


def compare(case: str, count: int, scratch: Path) -> dict[str, Any]:
    """Compare the stores on one case."""
    stores = ["core"]
    if importlib.util.find_spec("lancedb"):
        stores.append("lance")
    folders = {name: str(scratch / f"{case}-{name}") for name in stores}
    truth = alone(exact, case, count)
    result: dict[str, Any] = {"films": count, "vectors": VECTORS[case]}
    for name, folder in folders.items():
        result[name] = alone(build, case, name, count, folder)
        result[name] |= alone(memory, folder)
        print(case, name, result[name], flush=True)
    result["asked"] = alone(ask, folders, truth)
    print(case, result["asked"], flush=True)
    if "lance" in folders:
        result["lance_indexed"] = alone(compact, folders["lance"])
        result["lance_indexed"] |= alone(memory, folders["lance"])
        print(case, "lance indexed", result["lance_indexed"], flush=True)
        for name, effort in EFFORTS.items():
            result[f"asked_indexed_{name}"] = alone(ask, folders, truth, effort)
            print(case, name, result[f"asked_indexed_{name}"], flush=True)
    return result


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pooled", type=int, default=1_000_000)
    parser.add_argument("--late", type=int, default=100_000)
    parser.add_argument("--case", choices=VECTORS)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if args.out.exists():
        results = json.loads(args.out.read_text())
    results["machine"] = {"cores": os.cpu_count(), "threads": ca.num_threads()}
    results["data"] = f"{CENTRES} centres, {QUERIES} queries, seed {SEED}, cosine"
    results["filter"] = WHERE
    for case in [args.case] if args.case else list(VECTORS):
        with tempfile.TemporaryDirectory() as scratch:
            results[case] = compare(case, getattr(args, case), Path(scratch))
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
