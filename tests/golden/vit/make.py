"""Makes the stored outputs of small random vision transformers.

Needs torch, timm, transformers and safetensors; run it from this folder. Each case
is a folder: the checkpoint as the library writes it, its configuration, and
``expected.safetensors`` with inputs, outputs and the gradients of
``sum(tokens * tokens_weight) + sum(pooled * pooled_weight)``; parameter gradients are
in ``gradients.safetensors`` under the checkpoint's own names. All computed in float64.
"""

import json
import shutil
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
GRID = {"image_size": 16, "patch_size": 4}
MLP = {"intermediate_size": 40}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.ndim > 1 else 0.2
            base = parameter.round() if parameter.ndim == 1 else 0.0
            parameter.copy_(base + scale * noise)
    return model.double().eval(), generator


def expected(model, generator, run):
    """Outputs at the native and at another size, and gradients at the native one."""

    def image(height, width):
        return torch.randn(2, 3, height, width, generator=generator).double()

    pixels, other = image(16, 16).requires_grad_(), image(24, 12)
    tokens, pooled = run(pixels, False)
    weights = [torch.randn(x.shape, generator=generator).double() for x in (tokens, pooled)]
    loss = (tokens * weights[0]).sum() + (pooled * weights[1]).sum()
    loss.backward()
    with torch.no_grad():
        other_tokens, other_pooled = run(other, True)
    return {
        "pixels": pixels.detach(),
        "pixels_gradient": pixels.grad,
        "tokens": tokens.detach(),
        "tokens_weight": weights[0],
        "pooled": pooled.detach(),
        "pooled_weight": weights[1],
        "other_pixels": other,
        "other_tokens": other_tokens,
        "other_pooled": other_pooled,
    }


def write(name, model, tensors, save):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file(
        {key: x.float().contiguous() for key, x in tensors.items()},
        folder / "expected.safetensors",
    )
    save(model.float(), folder)
    with torch.no_grad():
        for parameter in model.parameters():
            grad = parameter.grad
            parameter.copy_(torch.zeros_like(parameter) if grad is None else grad)
    gradients = folder / "tmp"
    gradients.mkdir()
    save(model, gradients)
    (gradients / "model.safetensors").rename(folder / "gradients.safetensors")
    shutil.rmtree(gradients)
    used = ["model.safetensors", "gradients.safetensors"]
    for file in used:  # contiguous, in one order, without the library's version
        save_file(dict(sorted(load_file(folder / file).items())), folder / file)


def hugging_face(name, model, seed, *, pooler=True):
    model, generator = randomise(model, seed)

    def run(pixels, resized):
        extra = {"interpolate_pos_encoding": True} if resized else {}
        if "dinov2" in name:
            extra = {}
        out = model(pixel_values=pixels, **extra)
        pooled = out.pooler_output if pooler else out.last_hidden_state[:, 0]
        return out.last_hidden_state, pooled

    def save(model, folder):
        model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        config.pop("transformers_version")
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    write(name, model, expected(model, generator, run), save)


def from_timm(name, ours, seed, **options):
    model = timm.models.VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=16,
        depth=2,
        num_heads=2,
        mlp_ratio=2.5,
        num_classes=0,
        dynamic_img_size=True,
        **options,
    )
    model, generator = randomise(model, seed)

    def run(pixels, _):
        tokens = model.forward_features(pixels)
        return tokens, model.forward_head(tokens)

    def save(model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        text = json.dumps(
            {
                "image_size": 16,
                "patch_size": 4,
                "dim": 16,
                "depth": 2,
                "heads": 2,
                "mlp_ratio": 2.5,
                "norm_eps": 1e-6,
                "position_resize": "bicubic_antialias",
                **ours,
            },
            indent=1,
        )
        (folder / "config.json").write_text(text + "\n")

    write(name, model, expected(model, generator, run), save)


def main():
    from_timm(
        "timm_class",
        {"registers": 2, "layer_scale": 1e-5},
        1,
        reg_tokens=2,
        init_values=1e-5,
    )
    from_timm(
        "timm_mean",
        {
            "class_token": False,
            "pool": "mean",
            "final_norm": False,
            "pool_norm": True,
            "qkv_bias": False,
            "pre_norm": True,
            "patch_bias": False,
        },
        2,
        class_token=False,
        global_pool="avg",
        qkv_bias=False,
        pre_norm=True,
    )
    from_timm(
        "timm_attention",
        {"registers": 1, "pool": "attention", "position_prefix": "none"},
        3,
        reg_tokens=1,
        global_pool="map",
        no_embed_class=True,
    )
    t = transformers
    vit = t.ViTConfig(**SIZES, **GRID, **MLP)
    hugging_face("vit_hf", t.ViTModel(vit), 4, pooler=False)
    clip = t.CLIPVisionConfig(**SIZES, **GRID, **MLP)
    hugging_face("clip_vision", t.CLIPVisionModel(clip), 5)
    siglip = t.SiglipVisionConfig(**SIZES, **GRID, **MLP)
    hugging_face("siglip_vision", t.SiglipVisionModel(siglip), 6)
    dinov2 = t.Dinov2Config(**SIZES, **GRID)
    hugging_face("dinov2_hf", t.Dinov2Model(dinov2), 7)
    registers = t.Dinov2WithRegistersConfig(**SIZES, **GRID, num_register_tokens=3)
    model = t.Dinov2WithRegistersModel(registers)
    hugging_face("dinov2_registers", model, 8)


if __name__ == "__main__":
    main()
