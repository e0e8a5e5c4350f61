"""Crops of M3FM, as the released code makes them.

``m3fm_crop.npz`` was written by that code (github.com/niuchuangnn/M3FM, commit
a9f1820, MIT; `crop_resize` with torch, trilinear, align_corners=False) on random
integers: nine boxes, some at the edges of the volume, and two windows of HU.
"""

from pathlib import Path

import carina as ca
import numpy as np
import pytest

GOLDEN = np.load(Path(__file__).with_name("m3fm_crop.npz"))


@pytest.mark.golden
@pytest.mark.parametrize("case", range(9))
def test_a_crop_is_that_of_the_released_code_with_its_true_spacing(case):
    volume = ca.Volume.from_array(GOLDEN["volume"], spacing=GOLDEN["spacing"])
    crop = volume.crop(GOLDEN["boxes"][case], size=GOLDEN["sizes"][case])
    wanted = GOLDEN[f"crop_{case}"]
    np.testing.assert_allclose(crop.to_numpy(), wanted, rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(crop.spacing, GOLDEN["true_spacing"][case], rtol=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize(("name", "case"), [("cancer", 1), ("heart", 2)])
def test_a_window_is_that_of_the_released_code(name, case):
    volume = ca.Volume.from_array(GOLDEN["volume"], spacing=GOLDEN["spacing"])
    crop = volume.crop(GOLDEN["boxes"][case], size=GOLDEN["sizes"][case])
    found = crop.window(name).to_numpy() * 2 - 1
    np.testing.assert_allclose(found, GOLDEN[f"{name}_{case}"], atol=1e-5)
