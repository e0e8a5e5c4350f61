"""Measure what processes hold of one set of weights, of their own and shared.

An untrained decoder is saved. Some processes open it, answer a prompt and wait for each
other; then each tells its proportional set size (a page that n processes hold counts
1/n in each) and how long opening took. The first process with shared weights writes
the file; the others find it. A model of films is shared by processes that are forked
from one which has loaded and used it. Trivial baseline: weights of their own.

Usage: python tests/compare/shared.py [--size 246m] [--model base] [--processes 4]
    [--json PATH]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "shared.json"
PRECISIONS = ("f32", "bf16", "q8_0")


def share(process: int) -> float:
    """Read a process's proportional set size in MiB."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    line = next(line for line in rollup if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def tell(opened: float, processes: list[int]) -> None:
    """Say that these processes are ready, and stay until told to end."""
    print(json.dumps({"seconds": opened, "processes": processes}), flush=True)
    sys.stdin.readline()


def serve(folder: str, precision: Any, shared: str) -> None:
    """Open the decoder and use it."""
    import carina as ca

    warm = ca.create_decoder("1m", device="cpu", depth=1)
    warm.generate("a b", max_new_tokens=2, progress=False)
    del warm
    start = time.perf_counter()
    path = shared or None
    decoder = ca.load_decoder(folder, precision=precision, device="cpu", shared=path)
    opened = time.perf_counter() - start
    decoder.generate("clear lungs " * 20, max_new_tokens=8, progress=False)
    tell(opened, [os.getpid()])


def encode(folder: str, children: str) -> None:
    """Load the model of films and use it, then in that many forked children too."""
    import carina as ca

    films = ca.phantom(n=2, size=128, seed=1, progress=False)
    start = time.perf_counter()
    model = ca.load(folder, device="cpu")
    opened = time.perf_counter() - start
    model.encode(films, progress=False)
    processes = [os.getpid()]
    (ready, done), (end, open_still) = os.pipe(), os.pipe()
    for _ in range(int(children)):
        child = os.fork()
        if child == 0:
            os.close(open_still)
            model.encode(films, progress=False)
            os.write(done, b".")
            os.read(end, 1)  # until the parent has ended
            os._exit(0)
        processes.append(child)
        os.read(ready, 1)
    tell(opened, processes)


def measure(commands: list[list[str]]) -> dict[str, Any]:
    """Run processes beside each other, which begin one after the other."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running: list[Any] = []
    told = []
    for command in commands:
        running.append(subprocess.Popen([sys.executable, __file__, *command], **pipes))
        line = running[-1].stdout.readline()
        assert line, "a process has failed"
        told.append(json.loads(line))
    processes = [process for one in told for process in one["processes"]]
    mib = sum(share(process) for process in processes)
    for process in running:
        process.communicate("\n")
    later = [one["seconds"] for one in told[1:]]
    return {
        "processes": len(processes),
        "mib": round(mib, 1),
        "first_open_seconds": round(told[0]["seconds"], 2),
        "later_open_seconds": round(max(later), 2) if later else None,
    }


def main() -> None:
    """Measure each way, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="246m")
    parser.add_argument("--model", default="base")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--encode", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*given.serve)
        return
    if given.encode:
        encode(*given.encode)
        return
    import carina as ca

    rows: list[dict[str, Any]] = []

    def add(settings: dict[str, Any], commands: list[list[str]]) -> None:
        rows.append(settings | measure(commands))
        print(rows[-1], flush=True)

    count = given.processes
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "decoder"
        ca.create_decoder(given.size, device="cpu").save(folder)
        for precision in PRECISIONS:
            for path in ("", str(Path(place) / "shared.weights")):
                settings = {"decoder": given.size, "precision": precision}
                command = ["--serve", str(folder), precision, path]
                add({**settings, "shared": bool(path)}, [command] * count)
        folder = Path(place) / "model"
        ca.create("elixr", size=given.model, device="cpu").save(folder)
        command = ["--encode", str(folder)]
        own = {"model": f"elixr-{given.model}", "forked": False}
        add(own, [[*command, "0"]] * count)
        add({**own, "forked": True}, [[*command, str(count - 1)]])
    given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
