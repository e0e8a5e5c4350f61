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
