"""Training through the public face."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import carina as ca
import numpy as np
import pytest
from carina.errors import (
    CheckpointError,
    ConfigError,
    InvalidValueError,
    TrainingError,
)


def test_a_run_tells_what_it_measured(films, small):
    model = small()
    parts = films.split(fractions={"train": 0.7, "val": 0.3}, seed=0)
    run = ca.train(
        model,
        parts["train"],
        "supervised",
        validation=parts["val"],
        epochs=3,
        batch_size=16,
        progress=False,
    )
    steps = len(parts["train"]) // 16 * 3
    assert len(run.history) == steps
    assert list(run.validation["epoch"]) == [1, 2, 3]
    assert np.isfinite(run.history["loss"]).all()
    assert repr(run).startswith(f"Run(supervised: {steps} steps, loss ")


@pytest.mark.parametrize("name", ["contrastive", "together", "supcon", "supervised"])
def test_a_run_that_was_cut_goes_on_bit_by_bit(films, tmp_path, name, small):
    settings = {"epochs": 3, "batch_size": 16, "seed": 4, "progress": False}
    if name == "together":
        # The same four steps an epoch, each of two micro-batches.
        name, more = "contrastive", {"objective__together": True, "accumulate": 2}
        settings |= more | {"batch_size": 8}
    whole = small()
    ca.train(whole, films, name, **settings)
    ca.train(small(), films, name, out=tmp_path, stop_after=5, **settings)
    resumed = small()
    run = ca.train(resumed, films, name, out=tmp_path, **settings)
    assert len(run.history) == 12
    assert resumed.fingerprint() != small().fingerprint()
    for parameter in whole.parameters():
        np.testing.assert_array_equal(
            whole.parameter(parameter), resumed.parameter(parameter), err_msg=parameter
        )


def test_a_checkpoint_of_another_run_is_not_taken_up(films, tmp_path, small):
    ca.train(small(), films, "supcon", out=tmp_path, epochs=1, progress=False)
    with pytest.raises(CheckpointError, match="another stage"):
        ca.train(small(), films, "supcon", out=tmp_path, epochs=2, progress=False)


CHILD = """
import sys
import carina as ca
films = ca.phantom(64, seed=3, size=32, progress=False)
model = ca.create("elixr", image_size=32, seed=0)
ca.train(model, films, "supervised", epochs=int(sys.argv[2]), batch_size=16,
         checkpoint_steps=1, out=sys.argv[1], progress=False)
print(model.fingerprint())
"""


def child(folder, epochs):
    code = textwrap.dedent(CHILD)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(epochs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process):
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)


GROWTH = """
import resource
import carina as ca
films = ca.phantom(64, seed=3, size=32, progress=False)
model = ca.create("elixr", image_size=32, seed=0)
peaks = []
for epochs in (5, 50):  # 20 steps, then 200
    ca.train(model, films, "supervised", epochs=epochs, batch_size=16, progress=False)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] / peaks[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="reads the peak of the memory")
def test_memory_does_not_grow_with_the_steps_of_a_run():
    command = [sys.executable, "-c", GROWTH]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.2


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_weights(tmp_path):
    whole = child(tmp_path / "whole", 4).communicate()[0]
    killed = child(tmp_path / "cut", 4)
    wait_for(tmp_path / "cut" / "checkpoint.safetensors", killed)
    killed.kill()
    killed.communicate()
    resumed, errors = child(tmp_path / "cut", 4).communicate()
    assert resumed == whole, errors
    assert not list(Path(tmp_path / "cut").glob(".*.tmp.*"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_a_run_within_seconds(tmp_path):
    process = child(tmp_path, 100_000)
    wait_for(tmp_path / "checkpoint.safetensors", process)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # else a failure leaves it training
    assert time.monotonic() - sent < 10  # a second on an idle machine
    assert "KeyboardInterrupt" in errors


def test_stages_are_data_and_wrong_ones_say_what_is_wrong(films, small):
    stage = ca.stage("contrastive", epochs=1, schedule__peak=3e-4)
    assert stage["schedule"]["peak"] == 3e-4
    assert ca.list_stages() == [
        "contrastive",
        "graft",
        "language",
        "qformer",
        "supcon",
        "supervised",
    ]
    with pytest.raises(
        InvalidValueError, match='stage: found "magic", expected one of'
    ):
        ca.stage("magic")
    with pytest.raises(ConfigError, match="unknown field `epoch`"):
        ca.train(small(), films, "supcon", epoch=1, progress=False)
    with pytest.raises(ConfigError, match=r"stage\.batch_size: |stage\.batch_size"):
        ca.train(small(), films, "supcon", batch_size=0, progress=False)
    with pytest.raises(ConfigError, match=r"drop_detail`: found 1, expected a number"):
        ca.train(small(), films, "contrastive", objective__drop_detail=1.0)
    with pytest.raises(ConfigError, match=r"restate`: found -0.1, expected a number"):
        ca.train(small(), films, "qformer", objective__restate=-0.1)
    with pytest.raises(ConfigError, match=r'wrong`: found "none", expected kinds'):
        ca.train(small(), films, "contrastive", objective__wrong=["none"])
    with pytest.raises(ConfigError, match=r'wrong`: found "device" twice'):
        ca.train(small(), films, "contrastive", objective__wrong=["device"] * 2)
    with pytest.raises(ConfigError, match=r"unknown variant `sides`.*`laterality`"):
        ca.train(small(), films, "contrastive", objective__wrong=["sides"])
    with pytest.raises(ConfigError, match=r"unknown variant `alike`.*`equal` or `sh"):
        ca.train(small(), films, "supcon", objective__positives="alike")
    with pytest.raises(
        ConfigError, match=r"optimiser\.beta1`: found 1, expected a num"
    ):
        ca.train(small(), films, "supcon", optimiser__beta1=1.0, progress=False)
    with pytest.raises(TrainingError, match="no parameter matches"):
        ca.train(small(), films, "supcon", train=["nothing.*"], progress=False)
    with pytest.raises(TrainingError, match="got no gradient"):
        ca.train(small(), films, "supervised", train=["*"], progress=False)


def test_supcon_goes_on_where_the_films_of_a_batch_share_nothing(films, small):
    options = {"epochs": 1, "batch_size": 8, "progress": False}
    run = ca.train(small(), films[:16], "supcon", validation=films[8:26], **options)
    assert np.isfinite(run.validation["loss"]).all()
    assert any("validation shares" in text for text in run.failures)
    ill = (films.labels == 1).any(axis=1)
    pair = films[[int(np.argmax(ill)), int(np.argmin(ill))]]
    with pytest.raises(TrainingError, match="no two studies of a batch share a label"):
        ca.train(small(), pair, "supcon", **options)


def test_training_without_studies_or_truth_is_refused(films, small):
    with pytest.raises(InvalidValueError, match="found no stud"):
        ca.train(small(), films[:0], "supcon", progress=False)
    unknown = films.with_findings({"hernia": None})
    with pytest.raises(
        InvalidValueError, match="needs 1 or more studies with a known label"
    ):
        ca.train(small(), unknown, "supervised", progress=False)


def test_micro_batches_of_a_step_can_be_one_contrastive_batch(films, small):
    def first_loss(**changes):
        options = {"batch_size": 8, "epochs": 2, "progress": False} | changes
        run = ca.train(small(), films, "contrastive", accumulate=4, **options)
        assert len(run.history["loss"]) == 4
        return run.history["loss"][0]

    # Chance is the logarithm of how many texts a film meets: of 8, or of 32.
    alone, together = first_loss(), first_loss(objective__together=True)
    assert together - alone == pytest.approx(np.log(4), abs=0.5)
