"""A model with a Q-Former, end to end: learn, stop and go on, encode, search, write."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import carina as ca
import numpy as np
import pytest
from carina.captioning import caption
from carina.errors import CheckpointError, ConfigError, InvalidValueError
from carina.evaluation import retrieval_quality, similarity

SMALL = {
    "image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
    "text": {"dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32},
    "queries": 4,
    "embedding": 8,
}
QUICK = {"epochs": 2, "batch_size": 16, "progress": False}


def small(seed=0, **changes):
    return ca.create(
        "elixr", size="qformer", image_size=32, seed=seed, **SMALL | changes
    )


@pytest.fixture(scope="module")
def films():
    return ca.phantom(64, seed=3, size=32, progress=False)


@pytest.fixture(scope="module")
def trained(films):
    model = small()
    ca.train(model, films, "qformer", **QUICK)
    return model


def test_its_stage_teaches_the_q_former_and_leaves_the_image_encoder(films):
    model = small()
    before = {name: model.parameter(name) for name in model.parameters()}
    run = ca.train(model, films, "qformer", validation=films[:16], **QUICK)
    for name, was in before.items():
        moved = not np.array_equal(was, model.parameter(name))
        assert moved == name.startswith("qformer."), name
    losses = run.epoch_losses()
    assert losses[-1] < losses[0]
    assert np.isfinite(run.validation["loss"]).all()
    assert model.spec["lineage"][0].startswith("qformer: 64 studies")


def test_levels_have_the_shapes_of_the_queries(trained, films):
    shapes = {"pooled": (16,), "queries": (4, 16), "contrastive": (4, 8)}
    for level, shape in shapes.items():
        found = trained.encode(films[:5], level=level, progress=False)
        assert found.shape == (5, *shape)
    texts = trained.encode_text(["no effusion", "large left effusion"])
    assert texts.shape == (2, 8)
    for vectors in (trained.embed(films[:5], progress=False), texts):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)


def test_zero_shot_is_the_difference_of_the_best_queries(trained, films):
    vectors = trained.embed(films[:6], progress=False)
    bank = {"effusion": (["an effusion"], ["no effusion"])}
    found = trained.zero_shot(vectors, bank)["effusion"]
    sides = similarity(vectors, trained.encode_text(["an effusion", "no effusion"]))
    np.testing.assert_allclose(found, sides[:, 0] - sides[:, 1], rtol=1e-4, atol=1e-6)
    whole = trained.zero_shot(films[:6], bank, progress=False)["effusion"]
    np.testing.assert_allclose(whole, found, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.* tokens. cut after a sentence")
def test_evaluation_and_retrieval_run_on_it(trained, films):
    result = ca.evaluate(trained, films, prompts="phantom", n=50, progress=False)
    assert result.protocol.name == "zero_shot"
    table = retrieval_quality(trained, films, k=(1, 64), n=50, progress=False)
    assert list(table["direction"]) == ["film to text"] * 2 + ["text to film"] * 2
    recall, chance = np.array(table["recall"]), np.array(table["chance"])
    np.testing.assert_allclose(recall[[1, 3]], 1)
    np.testing.assert_allclose(chance[[1, 3]], 1)
    assert ((recall >= 0) & (recall <= 1)).all()
    with pytest.raises(InvalidValueError, match="k: found"):
        retrieval_quality(trained, films, k=(0,), progress=False)


def test_saving_and_loading_changes_nothing_and_other_queries_are_refused(
    trained, films, tmp_path
):
    folder = trained.save(tmp_path / "model")
    again = ca.load(folder)
    assert again.fingerprint() == trained.fingerprint()
    np.testing.assert_array_equal(
        again.embed(films[:3], progress=False), trained.embed(films[:3], progress=False)
    )
    config = folder / "config.json"
    spec = json.loads(config.read_text())
    spec["system"]["queries"] = 6
    config.write_text(json.dumps(spec))
    wanted = r"qformer.query_tokens \(found \[1, 4, 16\], expected \[1, 6, 16\]\)"
    with pytest.raises(CheckpointError, match=wanted):
        ca.load(folder)


def test_it_writes_a_text_for_each_film_whatever_the_batch(trained, films):
    texts = caption(trained, films[:6], max_tokens=12, progress=False)
    assert len(texts) == 6
    assert all(isinstance(text, str) and text for text in texts)
    alone = [
        caption(trained, film, max_tokens=12, progress=False)[0] for film in films[:6]
    ]
    assert texts == alone
    with pytest.raises(
        InvalidValueError, match="words of a caption: found 65, expected"
    ):
        caption(trained, films[:2], max_tokens=65, progress=False)
    with pytest.raises(InvalidValueError, match="found no Q-Former"):
        caption(ca.create("elixr", image_size=32), films[:2], progress=False)
    with pytest.warns(UserWarning, match="its text is None"):
        assert caption(trained, ["missing.png"], progress=False) == [None]


def test_sizes_that_cannot_be_are_named():
    for change, message in {
        "text_pooling": ("mean", "text_pooling"),
        "queries": (0, "queries"),
        "resampler": ({"kind": "qformer", "cross_every": 0}, "cross_every"),
    }.items():
        with pytest.raises(ConfigError, match=message[1]):
            small(**{change: message[0]})
    with pytest.raises(ConfigError, match="quieries"):
        small(resampler={"kind": "qformer", "quieries": 2})
    with pytest.raises(ConfigError, match="magic"):
        small(resampler={"kind": "magic"})


def test_a_plan_of_its_stage_counts_what_it_holds():
    model = small()
    small_step, large_step = (model.plan(n, training="qformer") for n in (8, 32))
    ratio = large_step.bytes["activations"] / small_step.bytes["activations"]
    assert 3.5 < ratio < 4.5
    with pytest.raises(InvalidValueError, match="found no Q-Former"):
        ca.create("elixr", image_size=32).plan(8, training="qformer")


SCRIPT = """
import carina as ca
films = ca.phantom(64, seed=3, size=32, progress=False)
model = ca.create("elixr", size="qformer", image_size=32, seed=0, **{small})
ca.train(model, films, "qformer", epochs=12, batch_size=8, out={out!r},
         checkpoint_steps=1, progress=False)
print(model.fingerprint())
"""


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    def script(out):
        return textwrap.dedent(SCRIPT.format(small=SMALL, out=str(out)))

    def finish(out):
        found = subprocess.run(
            [sys.executable, "-c", script(out)],
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.strip()

    whole = finish(tmp_path / "whole")
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script(out)])
    checkpoint = out / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists(), "the run ended before it was killed"
    assert finish(out) == whole
