"""Makes the stored outputs of small random BERT and RoBERTa models.

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
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "vocab_size": 50,
    "max_position_embeddings": 24,
}


def make(name, model, seed, first_id, pad):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            base = parameter.round() if parameter.ndim == 1 else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(base + 0.3 * noise)
    model = model.double().eval()
    ids = torch.randint(first_id, 50, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    mask[2, 1:] = 0
    ids[mask == 0] = pad
    out = model(input_ids=ids, attention_mask=mask)
    tokens, pooled = out.last_hidden_state, out.pooler_output
    # Outputs at padded places have no meaning and are left out.
    weights = torch.randn(tokens.shape, generator=generator).double() * mask[..., None]
    pooled_weight = torch.randn(pooled.shape, generator=generator).double()
    ((tokens * weights).sum() + (pooled * pooled_weight).sum()).backward()
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tensors = {
        "tokens": tokens.detach() * mask[..., None],
        "tokens_weight": weights,
        "pooled": pooled.detach(),
        "pooled_weight": pooled_weight,
    }
    tensors = {key: x.float() for key, x in tensors.items()}
    save_file({"ids": ids, "mask": mask, **tensors}, folder / "expected.safetensors")
    model.float().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = dict(sorted(load_file(folder / "model.safetensors").items()))
    save_file(state, folder / "model.safetensors")
    gradients = {
        key: torch.zeros_like(x) if x.grad is None else x.grad.contiguous().float()
        for key, x in model.named_parameters()
    }
    save_file(gradients, folder / "gradients.safetensors")


def main():
    t = transformers
    bert = t.BertModel(t.BertConfig(**SIZES, hidden_act="gelu_new"))
    make("bert", bert, 1, 1, 0)
    config = t.RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1)
    make("roberta", t.RobertaModel(config), 2, 2, 1)


if __name__ == "__main__":
    main()
