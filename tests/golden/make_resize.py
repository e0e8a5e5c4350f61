"""Make resize.npz: what PyTorch makes of a small image, for test_resize.py.

Run with an interpreter that has torch: ``python tests/golden/make_resize.py``.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

SIZES = [(17, 23), (40, 25), (61, 90)]


def main() -> None:
    """Write the image and its resized versions."""
    image = np.random.default_rng(11).random((45, 52)).astype(np.float32)
    batch = torch.from_numpy(image)[None, None]
    stored = {"image": image}
    for height, width in SIZES:
        for kernel, antialias in [
            ("bilinear", True),
            ("bicubic", True),
            ("bilinear", False),
        ]:
            resized = interpolate(
                batch,
                size=(height, width),
                mode=kernel,
                align_corners=False,
                antialias=antialias,
            )
            name = f"{kernel}-{int(antialias)}-{height}-{width}"
            stored[name] = resized[0, 0].numpy()
    np.savez_compressed(Path(__file__).with_name("resize.npz"), **stored)


if __name__ == "__main__":
    main()
