"""bfloat16 products, and training in several processes."""

import os
import socket
import subprocess
import sys

import carina as ca
import numpy as np
import pytest


@pytest.fixture(scope="module")
def films():
    return ca.phantom(n=16, size=32, seed=2, progress=False)


def test_films_encoded_in_bfloat16_are_float32_rows_close_to_the_exact_ones(
    films, small
):
    model = small(1)
    exact = model.encode(films, progress=False)
    short = model.encode(films, precision="bf16", progress=False)
    assert short.dtype == np.float32
    assert 0 < np.abs(short - exact).max() < 5e-2 * np.abs(exact).max()
    np.testing.assert_array_equal(model.encode(films, progress=False), exact)


def test_an_unknown_precision_is_named(films, small):
    with pytest.raises(ca.CarinaError, match=r"precision: .*`f32`.*`bf16`"):
        small(1).encode(films, precision="f8", progress=False)
    with pytest.raises(ca.CarinaError, match="unknown variant `f8`"):
        ca.train(small(1), films, precision="f8", progress=False)


def test_training_in_bfloat16_keeps_float32_weights(films, small):
    model = small(1)
    run = ca.train(
        model,
        films,
        "contrastive",
        batch_size=8,
        epochs=1,
        precision="bf16",
        progress=False,
    )
    assert run.stage["precision"] == "bf16"
    assert np.isfinite(run.history["loss"]).all()
    assert all(model.parameter(name).dtype == np.float32 for name in model.parameters())


def test_a_stage_without_the_option_reads_as_before():
    assert "precision" not in ca.stage("contrastive")


PROCESS = """
import sys
import carina as ca
import numpy as np
films = ca.phantom(n=16, size=32, seed=2, progress=False)
model = ca.load(sys.argv[3], device="cpu")
ca.train(model, films, "supervised", batch_size=int(sys.argv[2]), epochs=2,
         out=sys.argv[1], progress=False)
print(model.fingerprint())
"""


def together(tmp_path, start, batch_size, ranks=(0, 1)):
    start.save(tmp_path / "start")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    given = [str(tmp_path / "run"), str(batch_size), str(tmp_path / "start")]
    command = [sys.executable, "-c", PROCESS, *given]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ranks
    ]
    return [(*process.communicate(), process.returncode) for process in processes]


def test_processes_that_train_together_end_with_the_same_bits(tmp_path, small):
    (first, why, code), (second, _, other) = together(tmp_path, small(1), 8)
    assert (code, other) == (0, 0), why
    assert first == second != ""
    saved = ca.load(tmp_path / "run" / "model", device="cpu")
    assert saved.fingerprint() != small(1).fingerprint()


def test_a_batch_that_has_no_equal_shares_is_refused(tmp_path, small):
    for _, why, code in together(tmp_path, small(1), 7):
        assert code == 1
        assert "stage.batch_size" in why
        assert "found 7, expected a multiple of 2 processes" in why
