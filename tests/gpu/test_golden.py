"""The golden files on a GPU: outputs and gradients stored from PyTorch, at 1e-3.

The Rust tests of the golden files read the device from ``CARINA_TEST_DEVICE``. Their
programs, built with CUDA, are looked for in ``CARINA_GPU_TESTS``: ``.ci/gpu`` puts them
there.
"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.gpu, pytest.mark.golden]


@pytest.mark.parametrize("name", ["golden_layers", "golden_encoders", "golden_volumes"])
def test_outputs_and_gradients_are_those_of_pytorch(device, name):
    folder = os.environ.get("CARINA_GPU_TESTS")
    if folder is None:
        pytest.skip("CARINA_GPU_TESTS names no folder of test programs; see .ci/gpu")
    run = subprocess.run(
        [Path(folder) / name, "--test-threads", "1"],
        env={
            **os.environ,
            "CARINA_TEST_DEVICE": device,
            "CARGO_MANIFEST_DIR": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert "test result: ok." in run.stdout
