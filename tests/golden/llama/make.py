"""Makes the stored outputs of small random LLaMA, Mistral and Qwen2 decoders.

Needs torch, transformers and safetensors; run it from this folder. A case is a folder
in Hugging Face's layout, with ``gradients.safetensors`` (of the loss) and
``expected.safetensors``: logits of a padded batch, its loss, logits of a text read in
pieces with a cache, and what greedy search, beam search and the repetition rules write.
Gradients and logits are computed in float64, texts are written in float32.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers as t
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 56,
    "vocab_size": 60,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
NEW = 20


def shake(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            base = parameter.round() if parameter.ndim == 1 else 0.0
            scale = 0.6 if "embed" in name or "lm_head" in name else 0.25
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(base + scale * noise)
    return generator


def generations(model, generator):
    """What the library's searches write after the same prompts, left-padded."""
    prompts = torch.randint(3, 60, (2, 6), generator=generator)
    mask = torch.ones_like(prompts)
    prompts[1, :2], mask[1, :2] = 0, 0
    options = {"attention_mask": mask, "max_new_tokens": NEW, "do_sample": False}
    ways = {
        "greedy": {},
        "greedy_rules": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        "beam4": {"num_beams": 4},
        "beam3_long": {"num_beams": 3, "length_penalty": 2.0},
        "beam3_short": {"num_beams": 3, "length_penalty": -1.0},
        "beam3_early": {
            "num_beams": 3,
            "early_stopping": True,
            "no_repeat_ngram_size": 3,
        },
        "beam3_never": {"num_beams": 3, "early_stopping": "never"},
    }
    written = {"prompts": prompts, "prompt_mask": mask}
    for name, way in ways.items():
        out = model.generate(
            prompts, **options, **way, return_dict_in_generate=True, output_scores=True
        )
        new = out.sequences[:, prompts.shape[1] :]
        written[name] = torch.nn.functional.pad(new, (0, NEW - new.shape[1]))
        if "beam" in name:
            written[f"{name}_scores"] = out.sequences_scores.float()
    return written


def make(name, model, seed):
    generator = shake(model, seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = model.eval()
    model.generation_config.pad_token_id = 0
    tensors = generations(model, generator)
    model = model.double()
    ids = torch.randint(3, 60, (3, 13), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 10:], mask[2, 12:] = 0, 0
    labels = ids.masked_fill(mask == 0, -100)
    places = torch.arange(13).repeat(3, 1)
    out = model(input_ids=ids, attention_mask=mask, position_ids=places, labels=labels)
    out.loss.backward()
    tensors |= {
        "ids": ids,
        "mask": mask,
        "labels": labels,
        "logits": (out.logits.detach() * mask[..., None]).float(),
        "loss": out.loss.detach().float().reshape(1),
    }
    tensors = {key: x.contiguous() for key, x in tensors.items()}
    save_file(tensors, folder / "expected.safetensors")
    learnt = model.named_parameters()
    gradients = {key: x.grad.float().contiguous() for key, x in learnt}
    save_file(gradients, folder / "gradients.safetensors")
    model.float().save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    state = dict(sorted(load_file(folder / "model.safetensors").items()))
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def main():
    eager = {"attn_implementation": "eager"}
    make("llama", t.LlamaForCausalLM(t.LlamaConfig(**SIZES, **eager)), 1)
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    biased = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}
    config = t.LlamaConfig(**SIZES, **eager, **biased, rope_parameters=scaling)
    make("llama3_biased_tied", t.LlamaForCausalLM(config), 2)
    config = t.MistralConfig(**SIZES, **eager, head_dim=12, sliding_window=5)
    make("mistral_window", t.MistralForCausalLM(config), 3)
    sliding = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    config = t.Qwen2Config(**SIZES, **eager, **sliding)
    make("qwen2_late_window", t.Qwen2ForCausalLM(config), 4)
    scaling = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    config = t.Qwen2Config(**SIZES, **eager, rope_parameters=scaling)
    make("qwen2_linear_rope", t.Qwen2ForCausalLM(config), 5)


if __name__ == "__main__":
    main()
