"""Recipes as data, and resizing that agrees with PIL."""

import json
import pickle

import carina as ca
import numpy as np
import pytest
from PIL import Image as Pil

KERNELS = {"bilinear": Pil.Resampling.BILINEAR, "bicubic": Pil.Resampling.BICUBIC}
KERNELS |= {"lanczos": Pil.Resampling.LANCZOS}


def resize(pixels, height, width, kernel, antialias=True):
    step = {"step": "resize", "height": height, "width": width}
    step |= {"kernel": kernel, "antialias": antialias}
    return ca.Recipe.from_steps([step]).apply(pixels)[0][0]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("height", "width"), [(224, 224), (50, 333), (900, 700)])
def test_antialiased_kernels_agree_with_pil(kernel, height, width):
    rng = np.random.default_rng(3)
    pixels = rng.random((517, 401)).astype(np.float32)
    reference = Pil.fromarray(pixels).resize((width, height), KERNELS[kernel])
    ours = resize(pixels, height, width, kernel)
    assert np.abs(ours - np.asarray(reference)).max() < 1 / 255 / 100


def test_eight_bit_presets_agree_with_pil_within_a_level():
    # PIL also clips between its two passes, so the pixels keep off black and white.
    pixels = np.random.default_rng(4).integers(60, 196, (431, 317), dtype=np.uint8)
    image = Pil.fromarray(pixels)
    image = image.resize((224, 431 * 224 // 317), Pil.Resampling.BICUBIC)
    top = (image.height - 224) // 2
    reference = np.asarray(image, np.float32)[top : top + 224] / 255
    mean, std = (
        [0.48145466, 0.4578275, 0.40821073],
        [0.26862954, 0.26130258, 0.27577711],
    )
    ours, _ = ca.Recipe.preset("clip-224").apply(pixels)
    for channel in range(3):
        back = ours[channel] * std[channel] + mean[channel]
        assert np.abs(back - reference).max() < 1.001 / 255


def test_without_antialiasing_only_two_neighbours_count():
    pixels = np.zeros((64, 64), np.float32)
    pixels[:, 32] = 1
    assert resize(pixels, 64, 4, "bilinear", antialias=False).max() == 0
    assert resize(pixels, 64, 4, "bilinear").max() > 0


def test_nearest_repeats_pixels():
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(
        resize(pixels, 4, 6, "nearest"), np.repeat(np.repeat(pixels, 2, 0), 2, 1)
    )


def test_the_film_recipe_keeps_proportions_on_a_black_square():
    pixels, geometry = ca.Recipe.film(64).apply(np.full((20, 40), 200, np.uint8))
    assert pixels.shape == (1, 64, 64)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, 32], 200 / 255, rtol=1e-6)
    assert pixels[0, :15].max() == 0
    assert geometry.original_shape == (20, 40)


@pytest.mark.parametrize("name", ca.Recipe.presets())
def test_every_preset_keeps_its_promise(name):
    recipe = ca.Recipe.preset(name)
    pixels, _ = recipe.apply(np.random.default_rng(5).random((70, 50)))
    assert pixels.shape == recipe.output_shape
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("min_max", [0, 0.5, 1]),
        ({"fixed": {"low": 0, "high": 40}}, [0.25, 0.5, 0.75]),
        ({"percentile": {"low": 50, "high": 100}}, [0, 0, 1]),
        ("range", [0, 0.5, 1]),
    ],
)
def test_every_intensity_source_maps_to_zero_and_one(source, expected):
    recipe = ca.Recipe.from_steps([{"step": "rescale", "from": source}])
    pixels, _ = recipe.apply(np.array([[10.0, 20.0, 30.0]]))
    np.testing.assert_allclose(pixels[0, 0], expected, atol=1e-6)


def test_window_invert_and_quantize_do_what_they_say():
    steps = [
        {"step": "window", "center": 50, "width": 100},
        {"step": "invert"},
        {"step": "quantize", "bits": 1},
    ]
    pixels, _ = ca.Recipe.from_steps(steps).apply(np.array([[-5.0, 10.0, 90.0, 200.0]]))
    np.testing.assert_array_equal(pixels[0, 0], [1, 1, 0, 0])


def test_recipes_with_the_same_steps_are_equal_and_hash_alike():
    one, other = (
        ca.Recipe.film(224),
        ca.Recipe.from_json(
            json.dumps(json.loads(ca.Recipe.film(224).to_json()), indent=2)
        ),
    )
    assert one == other
    assert len({one, other, ca.Recipe.film(256)}) == 2
    assert len(one.hash) == 64
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one).endswith("224 x 224, bilinear, antialiased -> 1 channels)")
    assert "<li>pad to a square with 0</li>" in one._repr_html_()


def test_a_recipe_is_not_changed_by_what_it_is_applied_to():
    film = np.random.default_rng(6).random((30, 30))
    before = film.copy()
    first, _ = ca.Recipe.film(16).apply(film)
    second, _ = ca.Recipe.film(16).apply(film)
    np.testing.assert_array_equal(film, before)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"step": "blur"}], "unknown variant `blur`"),
        ([{"step": "invert", "much": 1}], "unknown field `much`"),
        ([{"step": "quantize", "bits": 40}], r"`steps\[0\]`: bits is 40, expected 1"),
        ([{"step": "window", "center": 1, "width": 0}], "expected low < high"),
        ([{"step": "center_crop", "height": 0, "width": 9}], "height is 0, expected 1"),
        ([{"step": "normalize", "mean": [0, 0], "std": [1]}], "mean has 2 values"),
        ([{"step": "normalize", "mean": [0], "std": [0]}], "positive deviations"),
        ([{"step": "channels", "count": 3}] * 2, "expected a grey film, found 3"),
    ],
)
def test_a_bad_step_is_named(steps, message):
    with pytest.raises(ca.CarinaError, match=message):
        ca.Recipe.from_steps(steps)


def test_a_middle_larger_than_the_film_is_refused():
    recipe = ca.Recipe.from_steps([{"step": "center_crop", "height": 8, "width": 8}])
    with pytest.raises(ca.CarinaError, match=r"at least \(8, 8\) to keep the middle"):
        recipe.apply(np.ones((9, 7)))


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(ca.CarinaError, match=r'expected one of film-224, .* found "x"'):
        ca.Recipe.preset("x")
