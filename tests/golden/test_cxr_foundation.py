"""CXR Foundation's films and tokens, against what its published code gives.

``elixr/films.npz`` holds the 16-bit levels for each DICOM file there: MONOCHROME1,
12 bits, signed, windows, rescale, 8 bits, one value. ``fake.dcm`` and ``fake.png``
are the repository's own test files. Two files make the published code fail.
``tokens.json`` and ``tokenizer.json`` hold twenty sentences, their numbers, and the
pieces of the uncased BERT vocabulary that they need.
"""

import hashlib
import json
from pathlib import Path

import carina as ca
import numpy as np
import pydicom
import pytest
from carina import _core
from carina.errors import FormatError, InvalidValueError
from PIL import Image as Pil

HERE = Path(__file__).parent / "elixr"
FILMS = json.loads((HERE / "films.json").read_text())
ROWS = {Path(row["file"]).stem: row for row in FILMS["rows"]}
LEVELS = np.load(HERE / "films.npz", allow_pickle=False)
WORKING = [name for name, row in ROWS.items() if row["ok"]]


def read_png(path):
    return np.array(Pil.open(path)).astype(np.uint16)


@pytest.mark.parametrize("name", WORKING)
def test_the_released_switch_gives_the_published_levels_to_the_last_bit(name, tmp_path):
    film = ca.cxr_foundation.film(HERE / f"{name}.dcm", released=True)
    np.testing.assert_array_equal(film.to_numpy(), LEVELS[name])
    path = ca.cxr_foundation.write_png(
        HERE / f"{name}.dcm", tmp_path / "film.png", released=True
    )
    with Pil.open(path) as picture:
        assert picture.mode == "I;16"
    found = read_png(path)
    digest = hashlib.sha256(found.astype("<u2").tobytes()).hexdigest()
    assert digest == ROWS[name]["sha256_u16_le"]


# What the published code loses, in levels of 65536: half the grey levels to a
# slope of 0.5, one of two to a signed window, which has 32768.
LOST = {"rescale_frac": 32.0, "window_signed": 3.01}
ON_PURPOSE = {"constant", "uint8_mono1"}  # have tests of their own


@pytest.mark.parametrize("name", sorted(set(WORKING) - ON_PURPOSE))
def test_the_sound_levels_stay_within_rounding_of_the_published_ones(name):
    film = ca.cxr_foundation.film(HERE / f"{name}.dcm")
    assert np.abs(film.to_numpy() - LEVELS[name]).max() <= LOST.get(name, 1.01)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rescale_window", "fails on a film with rescale and window"),
        ("window_two", "fails on a film with 2 windows"),
    ],
)
def test_what_the_published_code_fails_on_works_unless_its_flaws_are_wanted(name, why):
    assert not ROWS[name]["ok"]
    with pytest.raises(FormatError, match=why):
        ca.cxr_foundation.film(HERE / f"{name}.dcm", released=True)
    film = ca.cxr_foundation.film(HERE / f"{name}.dcm").to_numpy()
    stored = ca.decode(HERE / f"{name}.dcm").astype(float)
    if name == "rescale_window":
        low, high = 300 - 450, 300 - 1 + 450
        values = stored - 1024
    else:
        low, high = 1800 - 750, 1800 - 1 + 750  # the first of its windows
        values = stored
    values = values.clip(low, high)
    wanted = (values - values.min()) / np.ptp(values) * 65535
    np.testing.assert_allclose(film, wanted, atol=0.51)


def test_a_film_of_one_value_is_white_to_the_published_code_and_grey_to_ours():
    path = HERE / "constant.dcm"
    assert (ca.cxr_foundation.film(path, released=True).to_numpy() == 65535).all()
    stored = np.unique(ca.decode(path))
    film = ca.cxr_foundation.film(path).to_numpy()
    assert np.unique(film) == np.round(stored / 4095 * 65535)


def test_eight_bits_are_turned_over_within_their_range_not_the_films_own():
    path = HERE / "uint8_mono1.dcm"
    stored = ca.decode(path).astype(int)
    film = ca.cxr_foundation.film(path)
    np.testing.assert_array_equal(film.to_numpy(), 255 - stored)
    assert film.range == (0.0, 255.0)
    released = ca.cxr_foundation.film(path, released=True)
    np.testing.assert_array_equal(released.to_numpy(), stored.max() - stored)


@pytest.mark.parametrize("kind", ["dicom", "png"])
def test_the_projects_own_test_files_give_its_means(kind):
    path = HERE / {"dicom": "fake.dcm", "png": "fake.png"}[kind]
    film = ca.cxr_foundation.film(path, released=True).to_numpy()
    facts = FILMS["fake"][kind]
    # JPEG decoders may differ by a level in single pixels.
    assert film.mean() == pytest.approx(
        facts["mean"], abs=2e-3 if kind == "dicom" else 0
    )
    assert (film.min(), film.max()) == (facts["min"], facts["max"])
    crop = LEVELS[f"fake_{kind}_rows_300_428_cols_400_528"].astype(int)
    off = np.abs(film[300:428, 400:528] - crop)
    assert off.max() <= (1 if kind == "dicom" else 0)
    if kind == "png":
        digest = hashlib.sha256(film.astype("<u2").tobytes()).hexdigest()
        assert digest == facts["sha256_u16_le"]


def test_the_recipe_makes_the_same_input_of_a_file_and_of_its_levels():
    recipe = ca.Recipe.cxr_foundation(64)
    for name in ("window_mono1", "uint8", "signed16", "constant"):
        path = HERE / f"{name}.dcm"
        direct, _ = recipe.apply(ca.read(path))
        levels, _ = recipe.apply(ca.cxr_foundation.film(path))
        assert direct.shape == (1, 64, 64)
        # A tie of the rounding may fall to either side.
        np.testing.assert_allclose(direct, levels, atol=1.01 / 65535)


def test_lateral_films_are_refused_by_name_unless_any_view_will_do(tmp_path):
    lateral = image("LATERAL")
    with pytest.raises(InvalidValueError, match=r"expected a frontal film .*LATERAL"):
        ca.Recipe.cxr_foundation(8).apply(lateral)
    for view in ("PA", "AP", "UNKNOWN"):
        ca.Recipe.cxr_foundation(8).apply(image(view))
    ca.Recipe.cxr_foundation(8, any_view=True).apply(lateral)
    assert ca.Recipe.preset("cxr-foundation-1280") == ca.Recipe.cxr_foundation()

    data = pydicom.dcmread(HERE / "window.dcm")
    data.ViewPosition = "LL"
    data.save_as(tmp_path / "lateral.dcm")
    for released in (False, True):
        target = tmp_path / "film.png"
        with pytest.raises(InvalidValueError, match="found LATERAL"):
            ca.cxr_foundation.write_png(
                tmp_path / "lateral.dcm", target, released=released
            )
        assert not target.exists()
        options = {"released": released, "any_view": True}
        ca.cxr_foundation.write_png(tmp_path / "lateral.dcm", target, **options)
        target.unlink()


def test_a_model_keeps_the_recipe_and_the_numbering_of_texts(tmp_path):
    recipe = ca.Recipe.cxr_foundation(32)
    texts = ["Airspace opacity", "no pleural effusion"]
    plain = ca.create("elixr", recipe=recipe)
    model = ca.create("elixr", recipe=recipe, cxr_foundation_tokens=True)
    assert model.recipe == plain.recipe == recipe
    assert "cxr_foundation_tokens" not in plain.spec["system"]
    vectors = model.encode_text(texts)
    assert np.abs(vectors - plain.encode_text(texts)).max() > 1e-3
    again = ca.load(model.save(tmp_path / "model"))
    assert again.spec["system"]["cxr_foundation_tokens"] is True
    np.testing.assert_array_equal(again.encode_text(texts), vectors)
    np.testing.assert_array_equal(
        model.encode_text([text.upper() for text in texts]), vectors
    )


def image(view):
    pixels = np.arange(12, dtype=np.float32).reshape(3, 4)
    return ca.Image(_core.Image(pixels, view=view))
