"""Folders of decoders that are broken, one way each."""

import json
import shutil

import carina
import pytest
from carina.errors import (
    CarinaError,
    CheckpointError,
    ConfigError,
    FormatError,
    InvalidValueError,
    MissingFileError,
)
from safetensors.numpy import load_file, save_file

SMALL = {"depth": 1, "dim": 16, "heads": 2, "kv_heads": 1, "mlp_dim": 24}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    carina.create_decoder("1m", device="cpu", max_positions=32, **SMALL).save(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "d")
    return tmp_path / "d"


@pytest.fixture(params=["f32", "q8_0"])
def precision(request):
    return request.param


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refuse(folder, precision, kind, match):
    with pytest.raises(kind, match=match):
        carina.load_decoder(folder, precision=precision, device="cpu")


def shard(folder):
    """Cut the weights in two files with an index; give their names."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(tensors)
    parts = {"m-1.safetensors": keys[::2], "m-2.safetensors": keys[1::2]}
    for name, some in parts.items():
        save_file({key: tensors[key] for key in some}, folder / name)
    where = {key: name for name, some in parts.items() for key in some}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))


def test_shards_are_read_as_one_and_a_missing_one_is_named(folder, precision):
    expected = carina.load_decoder(folder, precision=precision, device="cpu")
    shard(folder)
    found = carina.load_decoder(folder, precision=precision, device="cpu")
    assert (found.logits("no") == expected.logits("no")).all()
    (folder / "m-2.safetensors").unlink()
    refuse(folder, precision, MissingFileError, "m-2.safetensors")


def test_other_architectures_are_refused_by_name(folder, precision):
    change(folder, model_type="gpt2")
    refuse(folder, precision, ConfigError, '`model_type`: found "gpt2", expected one')


def test_sizes_that_disagree_with_the_weights_name_the_keys(folder, precision):
    change(folder, intermediate_size=40)
    refuse(folder, precision, CheckpointError, r"3 misshapen: model.layers.0.mlp")
    change(folder, intermediate_size=24, num_hidden_layers=2)
    refuse(folder, precision, CheckpointError, r"9 missing: model.layers.1.")


def test_huge_sizes_are_refused_before_anything_is_allocated(folder, precision):
    change(folder, hidden_size=1 << 40)
    refuse(folder, precision, ConfigError, "`dim`: found 1099511627776")
    change(folder, hidden_size=16, max_position_embeddings=0)
    refuse(folder, precision, ConfigError, "`max_positions`: found 0")


def test_a_tokenizer_with_more_pieces_than_rows_is_refused(folder, precision):
    change(folder, vocab_size=100)
    refuse(folder, precision, FormatError, "found vocab_size 100, expected at least")


def test_missing_and_broken_files_are_named(folder, precision):
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        refuse(folder, precision, CarinaError, name)
        (folder / name).unlink()
        refuse(folder, precision, CarinaError, f"{folder}")
        (folder / name).write_bytes(content)


def test_a_bad_template_says_where(folder, precision):
    settings = {"chat_template": "{% for m in messages %}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    refuse(folder, precision, FormatError, r"tokenizer_config.json: chat template")


def test_an_unknown_precision_is_refused(folder):
    with pytest.raises(InvalidValueError, match="unknown variant `int4`"):
        carina.load_decoder(folder, precision="int4", device="cpu")


def test_weights_that_are_not_numbers_write_nothing(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][:] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    decoder = carina.load_decoder(folder, device="cpu")
    with pytest.raises(InvalidValueError, match="logits are not numbers"):
        decoder.generate("no", max_new_tokens=2)


def test_eight_bits_are_for_decoders_only():
    model = carina.create("elixr", size="tiny", device="cpu")
    films = carina.phantom(1, seed=0, size=64, progress=False)
    with pytest.raises(InvalidValueError, match="eight bits are for decoders"):
        model.encode(films, precision="q8_0", progress=False)
