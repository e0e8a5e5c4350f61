"""Compare what `Model.plan` predicts with what a process really holds.

Each case runs in a process of its own: the growth of its peak memory (VmHWM, reset
through /proc/self/clear_refs) from before the model is made to after the call,
against the plan's total. Films and texts are made before; a text is longer than any
model reads.

Usage: python tests/compare/memory.py [--json PATH] [--only PART]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VIT_S = {
    "image": {"image_size": 224, "dim": 384, "depth": 12, "heads": 6},
    "text": {"dim": 256, "depth": 4, "heads": 4, "mlp_dim": 1024, "max_positions": 128},
    "pool_heads": 6,
}
RESNET_50 = {"image": {"arch": "resnet", "block": "bottleneck", "depths": [3, 4, 6, 3]}}
MODELS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "elixr-tiny": ("tiny", 224, {}),
    "elixr-small": ("small", 224, {}),
    "elixr-base": ("base", 448, {}),
    "resnet50": ("small", 224, RESNET_50),
    "vit-s": ("base", 224, VIT_S),
}
#: Model, batch and what is done; "recompute" is training with blocks that run again.
CASES = [
    *[
        (name, b, "encode")
        for name in ("elixr-tiny", "elixr-small")
        for b in (1, 16, 64)
    ],
    *[("resnet50", b, "encode") for b in (4, 32)],
    *[("vit-s", b, "encode") for b in (1, 8, 32, 64)],
    *[("elixr-base", b, "encode") for b in (1, 8)],
    *[(name, 64, "texts") for name in ("elixr-small", "elixr-base")],
    *[("elixr-tiny", b, "contrastive") for b in (16, 64)],
    *[("elixr-small", b, "contrastive") for b in (4, 16)],
    *[("elixr-small", b, "supervised") for b in (8, 32)],
    *[("resnet50", b, "supervised") for b in (4, 16)],
    *[("vit-s", b, "supervised") for b in (2, 8, 16)],
    *[("vit-s", b, "contrastive") for b in (8,)],
    *[("vit-s", b, "recompute") for b in (2, 8, 16)],
    ("elixr-base", 4, "recompute"),
    *[("decoder-42m", b, what) for b in (1, 8) for what in ("f32", "bf16", "q8_0")],
    ("decoder-246m", 4, "q8_0"),
    ("decoder-42m", 4, "beams"),
]
STEPS = 3


def memory(field: str) -> int:
    """Read a field of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in status if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def reset_peak() -> None:
    """Let the peak start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def write(name: str, batch: int, what: str, folder: Path) -> dict[str, Any]:
    """Run one case of a decoder: 64 words after prompts of about 200 tokens."""
    import carina as ca

    warm = ca.create_decoder("1m", device="cpu", depth=1)
    warm.generate("a b", max_new_tokens=2, progress=False)
    precision: Any = "f32" if what == "beams" else what
    options: dict[str, Any] = {"beams": 3 if what == "beams" else 1}
    del warm
    before = memory("VmRSS")
    decoder = ca.load_decoder(folder, precision=precision, device="cpu")
    reset_peak()  # pages of the file that was read are the system's to take back
    prompt = "there is a small left pleural effusion . " * 25
    tokens = len(decoder.tokenize(prompt))
    plan = decoder.plan(tokens, batch_size=batch, max_new_tokens=64, **options)
    started = time.perf_counter()
    decoder.generate(
        [prompt] * batch, batch_size=batch, max_new_tokens=64, progress=False, **options
    )
    return row(name, batch, what, plan, before, started, 0.0)


def make_decoder(name: str, folder: Path) -> None:
    """Write an untrained decoder."""
    import carina as ca

    ca.create_decoder(name.removeprefix("decoder-"), device="cpu").save(folder)


def row(
    name: str,
    batch: int,
    what: str,
    plan: Any,
    before: int,
    started: float,
    planned: float,
) -> dict[str, Any]:
    """Compare a plan with the peak since `before`."""
    grown = memory("VmHWM") - before
    return {
        "model": name,
        "batch": batch,
        "what": what,
        "predicted_mib": round(plan.total / 2**20, 1),
        "measured_mib": round(grown / 2**20, 1),
        "ratio": round(plan.total / grown, 3),
        "seconds": round(time.perf_counter() - started, 2),
        "plan_ms": round(1e3 * planned, 3),
        "parts_mib": {k: round(v / 2**20, 1) for k, v in plan.bytes.items() if v},
    }


def run(name: str, batch: int, what: str) -> dict[str, Any]:
    """Run one case in this process."""
    import carina as ca
    import numpy as np

    size, side, overrides = MODELS[name]
    films = np.random.default_rng(0).integers(0, 255, (3 * batch, side, side), np.uint8)
    texts = ["effusion " * 600] * 64
    rows = [
        {
            "study": i,
            "patient": i,
            "image": film,
            "report": texts[0],
            "labels": {"a": i % 2},
        }
        for i, film in enumerate(films)
    ]
    dataset = ca.open_dataset(rows, progress=False)
    # The code, the tokenizer and the threads are no part of a call.
    warm = ca.create("elixr", image_size=32)
    warm.encode(films[0], progress=False)
    warm.encode_text("a")
    ca.train(warm, dataset, "contrastive", stop_after=1, batch_size=2, progress=False)
    del warm
    reset_peak()
    before = memory("VmRSS")
    model = ca.create("elixr", size=size, image_size=side, **overrides)
    options: dict[str, Any] = {}
    if what in ("encode", "texts"):
        plan = model.plan(batch, texts=what == "texts")
    else:
        again = what == "recompute"
        stage = "supervised" if again else what
        options = {"stage": stage, "epochs": 1, "batch_size": batch}
        plan = model.plan(batch, training=stage, recompute_blocks=again)
        options |= {"recompute_blocks": again, "cache": "none"}
    started = time.perf_counter()
    model.plan(batch)
    planned = time.perf_counter() - started
    started = time.perf_counter()
    if what == "encode":
        model.encode(dataset, batch_size=batch, progress=False)
    elif what == "texts":
        model.encode_text(texts)
    else:
        ca.train(model, dataset, stop_after=STEPS, progress=False, **options)
    return row(name, batch, what, plan, before, started, planned)


def main() -> None:
    """Run the cases, print a table, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the table")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        name, batch, what = arguments.case.split("/")
        if name.startswith("decoder"):
            print(json.dumps(write(name, int(batch), what, arguments.folder / name)))
        else:
            print(json.dumps(run(name, int(batch), what)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, folder)


def compare(arguments: argparse.Namespace, folder: str) -> None:
    """Run all cases that are asked for, each in a process of its own."""
    rows = []
    print(f"{'case':34}{'plan':>9}{'peak':>9}{'ratio':>8}{'s':>8}")
    for name, batch, what in CASES:
        case = f"{name}/{batch}/{what}"
        if arguments.only not in case:
            continue
        if name.startswith("decoder") and not (Path(folder) / name).exists():
            make_decoder(name, Path(folder) / name)
        command = [sys.executable, __file__, "--case", case, "--folder", folder]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode != 0:
            print(f"{case:34}{found.stderr.strip().splitlines()[-1]}")
            continue
        found_row = json.loads(found.stdout)
        rows.append(found_row)
        print(
            f"{case:34}{found_row['predicted_mib']:>9}{found_row['measured_mib']:>9}"
            f"{found_row['ratio']:>8}{found_row['seconds']:>8}",
            flush=True,
        )
    worst = max((abs(each["ratio"] - 1) for each in rows), default=0.0)
    print(f"largest difference {100 * worst:.1f} %")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
