"""What the tests on a GPU share."""

import os

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
