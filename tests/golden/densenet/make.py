"""Makes the stored weights and outputs of small random DenseNets.

Needs torch, torchvision and safetensors; run it from this folder. Each case is a folder
in the form of ``../efficientnet``; the map is what torchvision's classifier averages.
"""

import sys
from pathlib import Path

import torch
from torchvision.models.densenet import DenseNet

sys.path.insert(0, str(Path(__file__).parents[1]))
from trunks import store

HERE = Path(__file__).parent


def make(name, seed, size, channels, stem, **options):
    torch.manual_seed(seed)
    model = DenseNet(num_init_features=stem, num_classes=3, **options)
    model.features.conv0 = torch.nn.Conv2d(channels, stem, 7, 2, 3, bias=False)
    model = model.double()

    def features(pixels):
        return torch.relu(model.features(pixels))

    store(HERE / name, model, features, (2, channels, *size), seed)


if __name__ == "__main__":
    sizes = {"growth_rate": 4, "bn_size": 3}
    make("torchvision", 1, (64, 52), 3, 6, block_config=(2, 3, 2, 2), **sizes)
    make("one_channel", 2, (96, 64), 1, 16, block_config=(3, 2), **sizes)
