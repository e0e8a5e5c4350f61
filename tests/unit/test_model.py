"""Models through the public face."""

import json
import pickle

import carina as ca
import numpy as np
import pytest
from carina.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    InvalidValueError,
)


@pytest.fixture(scope="module")
def trained(films, small):
    model = small()
    ca.train(model, films, "supervised", epochs=2, batch_size=16, progress=False)
    ca.train(model, films, "contrastive", epochs=2, batch_size=16, progress=False)
    return model


def test_the_same_seed_gives_the_same_model(small):
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


def test_search_by_words_finds_through_the_index(trained, films, tmp_path, small):
    index = ca.Index.create(tmp_path / "i", trained, films)
    hits = index.search("left pleural effusion", k=3)
    embedded = trained.embed(films, progress=False)
    text = trained.encode_text("left pleural effusion")
    scores = np.einsum("nqe,te->nqt", embedded, text).max(axis=(1, 2))
    np.testing.assert_allclose(hits["score"], np.sort(scores)[::-1][:3], rtol=1e-4)
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        ca.Index.open(tmp_path / "i", small(seed=9))
