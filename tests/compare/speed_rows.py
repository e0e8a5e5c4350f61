"""The rows of ``speed.py``: what is computed, and how each peer computes it.

A row makes one folder: ``row.json`` for carina's worker, inputs, weights. The peers
read the same folder, so that all compute the same numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from speed_decoder import DECODER, Decoder
from torch import Tensor, nn
from transformers import BertConfig, BertModel

sys.path.append(str(Path(__file__).parents[1] / "golden" / "ctvit"))
from make import CtVit

Run = Callable[[], Tensor]
RATE, DECAY = 1e-4, 0.01
IMAGE_PEERS = ("torch_eager", "torch_compile", "onnxruntime")


@dataclass
class Row:
    """One line of the table.

    Parameters
    ----------
    peers : tuple of str
        Who is compared with.
    spec : dict
        What carina's worker reads.
    inputs : callable
        Makes the tensors by name.
    model : callable, optional
        Makes the module, whose weights are stored.
    call : callable
        From the module (or None) and the inputs to the output.
    config : object, optional
        A Hugging Face configuration to store beside the weights.
    kind : {"infers", "trains", "adamw"}, default="infers"
        What one call is: an inference, a whole training step, or the optimiser's.
    tolerance : float, default=1e-3
        Largest difference of the outputs, as a part of the largest output.
    half : bool, default=False
        Whether matrices are multiplied in bfloat16: carina's linear maps; all of
        torch's model in inference, what autocast chooses in training.
    """

    peers: tuple[str, ...]
    spec: dict[str, Any]
    inputs: Callable[[], dict[str, Tensor]]
    call: Callable[[nn.Module | None, dict[str, Tensor]], Tensor]
    model: Callable[[], nn.Module] | None = None
    config: Any = None
    kind: Literal["infers", "trains", "adamw"] = "infers"
    tolerance: float = 1e-3
    half: bool = False


def vit(name: str, **options: Any) -> nn.Module:
    """Make a vision transformer of timm without its head, in inference mode."""
    return timm.create_model(name, num_classes=0, **options).eval()


def vit_config(dim: int, heads: int) -> dict[str, Any]:
    return {
        "image_size": 224,
        "channels": 3,
        "dim": dim,
        "depth": 12,
        "heads": heads,
        "position_resize": "bicubic_antialias",
    }


def images(batch: int) -> dict[str, Tensor]:
    return {"x": torch.randn(batch, 3, 224, 224)}


def in_half(row: Row) -> Row:
    """Turn a row into the same with products of bfloat16."""
    row.spec["precision"] = "bf16"
    # Eight bits of a factor: the outputs agree to about one part in a hundred.
    return replace(row, peers=("torch_bf16",), tolerance=3e-2, half=True)


def vit_row(batch: int) -> Row:
    return Row(
        IMAGE_PEERS,
        {"kind": "vit", "config": vit_config(768, 12)},
        lambda: images(batch),
        lambda model, data: model(data["x"]),
        lambda: vit("vit_base_patch16_224"),
    )


def trunk_row(name: str, arch: str, batch: int) -> Row:
    config = {"arch": arch, "channels": 3}
    return Row(
        IMAGE_PEERS,
        {"kind": "trunk", "map": arch, "config": config},
        lambda: images(batch),
        lambda model, data: model(data["x"]),
        lambda: timm.create_model(name, num_classes=0).eval(),
    )


def ctvit_row(depth: int, dim: int, size: tuple[int, ...]) -> Row:
    """CT volumes of this size to tokens, or with blocks to the class token."""
    scale, heads = (size, (16, 16, 16)), dim // 64
    config = {
        "dim": dim,
        "heads": heads,
        "depth": max(depth, 1),
        "scales": [{"size": scale[0], "patch": scale[1]}],
    }
    trunk = {"kind": "trunk", "map": "ctvit", "config": {"arch": "ctvit", **config}}
    return Row(
        ("torch_eager",),
        trunk if depth else {"kind": "ct_tokenizer", "config": config},
        lambda: {"x": torch.randn(1, 1, *size)},
        lambda model, data: (
            model.encoder_img(model.embed(data["x"]))[:, 0]
            if depth
            else model.embed(data["x"])
        ),
        lambda: CtVit(dim, max(depth, 1), heads, [scale]).eval(),
    )


def bert_row() -> Row:
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return Row(
        IMAGE_PEERS,
        {"kind": "bert"},
        lambda: {"ids": torch.randint(1000, 30000, (8, 128))},
        lambda model, data: model(input_ids=data["ids"]).last_hidden_state,
        lambda: BertModel(config, add_pooling_layer=False).eval(),
        config,
    )


def decoder_row(tokens: int, steps: int, precision: str = "f32") -> Row:
    row = Row(
        ("torch_eager",),
        {"kind": "llama", "steps": steps, "precision": precision},
        lambda: {"ids": torch.randint(3, 32000, (1, tokens + steps))},
        lambda model, data: model(data["ids"]),
        lambda: Decoder(steps),
        DECODER,
    )
    # Eight bits of a factor: the logits agree to a few parts in a hundred.
    return row if precision == "f32" else replace(row, tolerance=1e-1)


def attention_row(tokens: int) -> Row:
    heads = 12
    shape = (8 if tokens < 1000 else 1, heads, tokens, 64)
    return Row(
        ("torch_sdpa",),
        {"kind": "attention"},
        lambda: {name: torch.randn(shape) for name in "qkv"},
        lambda _, data: F.scaled_dot_product_attention(*(data[name] for name in "qkv")),
    )


def conv_row(sizes: tuple[int, ...], shape: tuple[int, ...]) -> Row:
    inside, outside, kernel, stride, padding, groups = sizes

    def inputs() -> dict[str, Tensor]:
        weight = torch.randn(outside, inside // groups, kernel, kernel)
        scale = (kernel * kernel * inside // groups) ** -0.5
        return {"x": torch.randn(shape), "weight": weight * scale}

    def call(_: nn.Module | None, data: dict[str, Tensor]) -> Tensor:
        return F.conv2d(
            data["x"], data["weight"], stride=stride, padding=padding, groups=groups
        )

    spec = {"kind": "conv", "sizes": list(sizes)}
    return Row(("torch_eager",), spec, inputs, call)


def norm_row() -> Row:
    return Row(
        ("torch_eager",),
        {"kind": "layer_norm", "dim": 768},
        lambda: {
            "x": torch.randn(8, 197, 768),
            "weight": torch.ones(768),
            "bias": torch.zeros(768),
        },
        lambda _, data: F.layer_norm(
            data["x"], (768,), data["weight"], data["bias"], 1e-6
        ),
    )


class Trained(nn.Module):
    """A vision transformer with a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = vit("vit_small_patch16_224").train()
        self.head = nn.Linear(384, 1000)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.head(self.trunk(x)), y[:, 0])


def train_row() -> Row:
    return Row(
        ("torch_eager", "torch_compile"),
        {
            "kind": "vit_train",
            "config": vit_config(384, 6),
            "classes": 1000,
            "rate": RATE,
        },
        lambda: images(8) | {"y": torch.randint(0, 1000, (8, 1))},
        lambda model, data: model(data["x"], data["y"]),
        Trained,
        kind="trains",
    )


def adamw_row() -> Row:
    shapes = [(384, 384)] * 48 + [(1536, 384)] * 21 + [(384,)] * 100

    def inputs() -> dict[str, Tensor]:
        return {
            f"{kind}.{i:03}": torch.randn(shape)
            for i, shape in enumerate(shapes)
            for kind in ("w", "g")
        }

    return Row(
        ("torch_eager", "torch_fused"),
        {"kind": "adamw", "rate": RATE},
        inputs,
        lambda _, data: data["w.000"],
        kind="adamw",
    )


ROWS: dict[str, Row] = {
    "vit_b16_f32_b1": vit_row(1),
    "vit_b16_f32_b8": vit_row(8),
    "vit_b16_bf16_b1": in_half(vit_row(1)),
    "vit_b16_bf16_b8": in_half(vit_row(8)),
    "efficientnet_b0_b1": trunk_row("efficientnet_b0", "efficientnet", 1),
    "efficientnet_b0_b8": trunk_row("efficientnet_b0", "efficientnet", 8),
    "densenet121_b1": trunk_row("densenet121", "densenet", 1),
    "densenet121_b8": trunk_row("densenet121", "densenet", 8),
    "vit_s_train_b8": train_row(),
    "vit_s_train_bf16_b8": in_half(train_row()),
    "bert_base_b8": bert_row(),
    "ctvit_tokenizer": ctvit_row(0, 1024, (128, 448, 320)),
    "ctvit_base_crop": ctvit_row(12, 768, (128, 192, 224)),
    "llama_246m_decode_f32": decoder_row(64, 8),
    "llama_246m_decode_bf16": replace(
        decoder_row(64, 8, "bf16"), peers=("torch_bf16",), half=True
    ),
    "llama_246m_decode_q8_0": decoder_row(64, 8, "q8_0"),
    "llama_246m_prefill256_f32": decoder_row(256, 0),
    "adamw_20m": adamw_row(),
    "attention_197": attention_row(197),
    "attention_1024": attention_row(1024),
    "attention_4481": attention_row(4481),
    "layer_norm": norm_row(),
    "conv_3x3_64_64": conv_row((64, 64, 3, 1, 1, 1), (2, 64, 56, 56)),
    "conv_3x3_128_32": conv_row((128, 32, 3, 1, 1, 1), (8, 128, 28, 28)),
    "conv_7x7_s2_3_64": conv_row((3, 64, 7, 2, 3, 1), (1, 3, 224, 224)),
    "conv_1x1_256_128": conv_row((256, 128, 1, 1, 0, 1), (8, 256, 28, 28)),
    "depthwise_3x3_144": conv_row((144, 144, 3, 1, 1, 144), (1, 144, 56, 56)),
    "depthwise_5x5_672": conv_row((672, 672, 5, 1, 2, 672), (8, 672, 14, 14)),
}


def write(name: str, folder: Path) -> None:
    """Store what all peers read for a row."""
    row = ROWS[name]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    (folder / "row.json").write_text(json.dumps(row.spec))
    save_file(
        {key: x.contiguous() for key, x in row.inputs().items()},
        folder / "input.safetensors",
    )
    if row.model is not None:
        state = {
            key.removeprefix("trunk."): x.contiguous()
            for key, x in row.model().state_dict().items()
        }
        save_file(state, folder / "model.safetensors")
    if row.config is not None:
        row.config.save_pretrained(folder)


def opened(name: str, folder: Path) -> tuple[nn.Module | None, dict[str, Tensor]]:
    """Read a row's folder as torch does."""
    row, data = ROWS[name], load_file(folder / "input.safetensors")
    if row.model is None:
        return None, data
    model = row.model()
    state = load_file(folder / "model.safetensors")
    if isinstance(model, Trained | Decoder):
        state = {
            k if k.startswith("head.") else f"trunk.{k}": x for k, x in state.items()
        }
    model.load_state_dict(state)
    return model, data


def torch_run(
    name: str,
    folder: Path,
    *,
    compiled: bool = False,
    fused: bool = False,
    device: str = "cpu",
) -> Run:
    """Make what a torch peer times: one inference, or one whole training step."""
    row = ROWS[name]
    model, data = opened(name, folder)
    if row.kind == "adamw":
        return _adamw(data, fused=fused)
    short = row.half and row.kind == "infers"
    data = {key: x.to(device) for key, x in data.items()}
    if short:
        floats = [key for key, x in data.items() if x.is_floating_point()]
        data |= {key: data[key].to(torch.bfloat16) for key in floats}
    if model is not None:
        model = model.to(device, torch.bfloat16 if short else None)
    call = torch.compile(model) if compiled and model is not None else model
    if row.kind == "infers":

        def run() -> Tensor:
            with torch.inference_mode():
                return row.call(call, data)

        return run
    parameters = model.parameters()
    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY, fused=True)
    kind = torch.device(device).type

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(kind, torch.bfloat16, enabled=row.half):
            loss = row.call(call, data)
        loss.backward()
        optimiser.step()
        return loss.detach().reshape(1)

    return step


def _adamw(data: dict[str, Tensor], *, fused: bool) -> Run:
    names = sorted(key.removeprefix("w.") for key in data if key.startswith("w."))
    weights = [nn.Parameter(data[f"w.{name}"]) for name in names]
    for name, weight in zip(names, weights, strict=True):
        weight.grad = data[f"g.{name}"]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": DECAY},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, RATE, fused=fused)

    def step() -> Tensor:
        optimiser.step()
        return weights[0].detach()

    return step
