"""Time carina against PyTorch on one GPU: same weights and inputs, eager and compiled.

carina's worker and torch take turns, forwards and backwards through the list. A turn
counts its median call, and each call ends when the GPU has done its work. A ratio is
carina's median over the peer's: under one, carina is faster. Outputs are compared too,
and a row whose outputs differ is an error.

Needs a GPU, torch with CUDA, timm and transformers. Usage::

    cargo bench --bench speed --features allocator,cuda --no-run
    python tests/compare/gpu.py target/release/deps/speed-<hash> [--rows vit]
        [--device cuda:0] [--rounds 15] [--json gpu.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from speed import Worker, table_lines, take_turns
from speed_rows import (
    ROWS,
    Row,
    Run,
    attention_row,
    bert_row,
    images,
    torch_run,
    train_row,
    vit_row,
    write,
)

PEERS = ("torch_eager", "torch_compile")
# A turn lasts about this long, in seconds.
TURN = 0.2
# How far bfloat16 outputs may lie apart, as a part of the largest.
HALF = 5e-2


def of(row: Row, *, half: bool, **changes: Any) -> Row:
    """Make a GPU's row of a CPU's, in bfloat16 if `half`."""
    spec = row.spec | ({"precision": "bf16"} if half else {})
    tolerance = HALF if half else row.tolerance
    return dataclasses.replace(
        row, spec=spec, peers=PEERS, tolerance=tolerance, half=half, **changes
    )


def rows() -> dict[str, Row]:
    """The rows, by name; those of bfloat16 say so in theirs."""
    table: dict[str, Row] = {}
    for name, half in (("f32", False), ("bf16", True)):
        for batch in (1, 64):
            table[f"vit_b16_{name}_b{batch}"] = of(vit_row(batch), half=half)
        table[f"vit_s_train_{name}_b64"] = of(
            train_row(),
            half=half,
            inputs=lambda: images(64) | {"y": torch.randint(0, 1000, (64, 1))},
        )
    table["bert_base_f32_b8"] = of(bert_row(), half=False)
    table["attention_4481_f32"] = of(attention_row(4481), half=False)
    return table


def seconds(run: Run) -> float:
    """Time one call, until the GPU has done its work."""
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    name: str, worker: Worker, root: Path, device: str, rounds: int
) -> list[dict[str, Any]]:
    """Time a row on all its peers in turns."""
    folder = root / name
    write(name, folder)
    row = ROWS[name]
    timers: dict[str, Callable[[], float]] = {"carina": lambda: worker.seconds(name)}
    for peer in row.peers:
        run = torch_run(name, folder, compiled=peer == "torch_compile", device=device)
        out = run().float().cpu().contiguous()
        save_file({"out": out}, folder / f"{peer}.safetensors")
        timers[peer] = partial(seconds, run)
    calls = {}
    for peer, timer in timers.items():
        timer()  # builds, compiles and warms up
        calls[peer] = max(1, round(TURN / timer()))
    times = take_turns(timers, calls, rounds, settle=0.0)
    kind = {"device": torch.cuda.get_device_name(device)}
    return [line | kind for line in table_lines(name, folder, times, row.tolerance)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worker", help="carina's worker, built with CUDA")
    parser.add_argument("--rows", nargs="+", help="beginnings of names; all by default")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here")
    # Both sides multiply float32 as float32.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    ROWS.update(rows())
    os.environ["CARINA_DEVICE"] = arguments.device
    chosen = [n for n in rows() if n.startswith(tuple(arguments.rows or [""]))]
    print(f"{'row':22} {'peer':14} {'carina':>12}  {'peer':>12}   ratio  [quartiles]")
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker("carina", arguments.worker, Path(folder), os.cpu_count() or 1)
        for name in chosen:
            table += compare(
                name, worker, Path(folder), arguments.device, arguments.rounds
            )
        worker.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
