"""Time carina against PyTorch and onnxruntime: same weights, inputs and threads.

Each peer is a process of its own; they take turns, forwards and backwards through the
list, so that what else the machine does falls on all alike. A turn counts its median
call. A ratio is carina's median over the peer's: under one, carina is faster. Outputs
are compared too, and a row whose outputs differ is an error.

Needs torch, timm, transformers, onnx, onnxscript and onnxruntime. Usage::

    cargo bench --bench speed --features allocator --no-run
    python tests/compare/speed.py target/release/deps/speed-<hash> [--rows vit bert]
        [--threads 2] [--rounds 15] [--json speed.json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

# As in the wheel, whose allocator the worker has: no threads in candle's pool.
AS_THE_WHEEL = {"CANDLE_NUM_THREADS": "1"}

# Idle threads of some peers spin for a while and would take a core from the next one.
SETTLE = 0.1
# A turn lasts about this long, in seconds, so that short rows are called many times:
# the first calls after a pause only wake threads and fill caches.
TURN = 0.1


class Worker:
    """A process that runs a row once for each line it is sent."""

    def __init__(self, peer: str, binary: str, root: Path, threads: int) -> None:
        own = peer == "carina"
        command = [binary, str(root)]
        if not own:
            options = ["--peer", peer, "--threads", str(threads)]
            command = [sys.executable, __file__, str(root), *options]
        count = str(threads)
        counts = {"RAYON_NUM_THREADS": count, "CANDLE_NUM_THREADS": count}
        counts |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        self._process = subprocess.Popen(
            command,
            env=os.environ | counts | (AS_THE_WHEEL if own else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.peer = peer

    def seconds(self, row: str) -> float:
        """Run a row once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{row}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.peer}: the worker ended at row {row}")
        return float(line)

    def close(self) -> None:
        self._process.communicate()


def serve(peer: str, root: Path, threads: int) -> None:
    """Be the worker of a peer."""
    import torch
    from speed_onnx import onnx_run
    from speed_rows import torch_run

    torch.set_num_threads(threads)
    if peer == "torch_sdpa":
        peer = "torch_eager"
    runs: dict[str, Any] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in runs:
            runs.clear()
            folder = root / name
            if peer == "onnxruntime":
                run = onnx_run(name, folder, threads)
            else:
                compiled, fused = peer == "torch_compile", peer == "torch_fused"
                run = torch_run(name, folder, compiled=compiled, fused=fused)
            out = run().float().clone().contiguous()
            save_file({"out": out}, folder / f"{peer}.safetensors")
            runs[name] = run
        start = time.perf_counter()
        runs[name]()
        print(time.perf_counter() - start, flush=True)


def difference(folder: Path, peer: str) -> float:
    """Largest difference of the outputs, as a part of the largest output."""
    peer = "torch_eager" if peer == "torch_sdpa" else peer
    ours = load_file(folder / "carina.safetensors")["out"]
    theirs = load_file(folder / f"{peer}.safetensors")["out"]
    if ours.shape != theirs.shape:
        raise SystemExit(f"{folder.name}: carina {ours.shape}, {peer} {theirs.shape}")
    return float((ours - theirs).abs().max() / theirs.abs().max())


def table_lines(
    name: str, folder: Path, times: dict[str, list[float]], tolerance: float
) -> list[dict[str, Any]]:
    """Print and list what the turns of carina and its peers gave."""
    own = statistics.median(times["carina"])
    lines = []
    for peer in [peer for peer in times if peer != "carina"]:
        theirs = statistics.median(times[peer])
        pairs = [a / b for a, b in zip(times["carina"], times[peer], strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4)
        apart = difference(folder, peer)
        if apart > tolerance:
            raise SystemExit(f"{name}: carina and {peer} differ by {apart:.1e}")
        lines.append(
            {
                "row": name,
                "peer": peer,
                "ratio": round(own / theirs, 3),
                "spread": [round(low, 3), round(high, 3)],
                "max_abs_diff": apart,
                "carina_ms": round(1e3 * own, 3),
                "peer_ms": round(1e3 * theirs, 3),
            }
        )
        print(
            f"{name:22} {peer:14} {1e3 * own:9.2f} ms  {1e3 * theirs:9.2f} ms  "
            f"{own / theirs:6.2f}  [{low:.2f}, {high:.2f}]  {apart:.0e}",
            flush=True,
        )
    return lines


def take_turns(
    timers: dict[str, Callable[[], float]],
    calls: dict[str, int],
    rounds: int,
    settle: float,
) -> dict[str, list[float]]:
    """Call forwards and backwards through the list; a turn counts its median call."""
    times: dict[str, list[float]] = {peer: [] for peer in timers}
    order = list(timers)
    for turn in range(rounds):
        for peer in order if turn % 2 == 0 else order[::-1]:
            time.sleep(settle)
            some = [timers[peer]() for _ in range(calls[peer])]
            times[peer].append(statistics.median(some))
    return times


def compare(name: str, workers: dict[str, Worker], root: Path, rounds: int) -> Any:
    """Time a row on all its peers in turns."""
    from speed_rows import ROWS

    row = ROWS[name]
    timers = {
        peer: partial(workers[peer].seconds, name) for peer in ("carina", *row.peers)
    }
    for timer in timers.values():
        timer()  # builds, compiles and warms up
    calls = dict.fromkeys(timers, max(1, round(TURN / timers["carina"]())))
    times = take_turns(timers, calls, rounds, SETTLE)
    return table_lines(name, root / name, times, row.tolerance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="carina's worker, or the folder of the rows")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--rows", nargs="+", help="beginnings of names; all by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.peer:
        serve(arguments.peer, Path(arguments.target), arguments.threads)
        return
    from speed_rows import ROWS, write

    chosen = [n for n in ROWS if n.startswith(tuple(arguments.rows or [""]))]
    peers = sorted({peer for name in chosen for peer in ROWS[name].peers})
    print(f"{'row':22} {'peer':14} {'carina':>12}  {'peer':>12}   ratio  [quartiles]")
    table: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workers = {
            peer: Worker(peer, arguments.target, root, arguments.threads)
            for peer in ("carina", *peers)
        }
        for name in chosen:
            write(name, root / name)
            table += compare(name, workers, root, arguments.rounds)
        for worker in workers.values():
            worker.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
