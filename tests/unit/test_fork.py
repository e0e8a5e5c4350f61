"""Work in a process that was forked from one that has worked already."""

import os
import time

import carina as ca
import numpy as np
import pytest

TIME = 60


def in_a_child(work):
    """Run work in a forked process, and say how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + TIME
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "did not end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_works_as_its_parent_did():
    volume = ca.Volume.from_array(np.full((8, 8, 8), -1000.0), spacing=(2.0, 2.0, 2.0))
    volume.resample(1.0)  # the parent has threads
    films = ca.phantom(4, seed=1, size=32, progress=False)
    model = ca.create("elixr", image_size=32)
    before = model.encode(films, progress=False)

    def work():
        assert volume.resample(1.0).shape == (16, 16, 16)
        assert len(ca.phantom(4, seed=1, size=32, progress=False)[0].images) == 1
        after = model.encode(films, progress=False)
        np.testing.assert_allclose(after, before, atol=1e-6)
        assert in_a_child(lambda: volume.resample(1.0)) == 0

    assert in_a_child(work) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_large_tensors_are_added_in_a_forked_process():
    # From 65,536 numbers on candle would ask threads of its own: 8 films of 256 × 128.
    vit = {"arch": "vit", "patch_size": 4, "image_size": 64, "depth": 1}
    vit |= {"channels": 1, "dim": 128, "heads": 2}
    model = ca.create("elixr", size="tiny", image_size=64, image=vit)
    films = ca.phantom(8, seed=1, size=64, progress=False)
    before = model.encode(films, progress=False)

    def work():
        after = model.encode(films, progress=False)
        np.testing.assert_allclose(after, before, atol=1e-6)

    assert in_a_child(work) == 0
