"""Cuts the cases of the Q-Former from the output of its authors' code.

Needs numpy and safetensors; run it from this folder with the folder that holds that
output (https://github.com/salesforce/LAVIS, commit 506965b, random weights, eval mode)
and, if not here, where to write.

Weights are kept whole, in shards; of a gradient, its length and every so-manieth
number, so that no file is large.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

SOURCE = Path(sys.argv[1])
TARGET = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
MOST = 200  # numbers of a gradient
SHARD = 280_000  # bytes
OUTPUTS = {
    "query_only.last": "looked",
    "query_only.cache_key_layer0": "key",
    "query_only_partial_image_mask.last": "looked_partly",
    "text_only.last": "read",
    "joint_itm.head_logits_per_query": "matches",
    "joint_itm.score": "score",
    "itg_two_pass.logits": "told",
    "itg_two_pass.loss": "told_loss",
    "image_feats": "images",
    "text_feat": "texts",
    "similarity_max_over_queries": "similarity",
    "caption_ids_beam1": "captions",
    "loss": "total",
    "loss_itc": "contrast",
    "loss_itm": "matching",
    "loss_lm": "caption",
    "sim_i2t": "images_in_rows",
    "sim_t2i": "texts_in_rows",
    "negative_text_sampling_weights_i2t": "text_chances",
    "negative_image_sampling_weights_t2i": "image_chances",
}


def part(tensors, prefix):
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def shards(weights, folder):
    """Store weights in files of at most so many bytes, and their index."""
    files, size = [{}], 0
    for name, value in sorted(weights.items()):
        if size + value.nbytes > SHARD:
            files.append({})
            size = 0
        files[-1][name] = value
        size += value.nbytes
    index = {}
    for i, tensors in enumerate(files, 1):
        file = f"model-{i:05}-of-{len(files):05}.safetensors"
        save_file(tensors, folder / file)
        index |= dict.fromkeys(tensors, file)
    text = json.dumps({"metadata": {}, "weight_map": index}, indent=0)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def thinned(gradients):
    """Keep the length of each gradient and some of its numbers."""
    kept = {}
    for name, value in gradients.items():
        flat = value.ravel()
        kept[f"{name}|some"] = flat[:: -(-flat.size // MOST)].copy()
        length = np.sqrt((flat.astype(np.float64) ** 2).sum())
        kept[f"{name}|length"] = np.array([length], np.float32)
    return kept


def gradients(case):
    return thinned(part(case, "grad.") | part(case, "grad_input."))


def cut(kind, layers):
    source = f"case_{kind}_{layers}_layers"
    case = load_file(SOURCE / f"{source}.safetensors")
    config = json.loads((SOURCE / f"{source}.json").read_text())["config"]
    folder = TARGET / f"{kind}_{layers}_layers"
    folder.mkdir(parents=True, exist_ok=True)
    shards(part(case, "w."), folder)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    out = part(case, "out.")
    expected = {new: out[old] for old, new in OUTPUTS.items() if old in out}
    given = {k: v.astype(np.float32) for k, v in part(case, "in.").items()}
    expected = {k: v.astype(np.float32) for k, v in expected.items()}
    save_file(expected | given, folder / "expected.safetensors")
    if kind == "forward":
        return
    save_file(gradients(case), folder / "gradients_all.safetensors")
    for loss in ("itc", "itm", "itg", "itc_gathered"):
        own = load_file(SOURCE / f"{source}_grads_{loss}.safetensors")
        save_file(gradients(own), folder / f"gradients_{loss}.safetensors")


for layers in (2, 4):
    cut("forward", layers)
    cut("losses", layers)
