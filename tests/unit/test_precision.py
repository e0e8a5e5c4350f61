"""bfloat16 products, and training in several processes."""

import os
import socket
import subprocess
import sys

import carina as ca
import numpy as np
import pytest

SMALL = {
    "image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
    "text": {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32},
    "queries": 2,
    "pool_heads": 2,
    "embedding": 8,
}


@pytest.fixture(scope="module")
def films():
    return ca.phantom(n=16, size=32, seed=2, progress=False)


def create():
    return ca.create("elixr", seed=1, image_size=32, device="cpu", **SMALL)


def test_films_encoded_in_bfloat16_are_float32_rows_close_to_the_exact_ones(films):
    model = create()
    exact = model.encode(films, progress=False)
    short = model.encode(films, precision="bf16", progress=False)
    assert short.dtype == np.float32
    assert 0 < np.abs(short - exact).max() < 5e-2 * np.abs(exact).max()
    np.testing.assert_array_equal(model.encode(films, progress=False), exact)


def test_an_unknown_precision_is_named(films):
    with pytest.raises(ca.CarinaError, match=r"precision: .*`f32`.*`bf16`"):
        create().encode(films, precision="f8", progress=False)
    with pytest.raises(ca.CarinaError, match="unknown variant `f8`"):
        ca.train(create(), films, precision="f8", progress=False)


def test_training_in_bfloat16_keeps_float32_weights(films):
    model = create()
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


PROCESS = f"""
import sys
import carina as ca
import numpy as np
films = ca.phantom(n=16, size=32, seed=2, progress=False)
model = ca.create("elixr", seed=1, image_size=32, device="cpu", **{SMALL!r})
ca.train(model, films, "supervised", batch_size=int(sys.argv[2]), epochs=2,
         out=sys.argv[1], progress=False)
print(model.fingerprint())
"""


def together(tmp_path, batch_size, ranks=(0, 1)):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", PROCESS, str(tmp_path), str(batch_size)]
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


def test_processes_that_train_together_end_with_the_same_bits(tmp_path):
    (first, why, code), (second, _, other) = together(tmp_path / "run", 8)
    assert (code, other) == (0, 0), why
    assert first == second != ""
    saved = ca.load(tmp_path / "run" / "model", device="cpu")
    assert saved.fingerprint() != create().fingerprint()


def test_a_batch_that_has_no_equal_shares_is_refused(tmp_path):
    for _, why, code in together(tmp_path, 7):
        assert code == 1
        assert "stage.batch_size" in why
        assert "found 7, expected a multiple of 2 processes" in why
