"""Time carina against PyTorch on one GPU: same weights and inputs, eager and compiled.

carina's worker and torch take turns, forwards and backwards through the list. A turn
counts its median call, and each call ends when the GPU has done its work. A ratio is
carina's median over the peer's: under one, carina is faster. Outputs are compared too,
and a row whose outputs differ is an error.

Needs a GPU, torch with CUDA, timm and transformers. Usage::

    cargo bench --bench speed --features cuda --no-run
    python tests/compare/gpu.py target/release/deps/speed-<hash> [--rows vit]
        [--device cuda:0] [--rounds 15] [--json gpu.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from speed import Worker, difference
from speed_rows import (
    DECAY,
    RATE,
    ROWS,
    Row,
    attention_row,
    bert_row,
    images,
    opened,
    train_row,
    vit_row,
    write,
)

Run = Callable[[], torch.Tensor]
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


def torch_run(name: str, folder: Path, device: str, *, compiled: bool) -> Run:
    """Make what a torch peer times: one inference, or one whole training step."""
    row = ROWS[name]
    model, data = opened(name, folder)
    data = {key: x.to(device) for key, x in data.items()}
    short = row.half and row.kind == "infers"
    if model is not None:
        model = model.to(device, torch.bfloat16 if short else None)
    if short:
        data = {key: x.to(torch.bfloat16) for key, x in data.items()}
    call = torch.compile(model) if compiled and model is not None else model

    def infer() -> torch.Tensor:
        with torch.inference_mode():
            return row.call(call, data)

    if row.kind == "infers":
        return infer
    assert model is not None
    optimiser = torch.optim.AdamW(
        model.parameters(), RATE, weight_decay=DECAY, fused=True
    )

    def step() -> torch.Tensor:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=row.half):
            loss = row.call(call, data)
        loss.backward()
        optimiser.step()
        return loss.detach().reshape(1)

    return step


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
        run = torch_run(name, folder, device, compiled=peer == "torch_compile")
        out = run().float().cpu().contiguous()
        save_file({"out": out}, folder / f"{peer}.safetensors")
        timers[peer] = lambda run=run: seconds(run)
    order = list(timers)
    calls = {}
    for peer in order:
        timers[peer]()  # builds, compiles and warms up
        calls[peer] = max(1, round(TURN / timers[peer]()))
    times: dict[str, list[float]] = {peer: [] for peer in order}
    for turn in range(rounds):
        for peer in order if turn % 2 == 0 else order[::-1]:
            some = [timers[peer]() for _ in range(calls[peer])]
            times[peer].append(statistics.median(some))
    own = statistics.median(times["carina"])
    lines = []
    for peer in row.peers:
        theirs = statistics.median(times[peer])
        pairs = [a / b for a, b in zip(times["carina"], times[peer], strict=True)]
        low, _, high = statistics.quantiles(pairs, n=4)
        apart = difference(folder, peer)
        if apart > row.tolerance:
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
                "device": torch.cuda.get_device_name(device),
            }
        )
        print(
            f"{name:22} {peer:14} {1e3 * own:9.2f} ms  {1e3 * theirs:9.2f} ms  "
            f"{own / theirs:6.2f}  [{low:.2f}, {high:.2f}]  {apart:.0e}",
            flush=True,
        )
    return lines


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
