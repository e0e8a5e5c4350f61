"""An index whose writer is killed at any moment."""

import subprocess
import sys
import time

from carina import Index

WRITER = """
import sys
import numpy as np
from carina import Index

index = Index.open(sys.argv[1])
for number in range(10_000):
    rows = np.random.default_rng(number).normal(size=(20, 16)).astype(np.float32)
    index.add(rows, keys=[f"{number}-{i}" for i in range(20)])
    print(number, flush=True)
    if number % 5 == 4:
        index.delete([f"{number - 1}-{i}" for i in range(20)])
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path):
    Index.create(tmp_path / "x", dimension=16)
    log = tmp_path / "acknowledged"
    for wait in (7, 11, 13):
        with log.open("w") as out:
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path / "x")], stdout=out
            )
            deadline = time.monotonic() + 60
            while len(log.read_text().split()) < wait and time.monotonic() < deadline:
                time.sleep(0.005)
            writer.kill()
            writer.wait()
        done = len(log.read_text().split())
        assert done >= wait
        index = Index.open(tmp_path / "x")
        kept = sum(f"{number}-0" in index for number in range(done))
        # Every fifth append deletes the one before; the last may be under way.
        assert done - kept in (done // 5, done // 5 - 1)
        assert len(index) % 20 == 0
        index.delete(where="key >= '0'")
        index.compact()
        assert len(Index.open(tmp_path / "x")) == 0
