"""T5 and SigLIP in the place of BERT, as a tower and in a folder."""

import json
import shutil
from pathlib import Path

import carina as ca
import numpy as np
import pytest
from carina.errors import CheckpointError, ConfigError

GOLDEN = Path(__file__).parents[1] / "golden"
T5 = {
    "arch": "t5",
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "head_dim": 8,
    "mlp_dim": 32,
    "max_positions": 64,
}
SIGLIP = {
    "arch": "siglip",
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 32,
    "max_positions": 24,
    "embedding": 12,
}
TOWERS = {
    "t5": {"text": T5, "text_length": 64},
    "siglip": {"text": SIGLIP, "text_length": 24, "text_pooling": "last"},
}
TEXTS = ["no pleural effusion", "large left effusion with atelectasis", "normal"]


def tower(name, **more):
    return ca.create("elixr", image_size=32, **TOWERS[name], **more)


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_encodes_trains_and_comes_back_from_its_folder(name, tmp_path):
    model = tower(name)
    vectors = model.encode_text(TEXTS)
    assert vectors.shape == (3, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # A text's vector does not depend on what is encoded beside it.
    np.testing.assert_allclose(model.encode_text(TEXTS[2:])[0], vectors[2], atol=1e-5)
    names = [key for key in model.parameters() if key.startswith("text.")]
    before = {key: model.parameter(key) for key in names}
    films = ca.phantom(n=8, seed=0, size=32)
    ca.train(model, films, stage="contrastive", epochs=1, batch_size=4, progress=False)
    still = [key for key in names if (model.parameter(key) == before[key]).all()]
    assert not still
    again = ca.load(model.save(tmp_path / "model"))
    assert again.spec["system"]["text"]["arch"] == name
    assert (again.encode_text(TEXTS) == model.encode_text(TEXTS)).all()
    assert again.plan(3, texts=True).total > 0


def test_the_default_tower_is_written_as_ever():
    assert "arch" not in ca.create("elixr").spec["system"]["text"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"text": {"arch": "gpt"}}, "expected bert, t5 or siglip"),
        ({"text": T5, "text_length": 65}, "at most the 64 places"),
        (TOWERS["t5"] | {"text": T5 | {"buckets": 6}}, "multiple of 4"),
        (TOWERS["siglip"] | {"text_pooling": "mean"}, "expected last"),
        (
            TOWERS["t5"] | {"resampler": {"kind": "qformer"}, "text_pooling": "class"},
            "text.arch.*expected bert",
        ),
    ],
)
def test_towers_that_cannot_be_are_named(options, why):
    with pytest.raises(ConfigError, match=why):
        ca.create("elixr", **options)


@pytest.fixture
def folder(tmp_path):
    """Make a folder with a small T5 encoder and a tokenizer of its size."""
    folder = tmp_path / "t5"
    shutil.copytree(GOLDEN / "t5" / "v1_1", folder)
    words = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(40))]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(words)},
            "unk_token": "<unk>",
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_folder_with_t5_opens_as_a_text_encoder(folder):
    encoder = ca.TextEncoder.load(folder)
    assert encoder.report.complete
    assert (encoder.dim, encoder.max_length) == (16, 512)
    texts = ["w1 w2 w3", "w4", "w1 w2 w3 w5 w6 w7"]
    vectors = encoder.encode(texts, progress=False)
    assert vectors.shape == (3, 16)
    alone = encoder.encode(texts[1:2], progress=False)
    np.testing.assert_allclose(vectors[1], alone[0], atol=1e-5)


def test_a_folder_that_lacks_a_key_or_has_one_too_many_is_refused(folder):
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    key = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    save_file(
        {k: v for k, v in weights.items() if k != key}, folder / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match="relative_attention_bias"):
        ca.TextEncoder.load(folder)
    save_file(weights | {"adapter.weight": weights[key]}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"adapter\.weight"):
        ca.TextEncoder.load(folder)
    whole = {
        "encoder.embed_tokens.weight": weights["shared.weight"],
        "decoder.final_layer_norm.weight": np.ones(16, np.float32),
        "lm_head.weight": weights["shared.weight"],
    }
    save_file(weights | whole, folder / "model.safetensors")
    assert ca.TextEncoder.load(folder).report.complete
