"""The corpus of real DICOM files against what a reference reader found in them."""

import csv
import importlib.util
import os
from collections import Counter
from pathlib import Path

import carina as ca
import numpy as np
import pytest

ROOT = Path(os.environ.get("CARINA_DATA", "../shared/data")) / "dicom"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not (ROOT / "index.csv").exists(), reason="needs dicom/ under CARINA_DATA"
    ),
]


@pytest.fixture(scope="module")
def rows():
    with (ROOT / "index.csv").open() as file:
        return list(csv.DictReader(file))


def attempt(act, path):
    """Return what `act` makes of the file, or the error on purpose."""
    try:
        return act(path)
    except ca.CarinaError as error:
        return error


def script():
    """Return the module that judges the corpus, from beside the comparisons."""
    path = Path(__file__).parents[1] / "compare" / "corpus.py"
    spec = importlib.util.spec_from_file_location("corpus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_published_table_of_the_corpus_is_what_comes_out():
    corpus = script()
    with (Path(corpus.__file__).parent / "results" / "corpus.csv").open() as file:
        published = list(csv.DictReader(file))
    assert list(corpus.table(ROOT)) == published
    results = Counter(row["result"] for row in published)
    # Beyond the reference: 12-bit JPEG, single bits under RLE and deflate, a palette
    # without a preamble, a short last fragment.
    assert results["exact"] >= 193
    assert results["within 3"] + results["exact"] == 208
    assert results["beyond"] >= 10
    assert not any("internal error" in row["reason"] for row in published)


@pytest.mark.parametrize("form", ["deflate", "rle"])
@pytest.mark.parametrize("base", ["liver", "liver_nonbyte_aligned"])
def test_single_bits_are_the_same_in_every_form(base, form):
    folder = ROOT / "pydicom-data" / "data"
    plain = next(p for p in ROOT.rglob(f"{base}.dcm"))
    np.testing.assert_array_equal(
        ca.decode(folder / f"{base}_{form}.dcm"), ca.decode(plain)
    )


@pytest.mark.parametrize("stem", ["RG3", "XA1"])
def test_twelve_bit_jpeg_is_near_its_lossless_twin(stem):
    folder = ROOT / "dicom-test-files" / "WG04"
    lossy = ca.decode(folder / "JPLY" / f"{stem}_JPLY").astype(float)
    exact = ca.decode(folder / "RLE" / f"{stem}_RLE")
    assert np.abs(lossy - exact).mean() < 4


def test_a_real_film_comes_out_with_white_bones_and_its_spacing():
    film = ca.read(
        ROOT / "pylibjpeg-data" / "ds" / "JPEG2000Lossless" / "966_fixed.dcm"
    )
    assert film.shape == (2128, 2000)
    assert (film.modality, film.view) == ("DX", "PA")
    assert film.range == (0, 4095)
    assert "inverted (MONOCHROME1): white is high" in film.history
    pixels, _ = ca.Recipe.film(224).apply(film)
    assert 0.3 < pixels.mean() < 0.8


def test_every_file_reads_as_a_film_or_says_why(rows):
    for row in rows:
        film = attempt(ca.read, ROOT / row["file"])
        if isinstance(film, ca.CarinaError):
            assert "internal error" not in str(film)
            continue
        assert np.isfinite(film.to_numpy()).all()
        assert film.to_numpy().dtype == np.float32
        assert film.history
