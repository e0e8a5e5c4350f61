"""Models and training through the public face."""

import json
import os
import pickle
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
    DeviceError,
    InvalidValueError,
    TrainingError,
)

SMALL = {
    "image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
    "text": {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32},
    "queries": 2,
    "pool_heads": 2,
    "embedding": 8,
}


def small(seed=0):
    return ca.create("elixr", size="tiny", image_size=32, seed=seed, **SMALL)


@pytest.fixture(scope="module")
def films():
    return ca.phantom(64, seed=3, size=32, progress=False)


@pytest.fixture(scope="module")
def trained(films):
    model = small()
    ca.train(model, films, "supervised", epochs=2, batch_size=16, progress=False)
    ca.train(model, films, "contrastive", epochs=2, batch_size=16, progress=False)
    return model


def test_the_same_seed_gives_the_same_model():
    assert small(1).fingerprint() == small(1).fingerprint()
    assert small(1).fingerprint() != small(2).fingerprint()


def test_every_preset_is_a_model_that_encodes():
    assert ca.list_presets() == [
        "elixr-tiny",
        "elixr-qformer",
        "elixr-small",
        "elixr-densenet121",
        "elixr-base",
        "elixr-l2",
    ]
    model = ca.create("elixr", size="small", image_size=64, seed=0)
    vectors = model.encode(np.zeros((64, 64), np.uint8), progress=False)
    assert vectors.shape == (1, 512)
    assert np.isfinite(vectors).all()


def test_an_unknown_preset_or_override_is_named():
    with pytest.raises(
        InvalidValueError, match=r"found \"elixr-huge\", expected one of"
    ):
        ca.create("elixr", size="huge")
    with pytest.raises(ConfigError, match="unknown field `quieries`"):
        ca.create("elixr", quieries=3)
    with pytest.raises(ConfigError, match="pool_heads"):
        ca.create("elixr", pool_heads=7)


def test_another_kind_of_trunk_replaces_the_presets():
    vit = {"arch": "vit", "image_size": 64, "patch_size": 16, "channels": 1}
    vit |= {"dim": 32, "depth": 1, "heads": 2, "class_token": False, "pool": "none"}
    model = ca.create("elixr", size="tiny", image_size=64, image=vit)
    assert model.encode(np.zeros((64, 64), np.uint8), progress=False).shape == (1, 32)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(DeviceError, match=r'device "cuda:7".*"cpu"'):
        ca.create("elixr", device="cuda:7")


@pytest.mark.parametrize(
    ("level", "shape"),
    [
        ("pooled", (5, 16)),
        ("queries", (5, 2, 16)),
        ("contrastive", (5, 2, 8)),
        ("logits", (5, 10)),
    ],
)
def test_levels_have_their_shapes_and_rows_do_not_depend_on_the_batch(
    trained, films, level, shape
):
    whole = trained.encode(films[:5], level=level, progress=False)
    assert whole.shape == shape
    assert whole.dtype == np.float32
    single = trained.encode(films[:5], level=level, batch_size=1, progress=False)
    np.testing.assert_allclose(whole, single, rtol=1e-4, atol=1e-5)


def test_films_come_as_data_sets_studies_images_arrays_and_paths(
    trained, films, tmp_path
):
    expected = trained.encode(films[:1], progress=False)
    image = films[0].images[0]
    path = tmp_path / "film.png"
    image.save_png(path)
    for one in (films[0], image, [image]):
        np.testing.assert_allclose(
            trained.encode(one, progress=False), expected, rtol=1e-5, atol=1e-6
        )
    stored = trained.encode(path, progress=False)
    np.testing.assert_allclose(stored, expected, rtol=0.02, atol=0.02)
    with pytest.raises(InvalidValueError, match="expected films, found int"):
        trained.encode(3)


def test_a_film_that_cannot_be_read_is_a_row_of_nan_and_a_warning(
    trained, films, tmp_path
):
    bad = tmp_path / "note.png"
    bad.write_text("no film")
    good = films[0].images[0]
    with pytest.warns(UserWarning, match=r"row 1: .*note\.png"):
        vectors = trained.encode([good, bad, good], progress=False)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    with pytest.raises(ca.CarinaError, match=r"note\.png"):
        trained.encode([bad], progress=False, errors="raise")


def test_texts_are_unit_vectors_and_long_or_empty_ones_pass(trained):
    texts = ["no effusion", "", "x" * 5000, "Ünïcode ✓ 胸部"]
    vectors = trained.encode_text(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    alone = trained.encode_text("no effusion")
    np.testing.assert_allclose(alone[0], vectors[0], rtol=1e-4, atol=1e-5)


def test_a_text_over_the_limit_is_cut_after_a_sentence_and_said(trained):
    said = "There is no left pleural effusion. "
    with pytest.warns(UserWarning, match=r"1 of 2 texts have more than 64 tokens: cut"):
        long, short = trained.encode_text([said * 30 + "Edema.", said])
    fitting = next(n for n in range(1, 30) if _cut(trained, said * (n + 1)))
    np.testing.assert_allclose(long, trained.encode_text(said * fitting)[0], atol=1e-6)
    assert fitting > 3
    assert not np.allclose(long, short)


def _cut(model, text):
    return model._core.overlong([text])[0]


def test_zero_shot_scores_are_named_and_agree_with_their_definition(trained, films):
    prompts = {"effusion": (["left effusion", "right effusion"], "no effusion")}
    embedded = trained.embed(films, progress=False)
    margin = trained.zero_shot(embedded, prompts)
    assert margin.columns == ("effusion",)
    texts = trained.encode_text(["left effusion", "right effusion", "no effusion"])
    cosines = np.einsum("nqe,te->nqt", embedded, texts)
    expected = cosines[..., :2].max(axis=(1, 2)) - cosines[..., 2].max(axis=1)
    np.testing.assert_allclose(margin["effusion"], expected, rtol=1e-4, atol=1e-5)
    softmax = trained.zero_shot(films, prompts, scoring="softmax", progress=False)
    assert ((softmax["effusion"] > 0) & (softmax["effusion"] < 1)).all()
    with pytest.raises(InvalidValueError, match="scoring"):
        trained.zero_shot(embedded, prompts, scoring="magic")


def test_a_saved_model_is_the_same_model(trained, films, tmp_path):
    trained.save(tmp_path / "m", licence="CC0-1.0")
    again = ca.load(tmp_path / "m")
    assert again.fingerprint() == trained.fingerprint()
    assert again.spec["licence"] == "CC0-1.0"
    assert again.findings == films.findings
    assert len(again.spec["lineage"]) == 2
    np.testing.assert_array_equal(
        again.encode(films[:4], progress=False),
        trained.encode(films[:4], progress=False),
    )
    copy = pickle.loads(pickle.dumps(again))
    assert copy.fingerprint() == trained.fingerprint()


def test_a_folder_that_was_half_written_is_no_model(trained, tmp_path):
    folder = trained.save(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(ca.CarinaError, match=r"model\.safetensors"):
        trained.save(folder)
    assert not (folder / "config.json").exists()


def test_a_checkpoint_that_does_not_fit_names_its_keys(trained, tmp_path):
    folder = trained.save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["system"]["embedding"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"image_proj\.weight.*\[4, 16\]"):
        ca.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        ca.load(folder)


def test_reprs_say_what_it_is_and_name_nobody(trained, films):
    assert repr(trained).startswith("Model(elixr, ")
    assert "input 1×32×32" in repr(trained)
    html = trained._repr_html_()
    assert "supervised: 64 studies" in html
    assert films[0].patient not in html


def test_a_run_tells_what_it_measured(films):
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
def test_a_run_that_was_cut_goes_on_bit_by_bit(films, tmp_path, name):
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


def test_a_checkpoint_of_another_run_is_not_taken_up(films, tmp_path):
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


def test_stages_are_data_and_wrong_ones_say_what_is_wrong(films):
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


def test_supcon_goes_on_where_the_films_of_a_batch_share_nothing(films):
    options = {"epochs": 1, "batch_size": 8, "progress": False}
    run = ca.train(small(), films[:16], "supcon", validation=films[8:26], **options)
    assert np.isfinite(run.validation["loss"]).all()
    assert any("validation shares" in text for text in run.failures)
    ill = (films.labels == 1).any(axis=1)
    pair = films[[int(np.argmax(ill)), int(np.argmin(ill))]]
    with pytest.raises(TrainingError, match="no two studies of a batch share a label"):
        ca.train(small(), pair, "supcon", **options)


def test_training_without_studies_or_truth_is_refused(films):
    with pytest.raises(InvalidValueError, match="found no stud"):
        ca.train(small(), films[:0], "supcon", progress=False)
    unknown = films.with_findings({"hernia": None})
    with pytest.raises(
        InvalidValueError, match="needs 1 or more studies with a known label"
    ):
        ca.train(small(), unknown, "supervised", progress=False)


def test_evaluate_gives_intervals_and_baselines(trained, films):
    result = ca.evaluate(trained, films, "classify", n=50, progress=False)
    row = result.get("auroc", "cardiomegaly")
    assert row.low <= row.value <= row.high
    assert row.baseline == 0.5
    zero = ca.evaluate(
        trained, films, "zero_shot", prompts="phantom", n=50, progress=False
    )
    assert zero.protocol.recipe_hash == trained.fingerprint()
    with pytest.raises(InvalidValueError, match="protocol: found 'magic'"):
        ca.evaluate(trained, films, "magic")
    with pytest.raises(InvalidValueError, match="expected some of the data set's"):
        ca.evaluate(trained, films, prompts=["hernia"])


def test_search_by_words_finds_through_the_index(trained, films, tmp_path):
    index = ca.Index.create(tmp_path / "i", trained, films)
    hits = index.search("left pleural effusion", k=3)
    embedded = trained.embed(films, progress=False)
    text = trained.encode_text("left pleural effusion")
    scores = np.einsum("nqe,te->nqt", embedded, text).max(axis=(1, 2))
    np.testing.assert_allclose(hits["score"], np.sort(scores)[::-1][:3], rtol=1e-4)
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        ca.Index.open(tmp_path / "i", small(seed=9))


def test_micro_batches_of_a_step_can_be_one_contrastive_batch(films):
    def first_loss(**changes):
        options = {"batch_size": 8, "epochs": 2, "progress": False} | changes
        run = ca.train(small(), films, "contrastive", accumulate=4, **options)
        assert len(run.history["loss"]) == 4
        return run.history["loss"][0]

    # Chance is the logarithm of how many texts a film meets: of 8, or of 32.
    alone, together = first_loss(), first_loss(objective__together=True)
    assert together - alone == pytest.approx(np.log(4), abs=0.5)
