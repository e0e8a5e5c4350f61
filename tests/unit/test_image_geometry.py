"""The way back from model pixels to original pixels."""

import pickle

import carina as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

side = st.integers(4, 90)


def placed(height, width, size):
    recipe = ca.Recipe.film(size)
    return recipe.apply(np.zeros((height, width)))[1]


@settings(max_examples=60, deadline=None)
@given(side, side, st.integers(8, 120), st.floats(0, 1), st.floats(0, 1))
def test_points_come_back(height, width, size, a, b):
    geometry = placed(height, width, size)
    point = np.array([a * width, b * height])
    there = geometry.to_model(point)
    assert (there >= -1e-9).all()
    assert (there <= size + 1e-9).all()
    np.testing.assert_allclose(geometry.to_original(there), point, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(side, side, st.integers(8, 120), st.lists(st.floats(0, 1), min_size=4))
def test_boxes_come_back(height, width, size, shares):
    geometry = placed(height, width, size)
    x = np.sort(shares[:2]) * width
    y = np.sort(shares[2:4]) * height
    box = np.array([[x[0], y[0], x[1], y[1]]])
    back = geometry.box_to_original(geometry.box_to_model(box))
    np.testing.assert_allclose(back, box, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(side, side, st.integers(0, 2**32 - 1))
def test_masks_come_back_from_a_finer_canvas(height, width, seed):
    geometry = placed(height, width, 3 * max(height, width))
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    back = geometry.mask_to_original(geometry.mask_to_model(mask))
    np.testing.assert_array_equal(back, mask)


@settings(max_examples=30, deadline=None)
@given(side, side, st.integers(8, 120), st.integers(1, 20))
def test_a_linear_heat_map_lands_where_it_points(height, width, size, grid):
    geometry = placed(height, width, size)
    centres = (np.arange(grid) + 0.5) / grid * size
    heat = geometry.heatmap_to_original(np.tile(centres, (grid, 1)))
    assert heat.shape == (height, width)
    points = np.stack([np.arange(width) + 0.5, np.full(width, height / 2)], axis=1)
    wanted = np.clip(geometry.to_model(points)[:, 0], centres[0], centres[-1])
    row = heat[height // 2]
    np.testing.assert_allclose(row, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ca.Recipe.presets())
@pytest.mark.parametrize(("x", "y"), [(150.5, 90.0), (201.25, 133.75)])
def test_what_lies_at_a_point_is_seen_at_its_image(name, x, y):
    rows, columns = np.mgrid[:240, :360] + 0.5
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 8**2))
    pixels, geometry = ca.Recipe.preset(name).apply(blob)
    seen = np.clip(pixels[0] - pixels[0].min(), 0, None).astype(float)
    seen[seen < 0.1 * seen.max()] = 0
    rows, columns = np.indices(seen.shape) + 0.5
    centre = [(columns * seen).sum() / seen.sum(), (rows * seen).sum() / seen.sum()]
    np.testing.assert_allclose(geometry.to_original(centre), [x, y], atol=0.1)


def test_a_box_in_the_border_is_clipped_to_the_film():
    geometry = placed(10, 40, 80)
    inside = geometry.box_to_original([0, 0, 80, 80])
    np.testing.assert_allclose(inside, [0, 0, 40, 10])
    np.testing.assert_allclose(geometry.box_to_model([0, 0, 40, 10]), [0, 30, 80, 50])


def test_a_crop_hides_what_it_cut_off():
    geometry = ca.Recipe.preset("clip-224").apply(np.eye(100, 300))[1]
    assert geometry.model_shape == (224, 224)
    assert geometry.original_shape == (100, 300)
    seen = geometry.mask_to_original(np.ones((224, 224), bool))
    assert seen[:, 100:200].all()
    assert not seen[:, :99].any()
    assert not seen[:, 201:].any()


def test_results_can_be_given_in_millimetres():
    film = ca.read(np.eye(10, 20))
    geometry = ca.Recipe.film(40).apply(film)[1]
    with pytest.raises(ca.CarinaError, match="the film has none"):
        geometry.millimetres([1, 2])
    text = geometry.to_json().replace('"spacing":null', '"spacing":[0.5,0.25]')
    spaced = ca.Geometry.from_json(text)
    np.testing.assert_allclose(spaced.millimetres([4, 2]), [1, 1])
    np.testing.assert_allclose(spaced.millimetres([[0, 0, 4, 2]]), [[0, 0, 1, 1]])
    assert spaced.model_spacing == (0.25, 0.125)


def test_geometry_travels_as_json_and_pickle():
    geometry = placed(30, 20, 64)
    assert ca.Geometry.from_json(geometry.to_json()) == geometry
    assert pickle.loads(pickle.dumps(geometry)) == geometry
    assert repr(geometry).startswith("Geometry(30 x 20 -> 64 x 64, scale 2.1333")
    with pytest.raises(ca.CarinaError, match="expected positive sizes and scales"):
        ca.Geometry.from_json(geometry.to_json().replace("[30,20]", "[0,20]"))


@pytest.mark.parametrize(
    ("call", "value", "message"),
    [
        ("to_model", [[1, 2, 3]], r"points: expected shape \(N, 2\), got \[1, 3\]"),
        ("box_to_original", [1, 2], r"boxes: expected shape \(N, 4\), got \[1, 2\]"),
        ("mask_to_model", np.ones((2, 2)), r"mask: expected shape \(30, 20\), got"),
        ("mask_to_original", np.ones(3), r"mask: expected shape \(rows, columns\)"),
        ("heatmap_to_original", np.ones((0, 3)), "heat map: expected shape two sides"),
        ("box_to_original", [np.nan, 1, 2, 3], "boxes: expected finite edges, at most"),
        ("box_to_model", [0, 0, np.inf, 3], "at most 1e.15 away, found inf"),
        ("to_model", "ab", "points: expected numbers, found dtype <U2"),
        ("mask_to_original", np.full((8, 8), 0.3), "all 0 or 1, found 0.3: make prob"),
        ("mask_to_original", np.full((8, 8), np.nan), "all 0 or 1, found nan"),
        ("mask_to_model", -np.ones((30, 20)), "all 0 or 1, found -1"),
        ("mask_to_original", np.full((8, 8), "x"), "mask: expected numbers, found dty"),
        ("millimetres", "ab", "the film has none"),
    ],
)
def test_what_has_no_meaning_names_the_argument(call, value, message):
    with pytest.raises(ca.CarinaError, match=message):
        getattr(placed(30, 20, 64), call)(value)
