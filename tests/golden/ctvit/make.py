"""Makes the stored outputs of small random CTViTs.

Needs torch and safetensors; run it from this folder. ``scales`` comes from the module
below, computed in float64: tokens with and without voxel sizes, under an additive mask,
and the gradients of ``sum(tokens * weight)``. The other cases are cut from the output
of the authors' code (https://github.com/niuchuangnn/M3FM, commit a9f1820, random
weights), of which ``--released FOLDER`` holds the files; the module is held to them
too.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

HERE = Path(__file__).parent
VOXELS = [(2.0, 0.53, 0.57), (1.0, 0.703125, 0.71)]


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in ("q", "k", "v", "proj"):
            self.add_module(name, nn.Linear(dim, dim))

    def forward(self, x, bias):
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, bias)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)

    def forward(self, x, bias):
        x = x + self.attn(self.norm1(x), bias)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    def __init__(self, dim, depth, heads):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x, bias=None):
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


class Places(nn.Module):
    def __init__(self, dim, grid):
        super().__init__()
        rows = {"spatial": grid[1] * grid[2], "slice": grid[0], "class": 1}
        for name, count in rows.items():
            table = nn.Parameter(torch.zeros(1, count, dim))
            self.register_parameter(f"pos_embed_{name}", table)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))


class Tokenizer(nn.Module):
    def __init__(self, dim, scales):
        super().__init__()
        self.scales = [tuple(size) for size, _ in scales]
        for i, (size, patch) in enumerate(scales):
            conv = nn.Conv3d(1, dim, tuple(patch), tuple(patch))
            self.add_module(f"conv{i + 1}", conv)
            grid = [a // b for a, b in zip(size, patch, strict=True)]
            self.add_module(f"tokenizer_{tuple(size)}", Places(dim, grid))

    def forward(self, x):
        size = tuple(x.shape[2:])
        places = getattr(self, f"tokenizer_{size}")
        tokens = getattr(self, f"conv{self.scales.index(size) + 1}")(x)
        tokens = tokens.permute(0, 2, 3, 4, 1).flatten(2, 3)
        tokens = tokens + places.pos_embed_spatial[:, None]
        tokens = tokens + places.pos_embed_slice[:, :, None]
        first = (places.cls_token + places.pos_embed_class).expand(len(x), -1, -1)
        return torch.cat([first, tokens.flatten(1, 2)], 1)


class CtVit(nn.Module):
    def __init__(self, dim, depth, heads, scales):
        super().__init__()
        self.img_tokenizer = Tokenizer(dim, scales)
        self.encoder_img = Encoder(dim, depth, heads)
        self.patches = {tuple(size): patch for size, patch in scales}

    def embed(self, x, voxels=None):
        tokens = self.img_tokenizer(x)
        if voxels is None:
            return tokens
        patch = torch.tensor(self.patches[tuple(x.shape[2:])])
        sizes = torch.tensor(voxels).double() * patch
        return tokens + size_features(sizes, tokens.shape[2])[:, None].to(tokens)


def size_features(sizes, dim):
    """Sines and cosines of (slices, rows, columns) in mm, side by side."""
    side = dim // 6 * 2
    parts = []
    for axis, width in enumerate((dim - 2 * side, side, side)):
        half = width // 2
        waves = 10000 ** -(torch.arange(half).double() / half)
        angles = sizes[:, axis, None] * waves
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, 1)


def write(folder, **files):
    """Store a case."""
    folder.mkdir(exist_ok=True)
    for file, tensors in files.items():
        tensors = {k: v.detach().float().contiguous() for k, v in tensors.items()}
        save_file(tensors, folder / f"{file}.safetensors")
        size = (folder / f"{file}.safetensors").stat().st_size
        print(f"{folder.name}/{file}: {size // 1000} kB")


def make():
    """Write ``scales``: three tokenizers, two blocks."""
    generator = torch.Generator().manual_seed(7)

    def noise(*shape):
        return torch.randn(shape, generator=generator).double()

    scales = [((4, 6, 8), (2, 3, 4)), ((6, 8, 6), (3, 2, 2)), ((4, 6, 6), (4, 2, 3))]
    model = CtVit(16, 2, 2, scales).double()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.ndim == 1 else 0.3
            parameter.copy_(scale * noise(*parameter.shape))
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    expected, loss = {}, 0.0
    for i, (size, _) in enumerate(scales):
        pixels = noise(2, 1, *size).requires_grad_()
        plain = model.encoder_img(model.embed(pixels))
        sized = model.encoder_img(model.embed(pixels, VOXELS))
        weight = noise(*sized.shape)
        loss = loss + ((plain + sized) * weight).sum()
        case = {"pixels": pixels, "plain": plain, "sized": sized, "weight": weight}
        expected |= {f"{key}_{i}": x for key, x in case.items()}
    loss.backward()
    for i in range(len(scales)):
        expected[f"pixels_gradient_{i}"] = expected[f"pixels_{i}"].grad
    hidden = torch.zeros(2, 1, 1, plain.shape[1]).double()
    hidden[0, ..., 3:5] = hidden[1, ..., :2] = -10000.0
    expected["mask"] = hidden
    expected["masked"] = model.encoder_img(model.embed(pixels), hidden)
    gradients = {k: p.grad for k, p in model.named_parameters()}
    weights = model.state_dict()
    write(HERE / "scales", model=weights, expected=expected, gradients=gradients)


def part(tensors, prefix):
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def near(found, expected):
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max().clip(1)


def released(folder):
    """Cut the cases of the authors' code from `folder`, and hold the module to them."""

    def load(name):
        return load_file(folder / f"case_{name}.safetensors")

    def about(name):
        return json.loads((folder / f"case_{name}.json").read_text())

    # The encoder alone, with its gradients: too large to keep.
    case, sizes = load("ctvit"), about("ctvit")
    encoder = Encoder(sizes["embed_dim"], sizes["depth"], sizes["heads"])
    encoder.load_state_dict(part(case, "w."))
    tokens = case["in.tokens"].requires_grad_()
    out = encoder(tokens)
    near(out, case["out.tokens"])
    near(encoder(tokens, case["in.additive_mask"]), case["out.tokens_masked"])
    (out * case["in.grad_probe"]).sum().backward()
    for name, gradient in part(load("ctvit_grad"), "grad.").items():
        leaf = tokens if name == "in.tokens" else encoder.get_parameter(name)
        near(leaf.grad, gradient)

    # All scales of the tokenizer, of which the first features are kept.
    case, sizes = load("tokenizer"), about("tokenizer")
    scales = list(zip(sizes["scales"], sizes["patches"], strict=True))
    model = CtVit(sizes["embed_dim"], 1, 1, scales)
    model.img_tokenizer.load_state_dict(part(case, "w."))
    kept, expected = 12, {}
    for i in range(len(scales)):
        image, tokens = case[f"in.image_{i}"], case[f"out.tokens_{i}"]
        near(model.embed(image), tokens)
        near(
            model.embed(image, [sizes["voxel_mm"][0]] * 2), case[f"out.tokens_{i}_vox0"]
        )
        expected |= {f"image_{i}": image[:1], f"tokens_{i}": tokens[:1, :, :kept]}
    weights = {
        f"img_tokenizer.{k}": v[..., :kept] if k.startswith("tokenizer_") else v[:kept]
        for k, v in part(case, "w.").items()
    }
    write(HERE / "released_tokenizer", model=weights, expected=expected)

    # The size features of the published widths.
    case, sizes = load("size_embedding"), about("size_embedding")
    for i, given in enumerate(sizes["inputs"]):
        mm = torch.tensor([given["voxel_mm"]]).double()
        mm = mm * torch.tensor(given["patch"])
        for dim in sizes["dims"]:
            near(size_features(mm, dim), case[f"out.size_embed_{dim}_{i}"])
    features = {k.removeprefix("out."): v for k, v in case.items()}
    write(HERE / "released_sizes", expected=features)

    # Volumes to encoded tokens on the smallest scale, as in the whole model.
    case, weights = load("model_image_text_nodule_scale"), load("model_weights")
    sizes = about("model_weights")
    scales = list(zip(sizes["scales"], sizes["patches"], strict=True))
    model = CtVit(sizes["embed_dim"], sizes["depth"], sizes["heads"], scales[:1])
    own = part(weights, "w.")
    own = {k: own[k] for k in model.state_dict()}
    model.load_state_dict(own)
    voxels = [about("model_image_text_nodule_scale")["voxel_mm"]] * 2
    near(
        model.encoder_img(model.embed(case["in.data"], voxels)),
        case["out.image_encoded"],
    )
    expected = {
        "pixels": case["in.data"],
        "tokens": case["out.image_tokens_before_size"],
        "encoded": case["out.image_encoded"],
        "voxels": torch.tensor(voxels),
    }
    write(HERE / "released_encoder", model=own, expected=expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--released", type=Path)
    arguments = parser.parse_args()
    make()
    if arguments.released:
        released(arguments.released)
