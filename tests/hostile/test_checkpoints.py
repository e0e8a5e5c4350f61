"""Checkpoints and folders that lie, miss things or are broken."""

import json
import random
import shutil
import struct
from pathlib import Path

import carina
import pytest
from carina.errors import (
    CarinaError,
    CheckpointError,
    ConfigError,
    DeviceError,
    FormatError,
    MissingFileError,
)

TINY = Path(__file__).parents[1] / "golden" / "bert" / "bert"


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path / name)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "no", "clear"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return tmp_path


def load(folder):
    return carina.TextEncoder.load(folder, device="cpu")


def header(folder):
    content = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(folder, fields, data):
    text = json.dumps(fields).encode()
    content = struct.pack("<Q", len(text)) + text + data
    (folder / "model.safetensors").write_bytes(content)


def set_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_renamed_key_is_both_missing_and_unexpected(folder):
    fields, data = header(folder)
    fields["pooler.dense.slope"] = fields.pop("pooler.dense.bias")
    write(folder, fields, data)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    text = str(caught.value)
    assert "1 missing: pooler.dense.bias" in text
    assert "1 unexpected: pooler.dense.slope" in text
    assert text.endswith("nothing was loaded")


def test_a_misshapen_key_is_named_with_both_shapes(folder):
    set_config(folder, max_position_embeddings=30)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert (
        "1 misshapen: embeddings.position_embeddings.weight "
        "(found [24, 16], expected [30, 16])"
    ) in str(caught.value)


def test_many_differences_are_counted_and_the_first_named(folder):
    set_config(folder, num_hidden_layers=4)
    with pytest.raises(CheckpointError, match=r"32 missing: encoder\.layer\.2.*, …;"):
        load(folder)


def test_a_pickle_is_refused_with_the_way_to_convert_it(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle can run any program"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_a_file_that_was_cut_off_is_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"model\.safetensors: found"):
        load(folder)


def test_a_header_that_claims_more_than_the_file_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    with pytest.raises(FormatError, match="found a header of 18446744073709551615"):
        load(folder)


def test_a_shape_that_overflows_is_refused(folder):
    fields, data = header(folder)
    fields["pooler.dense.bias"]["shape"] = [2**63, 2**63]
    write(folder, fields, data)
    with pytest.raises(FormatError, match=r"`pooler\.dense\.bias`: found bytes"):
        load(folder)


def test_a_model_too_large_to_exist_is_refused_before_it_is_built(folder):
    set_config(folder, vocab_size=10**12)
    with pytest.raises(ConfigError, match="`vocab_size`: found 1000000000000"):
        load(folder)
    set_config(folder, vocab_size=50, hidden_size=-1)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load(folder)


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(folder):
    set_config(folder, vocab_size=4)
    with pytest.raises(FormatError, match="found vocab_size 4, expected at least the"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "modules.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'"text"'])
def test_a_broken_side_file_is_an_error_of_ours(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises((FormatError, ConfigError)):
        load(folder)


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DeviceError, match="expected"):
        carina.TextEncoder.load(folder, device="tpu")
    (folder / "vocab.txt").unlink()
    with pytest.raises(FormatError, match=r"expected tokenizer\.json or vocab\.txt"):
        load(folder)


def test_no_damage_to_a_checkpoint_brings_the_process_down(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 3])):
            damaged[chance.randrange(8 + length)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load(folder).encode(["no clear"])
        except CarinaError:
            refused += 1
    assert refused > 200


def test_a_tokenizer_with_one_wrong_byte_is_named(tmp_path):
    model = carina.create("elixr", size="tiny", image_size=32, seed=0)
    path = model.save(tmp_path / "model") / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace('"decoder":', '"decoder":$', 1))
    assert path.read_text() != text
    with pytest.raises(
        FormatError, match=r"tokenizer\.json: tokenizer: expected value"
    ):
        carina.load(path.parent)
