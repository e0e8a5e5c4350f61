"""Makes the stored outputs of small random residual networks.

Needs torch, timm and safetensors; run it from this folder. Each case holds the weights
under timm's names, an input, the tokens in inference and in training mode, and the
gradients of ``sum(trained * weight)`` in training mode. All computed in float64.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

sys.path.insert(0, str(Path(__file__).parents[1]))
from trunks import shake

HERE = Path(__file__).parent


def make(name, block, layers, channels, seed):
    torch.manual_seed(seed)
    model = ResNet(
        block, layers, in_chans=1, num_classes=0, channels=channels, global_pool=""
    ).double()
    shake(model)
    weights = {k: v.clone() for k, v in model.state_dict().items() if v.ndim}
    pixels = torch.randn(2, 1, 40, 28).double().requires_grad_()

    def tokens():
        x = model.maxpool(model.act1(model.bn1(model.conv1(pixels))))
        for stage in range(len(layers)):
            x = getattr(model, f"layer{stage + 1}")(x)
        return x.flatten(2).transpose(1, 2)

    model.eval()
    with torch.no_grad():
        inferred = tokens()
    model.train()
    trained = tokens()
    weight = torch.randn(trained.shape).double()
    (trained * weight).sum().backward()
    out = {f"weights.{k}": v for k, v in weights.items()}
    out |= {f"gradients.{k}": p.grad for k, p in model.named_parameters()}
    out |= {"pixels": pixels.detach(), "pixels_gradient": pixels.grad}
    out |= {"inferred": inferred, "trained": trained.detach(), "weight": weight}
    moved = dict(model.state_dict())
    out |= {f"moved.{k}": moved[k] for k in weights if "running" in k}
    save_file(
        {k: v.detach().float().contiguous() for k, v in out.items()},
        HERE / f"{name}.safetensors",
    )


if __name__ == "__main__":
    make("basic", BasicBlock, [1, 2], (4, 8), 1)
    make("bottleneck", Bottleneck, [1, 1], (2, 4), 2)
