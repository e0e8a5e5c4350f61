"""Resizing beside PyTorch's own."""

from pathlib import Path

import carina as ca
import numpy as np
import pytest

STORED = np.load(Path(__file__).with_name("resize.npz"))


@pytest.mark.golden
@pytest.mark.parametrize("name", [key for key in STORED if key != "image"])
def test_a_kernel_agrees_with_pytorch(name):
    kernel, antialias, height, width = name.split("-")
    step = {
        "step": "resize",
        "height": int(height),
        "width": int(width),
        "kernel": kernel,
        "antialias": antialias == "1",
    }
    pixels, _ = ca.Recipe.from_steps([step]).apply(STORED["image"])
    np.testing.assert_allclose(pixels[0], STORED[name], atol=1e-5)
