"""Makes the stored outputs of small random T5 encoders, v1.0 (ReLU) and v1.1 (gated).

Needs torch, transformers and safetensors; run it from this folder. The layout of the
files is that of ``../vit/make.py``.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
SIZES = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}


def make(name, seed, feed):
    generator = torch.Generator().manual_seed(seed)
    config = transformers.T5Config(**SIZES, feed_forward_proj=feed)
    model = transformers.T5EncoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            base = 1.0 if parameter.ndim == 1 else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(base + 0.3 * noise)
    model = model.double().eval()
    ids = torch.randint(1, 50, (3, 17), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    mask[2, 1:] = 0
    ids[mask == 0] = 0
    tokens = model(input_ids=ids, attention_mask=mask).last_hidden_state
    # Outputs at padded places have no meaning and are left out.
    weights = torch.randn(tokens.shape, generator=generator).double() * mask[..., None]
    (tokens * weights).sum().backward()
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tensors = {"tokens": tokens.detach() * mask[..., None], "tokens_weight": weights}
    tensors = {key: x.float() for key, x in tensors.items()}
    save_file({"ids": ids, "mask": mask, **tensors}, folder / "expected.safetensors")
    model.float().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = dict(sorted(load_file(folder / "model.safetensors").items()))
    save_file(state, folder / "model.safetensors")
    gradients = {
        key: x.grad.contiguous().float() for key, x in model.named_parameters()
    }
    save_file(gradients, folder / "gradients.safetensors")


def main():
    make("v1_0", 1, "relu")
    make("v1_1", 2, "gated-gelu")


if __name__ == "__main__":
    main()
