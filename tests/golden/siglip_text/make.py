"""Makes the stored outputs of a small random SiglipTextModel.

Needs torch, transformers and safetensors; run it from this folder. The layout of the
files is that of ``../vit/make.py``.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parent / "two_layers"


def main():
    generator = torch.Generator().manual_seed(1)
    config = transformers.SiglipTextConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        vocab_size=50,
        max_position_embeddings=12,
        projection_size=10,
    )
    model = transformers.SiglipTextModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            base = parameter.round() if parameter.ndim == 1 else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(base + 0.3 * noise)
    model = model.double().eval()
    ids = torch.randint(2, 50, (3, 12), generator=generator)
    ids[1, 5:] = 1  # padding is read like words
    short = ids[:, :7]
    out, other = model(input_ids=ids), model(input_ids=short)
    tokens, pooled = out.last_hidden_state, out.pooler_output
    weights = [torch.randn(x.shape, generator=generator).double() for x in out[:2]]
    ((tokens * weights[0]).sum() + (pooled * weights[1]).sum()).backward()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    tensors = {
        "tokens": tokens,
        "tokens_weight": weights[0],
        "pooled": pooled,
        "pooled_weight": weights[1],
        "short_tokens": other.last_hidden_state,
        "short_pooled": other.pooler_output,
    }
    tensors = {key: x.detach().float() for key, x in tensors.items()}
    numbers = {"ids": ids, "short_ids": short.contiguous()}
    save_file(numbers | tensors, FOLDER / "expected.safetensors")
    model.float().save_pretrained(FOLDER)
    config = json.loads((FOLDER / "config.json").read_text())
    config.pop("transformers_version")
    (FOLDER / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = dict(sorted(load_file(FOLDER / "model.safetensors").items()))
    save_file(state, FOLDER / "model.safetensors")
    gradients = {
        key: x.grad.contiguous().float() for key, x in model.named_parameters()
    }
    save_file(gradients, FOLDER / "gradients.safetensors")


if __name__ == "__main__":
    main()
