"""Write what PyTorch computes for every layer: inputs, weights, outputs, gradients.

Run with PyTorch, transformers and safetensors installed: ``python make.py``. Each case
is computed in float64 and stored in float32; the gradients are those of
``sum(output * probe)``. Keys read ``case|in.x``, ``case|w.weight``, ``case|probe``,
``case|out``, ``case|grad.in.x``.
"""

# ruff: noqa: E731 - a case is one formula

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.gptj.modeling_gptj import (
    apply_rotary_pos_emb as interleaved_rope,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as halves_rope
from transformers.models.vit_mae.modeling_vit_mae import (
    build_2d_sinusoidal_position_embedding,
)

torch.set_default_dtype(torch.float64)
HERE = Path(__file__).parent
FILES: dict[str, dict[str, Tensor]] = {}


ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
}


def case(
    file: str,
    name: str,
    forward: Callable[..., Tensor],
    inputs: dict[str, Tensor],
    weights: dict[str, Tensor] | None = None,
    fixed: dict[str, Tensor] | None = None,
) -> None:
    """Record one case; `fixed` tensors are stored, but have no gradient."""
    weights, fixed = weights or {}, fixed or {}
    leaves = {f"in.{k}": v for k, v in inputs.items()} | {
        f"w.{k}": v for k, v in weights.items()
    }
    for leaf in leaves.values():
        leaf.grad = None
        leaf.requires_grad_(True)
    out = forward(*inputs.values())
    probe = torch.randn(out.shape)
    (out * probe).sum().backward()
    store = FILES.setdefault(file, {})
    for key, leaf in leaves.items():
        store[f"{name}|{key}"] = leaf.detach()
        store[f"{name}|grad.{key}"] = leaf.grad
    for key, tensor in fixed.items():
        store[f"{name}|{key}"] = tensor
    store[f"{name}|probe"], store[f"{name}|out"] = probe, out.detach()


def module(file: str, name: str, layer: nn.Module, x: Tensor) -> None:
    """Record a module with all its parameters."""
    case(file, name, lambda x: layer(x), {"x": x}, dict(layer.named_parameters()))


def dense() -> None:
    module("dense", "linear", nn.Linear(7, 5), torch.randn(3, 4, 7))
    module("dense", "linear_no_bias", nn.Linear(33, 65, bias=False), torch.randn(2, 33))
    module(
        "dense", "layer_norm", nn.LayerNorm(37, eps=1e-6), 3 * torch.randn(2, 5, 37) + 1
    )
    x = torch.randn(5, 3)
    layer = nn.LayerNorm(3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    module("dense", "layer_norm_small", layer, x)
    rms = LlamaRMSNorm(19, eps=1e-6)
    nn.init.normal_(rms.weight)
    # transformers rounds to float32 inside; the formula is restated to stay in float64.
    formula = lambda x: rms.weight * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    x = torch.randn(2, 3, 19)
    torch.testing.assert_close(
        formula(x).float(), rms(x.float()).float(), rtol=1e-5, atol=1e-5
    )
    case("dense", "rms_norm", formula, {"x": x}, {"weight": rms.weight})
    case("dense", "softmax", lambda x: x.softmax(-1), {"x": 5 * torch.randn(3, 2, 17)})
    wide = torch.cat([torch.linspace(-30, 30, 61), torch.randn(40)])
    for name, function in ACTIVATIONS.items():
        case("dense", name, function, {"x": wide.clone() + 1e-3})
    fc1, fc2 = nn.Linear(6, 11), nn.Linear(11, 6)
    weights = {f"fc1.{k}": v for k, v in fc1.named_parameters()}
    weights |= {f"fc2.{k}": v for k, v in fc2.named_parameters()}
    case(
        "dense",
        "mlp",
        lambda x: fc2(F.gelu(fc1(x))),
        {"x": torch.randn(2, 3, 6)},
        weights,
    )
    names = ["gate_proj", "up_proj", "down_proj"]
    gate, up, down = (nn.Linear(*s, bias=False) for s in [(6, 10), (6, 10), (10, 6)])
    weights = {
        f"{n}.weight": m.weight for n, m in zip(names, [gate, up, down], strict=True)
    }
    swiglu = lambda x: down(F.silu(gate(x)) * up(x))
    case("dense", "swiglu", swiglu, {"x": torch.randn(2, 3, 6)}, weights)
    base, a, b = nn.Linear(8, 6), torch.randn(3, 8), torch.randn(6, 3)
    frozen = {"w.weight": base.weight.detach(), "w.bias": base.bias.detach()}
    adapted = lambda x: (
        F.linear(x, frozen["w.weight"], frozen["w.bias"]) + 12 / 3 * x @ a.T @ b.T
    )
    weights = {"lora_A.weight": a, "lora_B.weight": b}
    case("dense", "lora", adapted, {"x": torch.randn(2, 5, 8)}, weights, frozen)
    table, ids = nn.Embedding(9, 4), torch.tensor([[1, 8, 1], [0, 3, 1]])
    weights, fixed = {"weight": table.weight}, {"ids": ids.to(torch.int64)}
    case("dense", "embedding", lambda: table(ids), {}, weights, fixed)


def convolution() -> None:
    cases = {  # in, out, kernel, stride, padding, groups, bias, height, width
        "k3": (4, 6, 3, 1, 1, 1, True, 7, 9),
        "k3_s2": (3, 5, 3, 2, 1, 1, False, 8, 11),
        "k7_s2_p3": (3, 4, 7, 2, 3, 1, True, 13, 10),
        "k1": (6, 3, 1, 1, 0, 1, True, 5, 4),
        "k1_s2": (4, 3, 1, 2, 0, 1, False, 6, 5),
        "grouped": (6, 8, 3, 1, 1, 2, True, 6, 7),
        "depthwise": (5, 5, 3, 1, 1, 5, False, 9, 6),
        "depthwise_k5_s2": (3, 3, 5, 2, 2, 3, True, 11, 8),
        "depthwise_doubled": (3, 6, 3, 2, 1, 3, True, 5, 5),
        "valid": (2, 3, 3, 3, 0, 1, True, 8, 7),
    }
    for name, (i, o, k, s, p, g, bias, h, w) in cases.items():
        layer = nn.Conv2d(i, o, k, stride=s, padding=p, groups=g, bias=bias)
        module("conv", name, layer, torch.randn(2, i, h, w))
    for name, training in {"batch_norm_train": True, "batch_norm_eval": False}.items():
        layer = nn.BatchNorm2d(3, eps=1e-3, momentum=0.2)
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
        fixed = {
            "w.running_mean": layer.running_mean.clone(),
            "w.running_var": layer.running_var.clone(),
        }
        layer.train(training)
        x = 2 * torch.randn(3, 3, 4, 5) + 1
        case(
            "conv",
            name,
            lambda x, m=layer: m(x),
            {"x": x},
            dict(layer.named_parameters()),
            fixed,
        )
        FILES["conv"] |= {
            f"{name}|after.{k}": v for k, v in layer.named_buffers() if v.ndim
        }
    tied = torch.randn(2, 3, 8, 7).relu()  # zeros tie inside windows
    pools = {
        "max_3_2_1": lambda x: F.max_pool2d(x, 3, 2, 1),
        "max_2_2_0": lambda x: F.max_pool2d(x, 2, 2, 0),
        "max_3_1_1": lambda x: F.max_pool2d(x, 3, 1, 1),
        "avg_3_2_1": lambda x: F.avg_pool2d(x, 3, 2, 1),
        "avg_2_2_0": lambda x: F.avg_pool2d(x, 2, 2, 0),
        "adaptive_3_5": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
        "adaptive_1_1": lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
    }
    for name, pool in pools.items():
        case("conv", name, pool, {"x": tied.clone()})
    flat = nn.Conv2d(3, 5, (4, 2), stride=(4, 2))
    tokens = lambda m: lambda x: m(x).flatten(2).transpose(1, 2)
    weights = dict(flat.named_parameters())
    case("conv", "patch_2d", tokens(flat), {"x": torch.randn(2, 3, 8, 6)}, weights)
    deep = nn.Conv3d(2, 5, (2, 4, 3), stride=(2, 4, 3))
    weights = dict(deep.named_parameters())
    case("conv", "patch_3d", tokens(deep), {"x": torch.randn(2, 2, 4, 8, 6)}, weights)


def qkv(
    heads: int, kv_heads: int, n: int, m: int, d: int, e: int | None = None
) -> dict[str, Tensor]:
    return {
        "q": torch.randn(2, heads, n, d),
        "k": torch.randn(2, kv_heads, m, d),
        "v": torch.randn(2, kv_heads, m, e or d),
    }


def attention() -> None:
    sdpa = F.scaled_dot_product_attention
    case("attention", "plain", sdpa, qkv(3, 3, 7, 7, 5))
    case("attention", "cross", sdpa, qkv(2, 2, 4, 9, 6, 3))
    scaled = lambda q, k, v: sdpa(q, k, v, scale=1.0)
    case("attention", "scaled", scaled, qkv(2, 2, 5, 5, 4))
    case(
        "attention",
        "causal",
        lambda q, k, v: sdpa(q, k, v, is_causal=True),
        qkv(2, 2, 6, 6, 4),
    )
    # The last query sees every key.
    late = torch.ones(3, 7, dtype=torch.bool).tril(diagonal=4)
    case(
        "attention",
        "causal_late",
        lambda q, k, v: sdpa(q, k, v, late),
        qkv(2, 2, 3, 7, 4),
    )
    grouped = lambda q, k, v: sdpa(q, k, v, enable_gqa=True)
    case("attention", "grouped", grouped, qkv(6, 2, 5, 8, 4))
    keys = torch.tensor([[1, 1, 0, 1, 1, 0, 0, 1], [0] * 8])
    rows = keys.bool()[:, None, None, :]

    def masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~rows, -1e30).softmax(-1)
        return (weights * rows) @ v

    case("attention", "masked", masked, qkv(2, 2, 5, 8, 4), fixed={"mask": keys})
    for name, shape in {
        "bias": (2, 3, 5, 8),
        "bias_shared": (1, 3, 5, 8),
        "bias_row": (8,),
    }.items():
        biased = lambda q, k, v, bias: sdpa(q, k, v, bias.expand(2, 3, 5, 8))
        case(
            "attention", name, biased, qkv(3, 3, 5, 8, 4) | {"bias": torch.randn(shape)}
        )
    fused = nn.MultiheadAttention(8, 2, batch_first=True)
    nn.init.normal_(fused.in_proj_bias)
    names = {
        "qkv.weight": fused.in_proj_weight,
        "qkv.bias": fused.in_proj_bias,
        "proj.weight": fused.out_proj.weight,
        "proj.bias": fused.out_proj.bias,
    }
    self_attention = lambda x: fused(x, x, x, need_weights=False)[0]
    case(
        "attention", "module_fused", self_attention, {"x": torch.randn(2, 5, 8)}, names
    )
    split = nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=6, bias=False)
    names = {
        "query.weight": split.q_proj_weight,
        "key.weight": split.k_proj_weight,
        "value.weight": split.v_proj_weight,
        "out.weight": split.out_proj.weight,
    }
    padding = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]])
    cross = lambda x, context: split(
        x, context, context, key_padding_mask=padding == 0, need_weights=False
    )[0]
    inputs = {"x": torch.randn(2, 5, 8), "context": torch.randn(2, 4, 6)}
    case("attention", "module_cross", cross, inputs, names, {"mask": padding})


def positions() -> None:
    angle = torch.arange(3, 10)[:, None] / 10000.0 ** (torch.arange(0, 8, 2) / 8)
    cos, sin = (f(torch.cat([angle, angle], -1))[None] for f in (torch.cos, torch.sin))
    halves = lambda x: halves_rope(x, x, cos, sin)[0]
    case("position", "rope_halves", halves, {"x": torch.randn(2, 3, 7, 8)})
    pairs = lambda x: interleaved_rope(
        x.transpose(1, 2), angle.sin()[None], angle.cos()[None]
    ).transpose(1, 2)
    case("position", "rope_interleaved", pairs, {"x": torch.randn(2, 3, 7, 8)})
    store = FILES.setdefault("position", {})
    sincos = build_2d_sinusoidal_position_embedding
    store["sincos_1d|out"] = sincos(6, 1, 20, dtype=torch.float64)[:, :10]
    # transformers puts the row's features first; the original the column's.
    store["sincos_2d|out"] = sincos(4, 5, 12, dtype=torch.float64).roll(6, dims=1)

    def resize(to: tuple[int, int], antialias: bool) -> Callable[[Tensor], Tensor]:
        def run(table: Tensor) -> Tensor:
            grid = table[1:].reshape(1, 4, 5, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=to, mode="bicubic", antialias=antialias)
            return torch.cat([table[:1], grid.permute(0, 2, 3, 1).flatten(1, 2)[0]])

        return run

    for name, to in {"up": (9, 7), "down": (2, 3), "mixed": (7, 3)}.items():
        for suffix, antialias in {"": False, "_antialias": True}.items():
            table = torch.randn(1 + 20, 3)
            case(
                "position",
                f"bicubic_{name}{suffix}",
                resize(to, antialias),
                {"table": table},
            )


def losses() -> None:
    targets = torch.tensor([[3, 0, -100, 10], [-100, 7, 7, 1]])
    factors = torch.rand(11) + 0.5
    fixed = {"targets": targets, "factors": factors}
    options = {
        "plain": {},
        "smooth": {"label_smoothing": 0.1},
        "weighted": {"weight": factors},
        "smooth_weighted": {"label_smoothing": 0.3, "weight": factors},
    }
    head = nn.Linear(6, 11)
    weights = dict(head.named_parameters())
    for name, kwargs in options.items():

        def loss(x: Tensor, kwargs: dict = kwargs) -> Tensor:
            return F.cross_entropy(x.flatten(0, 1), targets.flatten(), **kwargs)

        logits = {"x": 3 * torch.randn(2, 4, 11)}
        case("losses", f"logits_{name}", loss, logits, fixed=fixed)
        states = {"x": torch.randn(2, 4, 6)}
        of_states = lambda x, loss=loss: loss(head(x))
        case("losses", f"states_{name}", of_states, states, weights, fixed)
    geglu = lambda x, up: F.gelu(x) * up
    pair = {"x": 2 * torch.randn(3, 7), "up": torch.randn(3, 7)}
    case("losses", "geglu", geglu, pair)


def edges() -> None:
    """Record what becomes of numbers that are not finite."""
    nan, inf = torch.nan, torch.inf
    odd = torch.tensor([nan, inf, -inf, 0.0, -0.0, 2.0])
    lost = torch.tensor([nan, 1.0, -1.0])
    for name, function in ACTIVATIONS.items():
        FILES.setdefault("edges", {})[f"{name}_odd|in.x"] = odd
        FILES["edges"][f"{name}_odd|out"] = function(odd)
        case("edges", name, function, {"x": lost.clone()})
        gated = lambda x, up, function=function: function(x) * up
        case("edges", f"{name}_gate", gated, {"x": lost.clone(), "up": lost.flip(0)})
    rows = torch.randn(5, 6)
    rows[0, 1], rows[1, 2], rows[2, 3], rows[3, :2] = nan, inf, -inf, inf
    rms = lambda x, w: w * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    scale, shift = torch.randn(6), torch.randn(6)
    layer = lambda x, w, b: F.layer_norm(x, (6,), w, b, 1e-6)
    case("edges", "softmax", lambda x: x.softmax(-1), {"x": rows.clone()})
    case("edges", "layer_norm", layer, {"x": rows.clone(), "w": scale, "b": shift})
    case("edges", "rms_norm", rms, {"x": rows.clone(), "w": scale.detach()})
    weight = torch.randn(4, 6)
    weight[1, 0], weight[2, 5], weight[3, 4] = nan, inf, 0.0
    bias = torch.tensor([0.0, 1.0, nan, inf])
    inputs = {"x": rows.clone(), "weight": weight, "bias": bias}
    case("edges", "linear", F.linear, inputs)
    heads = qkv(2, 2, 4, 5, 3)
    heads["q"][0, 0, 1, 2] = nan
    heads["k"][0, 1, 2, 0] = nan
    heads["v"][1, 0, 3, 1] = nan
    heads["v"][1, 1, 3, 2] = inf
    # In the fused function a row without any number gives zeros.
    plain = lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    case("edges", "attention", plain, heads)
    film = torch.randn(1, 2, 6, 7)
    film[0, 0, 2, 3], film[0, 1, 0, 0], film[0, 1, 5, 6] = nan, inf, -inf
    pools = {
        "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1),
        "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    }
    for name, pool in pools.items():
        case("edges", name, pool, {"x": film.clone()})
    angle = torch.arange(7)[:, None] / 10000.0 ** (torch.arange(0, 8, 2) / 8)
    cos, sin = (f(torch.cat([angle, angle], -1))[None] for f in (torch.cos, torch.sin))
    tokens = torch.randn(1, 2, 7, 8)
    tokens[0, 0, 1, 2], tokens[0, 1, 3, 5], tokens[0, 1, 4, 0] = nan, inf, -inf
    case("edges", "rope", lambda x: halves_rope(x, x, cos, sin)[0], {"x": tokens})
    logits = torch.randn(6, 5)
    logits[0, 1], logits[1, 2], logits[2, 3], logits[3], logits[4, 0] = (
        nan,
        inf,
        -inf,
        -inf,
        -inf,
    )
    for row, target in enumerate([0, 0, 0, 0, 0, 1]):
        chosen = torch.tensor([target])
        loss = lambda x, chosen=chosen: F.cross_entropy(x, chosen)
        one = {"x": logits[row : row + 1].clone()}
        case("edges", f"cross_entropy_{row}", loss, one, fixed={"targets": chosen})


def main() -> None:
    torch.manual_seed(20240607)
    for write in (dense, convolution, attention, positions, losses, edges):
        write()
    for file, tensors in FILES.items():
        whole = {k: v.detach().float().contiguous().clone() for k, v in tensors.items()}
        save_file(whole, HERE / f"{file}.safetensors")


if __name__ == "__main__":
    main()
