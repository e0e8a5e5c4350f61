"""What the tests on a GPU share."""

import os
import subprocess
from pathlib import Path

import carina as ca
import pytest


@pytest.fixture(scope="session")
def device():
    """Give the GPU's name; skip, saying why, where there is none."""
    name = os.environ.get("CARINA_TEST_DEVICE", "cuda")
    if name == "cpu":
        return name  # to try the tests themselves
    facts = ca.doctor()
    found = dict(zip(facts["what"], facts["found"], strict=True))
    if found["cuda"] != "yes":
        pytest.skip(f"no GPU: {found['cuda'].removeprefix('no: ')}")
    return name


@pytest.fixture(scope="session")
def run_program():
    """Run a Rust test built with CUDA; give what it printed."""
    folder = os.environ.get("CARINA_GPU_TESTS")
    if folder is None:
        pytest.skip("CARINA_GPU_TESTS names no folder of test programs; see .ci/gpu")

    def run_program(name, device, **environment):
        root = str(Path(__file__).parents[2])
        run = subprocess.run(
            [Path(folder) / name, "--test-threads", "1", "--nocapture"],
            env={
                **os.environ,
                "CARINA_TEST_DEVICE": device,
                "CARGO_MANIFEST_DIR": root,
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
        assert "test result: ok." in run.stdout
        return run

    return run_program
