"""Cuts the cases of RadFM's vision transformer from the output of its authors' code.

Needs safetensors; run it from this folder with the folder that holds that output
(https://github.com/chaoyi-wu/RadFM, commit 9efba84, random weights). Volumes and grids
become slices first; the tokens stay in the authors' order: rows, columns, slices.
"""

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent


def write(name, **files):
    (HERE / name).mkdir(exist_ok=True)
    for file, tensors in files.items():
        tensors = {k: v.contiguous() for k, v in tensors.items()}
        save_file(tensors, HERE / name / f"{file}.safetensors")


def part(tensors, prefix):
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


case = load_file(Path(sys.argv[1]) / "case_vit_p8.safetensors")
volumes = {
    k.removesuffix(".video"): v.permute(0, 1, 4, 2, 3)
    for k, v in part(case, "in.").items()
    if k.endswith(".video")
}
expected = {f"volume_{k}": v for k, v in volumes.items()}
expected |= {f"tokens_{k}": case[f"out.{k}.tokens"] for k in volumes}
expected |= {"weight": case["in.probe"]}
write("radfm", model=part(case, "w."), expected=expected, gradients=part(case, "grad."))
