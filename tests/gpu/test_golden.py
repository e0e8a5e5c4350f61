"""The golden files on a GPU: outputs and gradients stored from PyTorch, at 1e-3.

The Rust tests of the golden files read the device from ``CARINA_TEST_DEVICE``. Their
programs, built with CUDA, are looked for in ``CARINA_GPU_TESTS``: ``.ci/gpu`` puts them
there.
"""

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.golden]


@pytest.mark.parametrize("name", ["golden_layers", "golden_encoders", "golden_volumes"])
def test_outputs_and_gradients_are_those_of_pytorch(device, run_program, name):
    run_program(name, device)
