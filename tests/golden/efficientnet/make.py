"""Makes the stored weights and outputs of small random EfficientNets.

Needs torch, torchvision, timm and safetensors; run it from this folder. Each case is a
folder as ``../trunks.py`` writes it.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from timm.models.efficientnet import _gen_efficientnet
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

sys.path.insert(0, str(Path(__file__).parents[1]))
from trunks import store

HERE = Path(__file__).parent


def timm(name, seed, size, **options):
    torch.manual_seed(seed)
    model = _gen_efficientnet(
        "efficientnet_b0",
        channel_multiplier=0.1,
        in_chans=1,
        num_classes=3,
        **options,
    ).double()
    store(HERE / name, model, model.forward_features, (2, 1, *size), seed)


def torchvision(name, seed, size):
    torch.manual_seed(seed)
    stages = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ]
    inputs = [32, *(stage[3] for stage in stages)]
    block = partial(MBConvConfig, width_mult=0.1, depth_mult=0.3)
    setting = [
        block(expansion, kernel, stride, inputs[i], channels, layers)
        for i, (expansion, kernel, stride, channels, layers) in enumerate(stages)
    ]
    model = EfficientNet(setting, dropout=0.0, stochastic_depth_prob=0.0, num_classes=3)
    stem = model.features[0][0]
    model.features[0][0] = torch.nn.Conv2d(1, stem.out_channels, 3, 2, 1, bias=False)
    model = model.double()
    store(HERE / name, model, model.features, (2, 1, *size), seed)


if __name__ == "__main__":
    timm("timm", 1, (64, 40), depth_multiplier=0.1)
    timm(
        "tensorflow",
        2,
        (61, 48),
        depth_multiplier=0.1,
        pad_type="same",
        bn_eps=1e-3,
        bn_momentum=0.01,
    )
    torchvision("torchvision", 3, (64, 64))
