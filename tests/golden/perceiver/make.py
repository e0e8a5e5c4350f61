"""Cuts the cases of RadFM's resampler from the output of its authors' code.

Needs safetensors; run it from this folder with the folder that holds that output
(https://github.com/chaoyi-wu/RadFM, commit 9efba84, random weights).
"""

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent


def part(tensors, prefix):
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def cut(source, name, given):
    """Store a case; its input (B, images, frames, tokens, D) becomes (B, N, D)."""
    case = load_file(Path(sys.argv[1]) / f"{source}.safetensors")
    (HERE / name).mkdir(exist_ok=True)
    expected = {
        "tokens": case[f"in.{given}.x"].flatten(0, 1).flatten(1, 2),
        "tokens_gradient": case["grad_input.x"].flatten(0, 1).flatten(1, 2),
        "queries": case[f"out.{given}.y"].flatten(0, 1),
        "weight": case["in.probe"].flatten(0, 1),
    }
    files = {
        "model": part(case, "w."),
        "expected": expected,
        "gradients": part(case, "grad."),
    }
    for file, tensors in files.items():
        tensors = {k: v.contiguous() for k, v in tensors.items()}
        save_file(tensors, HERE / name / f"{file}.safetensors")


cut("case_perceiver", "two_layers", "three_images")
cut("case_perceiver_dimhead64", "wide_heads", "frames2")
