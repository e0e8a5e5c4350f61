"""The text encoder on a tiny checkpoint, made here from the golden one."""

import pickle
import shutil
from pathlib import Path

import carina
import numpy as np
import pytest
from carina.errors import CheckpointError, InvalidValueError

TINY = Path(__file__).parents[1] / "golden" / "bert" / "bert"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "no", "clear", "lungs", "effusion", "##s"]


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path / name)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return tmp_path


@pytest.fixture
def encoder(folder):
    return carina.TextEncoder.load(folder, device="cpu")


def test_texts_become_rows_in_their_order(encoder):
    texts = ["clear lungs", "no effusions no effusions", "no", "clear lungs"]
    rows = encoder.encode(texts, batch_size=2)
    assert rows.shape == (4, 16)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], rows[3], atol=1e-6)
    np.testing.assert_allclose(rows[2], encoder.encode(["no"])[0], atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-2


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 16)


def test_texts_are_cut_at_the_longest_length(encoder):
    assert encoder.max_length == 24
    long, longer = "no " * 22, "no " * 22 + "clear lungs"
    np.testing.assert_array_equal(encoder.encode([long]), encoder.encode([longer]))


def test_the_pieces_of_a_text_are_shown(encoder):
    pieces = ["[CLS]", "clear", "effusion", "##s", "[UNK]", "[SEP]"]
    assert encoder.tokenize("Clear EFFUSIONS today") == pieces


def test_without_modules_the_mean_is_taken_as_it_is(encoder):
    assert encoder.pooling == "mean"
    assert not encoder.normalises


def test_the_bar_counts_every_text(encoder, capsys):
    encoder.encode(["no"] * 5, batch_size=2, progress=True)
    assert "5/5" in capsys.readouterr().err


def test_a_pickle_holds_the_path_and_reopens_it(encoder):
    stored = pickle.dumps(encoder)
    assert len(stored) < 1000
    again = pickle.loads(stored)
    texts = ["clear lungs", "no effusion"]
    np.testing.assert_array_equal(encoder.encode(texts), again.encode(texts))


def test_a_pickle_of_files_that_changed_is_refused(encoder, folder):
    stored = pickle.dumps(encoder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed since"):
        pickle.loads(stored)


def test_a_single_text_is_not_a_sequence_of_letters(encoder):
    with pytest.raises(TypeError, match="found one str"):
        encoder.encode("clear lungs")
    with pytest.raises(TypeError):
        encoder.encode(["clear", None])


def test_wrong_batch_sizes_and_endless_texts_are_refused(encoder):
    with pytest.raises(InvalidValueError, match="batch_size: found 0, expected 1"):
        encoder.encode(["no"], batch_size=0)
    with pytest.raises(InvalidValueError, match="found 2000000 bytes"):
        encoder.encode(["a" * 2_000_000])
    with pytest.raises(OverflowError):
        encoder.encode(["no"], batch_size=-1)
