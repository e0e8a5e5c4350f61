"""What every preset promises, whatever its system: found through the registry."""

import json

import carina as ca
import numpy as np
import pytest
from carina.errors import CarinaError, ConfigError, InvalidValueError

from .conftest import SIDE, build

LEVELS = ("pooled", "queries", "contrastive", "tokens", "logits")


@pytest.fixture(scope="module")
def model(preset, films):
    made = build(preset)
    ca.train(made, films, "supervised", epochs=1, batch_size=16, progress=False)
    return made


def test_its_published_sizes_are_a_model(preset):
    system, size = preset.rsplit("-", 1)
    whole = ca.create(system, size=size, image_size=SIDE)
    assert whole.spec["system"]["name"] == system
    assert all(min(shape, default=1) > 0 for shape in whole.parameters().values())


def test_its_specification_is_json_that_builds_the_same_model(preset):
    first = build(preset, seed=3)
    fields = json.loads(json.dumps(first.spec["system"]))
    system, size = preset.rsplit("-", 1)
    fields.pop("name")
    second = ca.create(system, size=size, image_size=SIDE, seed=3, **fields)
    assert second.fingerprint() == first.fingerprint()


def test_every_table_of_its_configuration_names_an_unknown_field(preset):
    spec = build(preset).spec["system"]
    tables = [name for name, value in spec.items() if isinstance(value, dict)]
    assert tables
    for wrong in [{"quieries": 1}, *({table: {"quieries": 1}} for table in tables)]:
        with pytest.raises(ConfigError, match="quieries"):
            build(preset, **wrong)


def test_the_seed_decides_the_weights(preset):
    assert build(preset, seed=1).fingerprint() == build(preset, seed=1).fingerprint()
    assert build(preset, seed=1).fingerprint() != build(preset, seed=2).fingerprint()


def test_saving_and_loading_changes_nothing(model, films, tmp_path):
    model.save(tmp_path / "model")
    again = ca.load(tmp_path / "model")
    assert again.fingerprint() == model.fingerprint()
    assert again.spec == model.spec
    for level in LEVELS:
        np.testing.assert_array_equal(
            again.encode(films[:3], level=level, progress=False),
            model.encode(films[:3], level=level, progress=False),
            err_msg=level,
        )
    texts = ["small left effusion", "no effusion"]
    np.testing.assert_array_equal(again.encode_text(texts), model.encode_text(texts))


@pytest.mark.parametrize("level", LEVELS)
def test_two_films_at_once_are_each_film_alone(model, films, level):
    both = model.encode(films[:2], level=level, progress=False)
    alone = [model.encode(films[i], level=level, progress=False)[0] for i in range(2)]
    scale = np.abs(both).max()
    np.testing.assert_allclose(both, alone, rtol=1e-4, atol=1e-5 * scale)
    assert not np.allclose(both[0], both[1]), "the level does not see the film"


def test_a_text_means_the_same_beside_a_longer_one(model):
    texts = ["no effusion", "small left pleural effusion and a round nodule"]
    alone = np.concatenate([model.encode_text(text) for text in texts])
    np.testing.assert_allclose(model.encode_text(texts), alone, rtol=1e-4, atol=1e-5)


def test_encoding_twice_gives_the_same(model, films):
    first = model.encode(films[:4], level="tokens", progress=False)
    np.testing.assert_array_equal(
        first, model.encode(films[:4], level="tokens", progress=False)
    )


def test_a_wrong_shape_a_wrong_level_and_broken_pixels_name_themselves(model):
    with pytest.raises(InvalidValueError, match=r"found \(2, 3, 4, 5\)"):
        model.encode(np.zeros((2, 3, 4, 5), np.float32), progress=False)
    with pytest.raises(InvalidValueError, match=r"level: .*`magic`, expected"):
        model.encode(np.zeros((SIDE, SIDE), np.uint8), level="magic", progress=False)
    pixels = np.zeros((SIDE, SIDE), np.float32)
    pixels[3, 4] = np.nan
    with pytest.raises(CarinaError, match="found NaN at row 3, column 4"):
        model.encode([pixels], progress=False)


# A model in use keeps copies of its weights, laid out for speed. They must go when the
# weights change: a fresh reading of the same weights tells.
def test_training_leaves_nothing_of_the_old_weights_in_use(preset, films, tmp_path):
    model = build(preset)
    before = model.encode(films[:3], progress=False)
    texts = ["There is a pleural effusion.", "The lungs are clear."]
    said = model.encode_text(texts)
    for stage in ("supervised", "contrastive"):
        reads = {"train": ["text*", "qformer.bert.*"]}
        changes = reads if stage == "contrastive" else {}
        options = {"epochs": 1, "batch_size": 16, "progress": False} | changes
        ca.train(model, films, stage, validation=films[:8], **options)
        model.save(tmp_path / stage)
        again = ca.load(tmp_path / stage)
        now = model.encode(films[:3], progress=False)
        np.testing.assert_array_equal(again.encode(films[:3], progress=False), now)
        np.testing.assert_array_equal(
            again.encode_text(texts), model.encode_text(texts)
        )
        assert not np.array_equal(before, now)  # from the first stage on
    assert not np.array_equal(said, model.encode_text(texts))


def test_prepared_weights_change_speed_and_not_results(model, films):
    prepared = model.encode(films[:3], level="tokens", progress=False)
    ca.prepare_weights(False)
    try:
        plain = model.encode(films[:3], level="tokens", progress=False)
    finally:
        ca.prepare_weights(True)
    np.testing.assert_allclose(prepared, plain, rtol=1e-5, atol=1e-5)
