"""Time the layers against PyTorch, in turn, on the same threads.

Prints a table and JSON of the best times, which a busy machine disturbs least.

Usage::

    cargo bench --bench layers --features allocator --no-run
    python layers.py target/release/deps/layers-<hash> [--threads 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cases() -> dict[str, Callable[[], Tensor]]:
    """Every benchmark of the Rust side under its name."""
    x, wide = torch.randn(8, 197, 768), torch.randn(8, 197, 3072)
    scores, q, k, v = torch.randn(8, 12, 197, 197), *torch.randn(3, 8, 12, 197, 64)
    leaves = [x, wide, scores, q, k, v]
    for leaf in leaves:
        leaf.requires_grad_(True)
    norm, linear = nn.LayerNorm(768), nn.Linear(768, 3072)
    qkv, proj = nn.Linear(768, 2304), nn.Linear(768, 768)

    def attention() -> Tensor:
        parts = qkv(x).reshape(8, 197, 3, 12, 64).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*parts)
        return proj(out.transpose(1, 2).reshape(8, 197, 768))

    table: dict[str, Callable[[], Tensor]] = {
        "layer_norm 8x197x768": lambda: norm(x),
        "gelu 8x197x3072": lambda: F.gelu(wide),
        "linear 8x197x768 to 3072": lambda: linear(x),
        "softmax 8x12x197x197": lambda: scores.softmax(-1),
        "attend 8x12x197x64": lambda: F.scaled_dot_product_attention(q, k, v),
        "attention layer 8x197x768": attention,
    }
    convolutions = {
        "conv 3x3 64 to 64 56x56 b2": ((64, 64, 3, 1, 1), 1, (2, 64, 56, 56)),
        "conv 3x3 128 to 32 28x28 b8": ((128, 32, 3, 1, 1), 1, (8, 128, 28, 28)),
        "conv 7x7 s2 3 to 64 224x224 b1": ((3, 64, 7, 2, 3), 1, (1, 3, 224, 224)),
        "conv 1x1 256 to 128 28x28 b8": ((256, 128, 1, 1, 0), 1, (8, 256, 28, 28)),
        "depthwise 3x3 144 56x56 b1": ((144, 144, 3, 1, 1), 144, (1, 144, 56, 56)),
        "depthwise 5x5 672 14x14 b8": ((672, 672, 5, 1, 2), 672, (8, 672, 14, 14)),
    }
    for name, (sizes, groups, shape) in convolutions.items():
        layer = nn.Conv2d(*sizes, groups=groups, bias=False)
        film = torch.randn(shape, requires_grad=True)
        table[name] = lambda layer=layer, film=film: layer(film)
    film = torch.randn(2, 64, 112, 112, requires_grad=True)
    batch_norm = nn.BatchNorm2d(64)
    table["max_pool 3 s2 64 112x112 b2"] = lambda: F.max_pool2d(film, 3, 2, 1)
    table["batch_norm 64 112x112 b2"] = lambda: batch_norm(film)
    return table


def seconds(run: Callable[[], object]) -> float:
    """The shortest time of one call, in milliseconds."""
    run()
    times, end = [], time.perf_counter() + 1.0
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def ours(binary: str, name: str, threads: int) -> float:
    """The shortest sample of one criterion benchmark, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "CRITERION_HOME": folder,
            "RAYON_NUM_THREADS": str(threads),
        }
        command = [binary, "--bench", "--noplot", "--exact", name]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        (sample,) = Path(folder).glob("*/*/new/sample.json")
        values = json.loads(sample.read_text())
    pairs = zip(values["times"], values["iters"], strict=True)
    return min(time / count for time, count in pairs) * 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the names to run")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for name, layer in cases().items():
        if arguments.only not in name:
            continue
        both = {
            "forward": lambda layer=layer: layer(),
            "backward": lambda layer=layer: layer().sum().backward(),
        }
        for kind, run in both.items():
            theirs, own = [], []
            for _ in range(arguments.rounds):
                theirs.append(seconds(run))
                own.append(ours(arguments.binary, f"{name}/{kind}", arguments.threads))
            row = (name, kind, min(theirs), min(own))
            rows.append(row)
            print(
                f"{name:34} {kind:9} torch {row[2]:8.3f} ms  ours {row[3]:8.3f} ms"
                f"  {row[3] / row[2]:5.2f}x",
                flush=True,
            )
    keys = ("case", "pass", "torch_ms", "ours_ms")
    print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))


if __name__ == "__main__":
    main()
