"""Measure what processes hold of one decoder, with weights of their own and shared.

An untrained decoder is saved. Some processes open it, answer a prompt and wait for each
other; then each tells its proportional set size (a page that n processes hold counts
1/n in each) and how long opening took. The first process with shared weights writes
the file; the others find it. Trivial baseline: weights of their own.

Usage: python tests/compare/shared.py [--size 246m] [--processes 4] [--json PATH]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "shared.json"
PRECISIONS = ("f32", "bf16", "q8_0")


def own_share() -> float:
    """Read this process's proportional set size in MiB."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    line = next(line for line in rollup if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def serve(folder: str, precision: Any, shared: str) -> None:
    """Open the decoder, use it, and tell what is held when asked."""
    import carina as ca

    warm = ca.create_decoder("1m", device="cpu", depth=1)
    warm.generate("a b", max_new_tokens=2, progress=False)
    del warm
    start = time.perf_counter()
    path = shared or None
    decoder = ca.load_decoder(folder, precision=precision, device="cpu", shared=path)
    opened = time.perf_counter() - start
    decoder.generate("clear lungs " * 20, max_new_tokens=8, progress=False)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"mib": own_share(), "seconds": opened}), flush=True)
    sys.stdin.readline()


def measure(folder: Path, precision: str, shared: str, count: int) -> dict[str, Any]:
    """Run processes beside each other, which begin one after the other."""
    command = [sys.executable, __file__, "--serve", str(folder), precision, shared]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes: list[Any] = []
    for _ in range(count):
        processes.append(subprocess.Popen(command, **pipes))
        assert processes[-1].stdout.readline() == "ready\n", "a process has failed"
    told = []
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
        told.append(json.loads(process.stdout.readline()))
    for process in processes:
        process.communicate("\n")
    return {
        "precision": precision,
        "shared": bool(shared),
        "processes": count,
        "mib": round(sum(one["mib"] for one in told), 1),
        "first_open_seconds": round(told[0]["seconds"], 2),
        "later_open_seconds": round(max(one["seconds"] for one in told[1:]), 2),
    }


def main() -> None:
    """Measure each precision both ways, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="246m")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*given.serve)
        return
    import carina as ca

    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "decoder"
        ca.create_decoder(given.size, device="cpu").save(folder)
        for precision in PRECISIONS:
            for shared in ("", str(Path(place) / "shared.weights")):
                row = measure(folder, precision, shared, given.processes)
                rows.append({"decoder": given.size, **row})
                print(rows[-1], flush=True)
    given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
