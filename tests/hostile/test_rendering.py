"""Pictures of what should not be drawn: one line that names it, or a small picture."""

import itertools
import re

import carina as ca
import numpy as np
import pytest

FILM = ca.read(np.random.default_rng(0).random((20, 30)))
SCAN = ca.Volume.from_array(
    np.random.default_rng(0).normal(0, 300, (6, 7, 8)), spacing=(2, 1, 1)
)
NAN = np.full((20, 30), np.nan)


@pytest.mark.parametrize(
    ("overlays", "message"),
    [
        ({"boxes": (1, 2, 3)}, "box 'box': expected (x0, y0, x1, y1) or rows of them"),
        ({"boxes": [[[1, 2, 3, 4]]]}, "got shape [1, 1, 4]"),
        ({"boxes": (3, 2, 1, 4)}, "ends below the last, found [3.0, 2.0, 1.0, 4.0]"),
        ({"boxes": (np.nan, 2, 3, 4)}, "found [nan, 2.0, 3.0, 4.0]"),
        ({"boxes": {"a": "box"}}, "box 'a': expected numbers (x0, y0, x1, y1)"),
        ({"boxes": {"a": [(1, 2, 3, 4)] * 1001}}, "at most 1000 in a picture"),
        ({"boxes": {str(i): None for i in range(15)}}, "at most 14 names, found 15"),
        ({"masks": np.ones((30, 20), bool)}, "[20, 30], got [30, 20]; the geometry"),
        ({"masks": SCAN.to_numpy() > 0}, "shape [20, 30], got [6, 7, 8]"),
        (
            {"masks": {"a": NAN}},
            "mask 'a': expected finite values, found nan at [0, 0]",
        ),
        ({"masks": {"a": [["x"] * 30] * 20}}, "mask 'a': expected numbers, found"),
        ({"masks": {"a": [[1], [1, 2]]}}, "mask 'a': expected an array of numbers"),
        ({"side": 20.5}, "side: expected a whole number from 16 to 2048, found 20.5"),
        ({"masks": SCAN}, "mask 'mask': expected the picture's shape [20, 30]"),
        ({"heatmap": NAN}, "heat map 'heat map': expected finite values, found nan"),
        ({"heatmap": np.ones((2, 3))}, "shape [20, 30], got [2, 3]"),
        (
            {"heatmap": np.full((20, 30), 1e300)},
            "heat map 'heat map': expected values that float32 can hold, found 1e+300",
        ),
        (
            {"masks": {"a": np.full((20, 30), 0.7)}},
            "mask 'a': expected booleans, or numbers that are all 0 or 1, found 0.7",
        ),
        ({"heatmap": {}}, "expected one map and its name, found 0"),
        ({"heat_range": (0, 1)}, "heat_range: expected a heatmap with it"),
        (
            {"heatmap": np.ones((20, 30)), "heat_range": (1, 1)},
            "heat_range: expected low < high, found 1 and 1",
        ),
        ({"window": (1, np.inf)}, "window: expected low < high, found 1 and inf"),
        ({"window": 3}, "window: expected (low, high), found 3"),
        ({"side": 0}, "side: expected a whole number from 16 to 2048, found 0"),
        ({"side": 10**9}, "from 16 to 2048, found 1000000000"),
    ],
)
def test_what_does_not_fit_a_film_is_named(overlays, message):
    with pytest.raises(ca.CarinaError) as caught:
        FILM.show(**overlays)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SCAN.show(at=(6, 0, 0)), "within [6, 7, 8], found (6, 0, 0)"),
        (lambda: SCAN.show(at=(1.5, 0, 0)), "at: expected a voxel (z, y, x) within"),
        (lambda: SCAN.show(at=(-1, 0, 0)), "at: expected a voxel (z, y, x) within"),
        (lambda: SCAN.show(at="heart"), "an overlay that is not empty, found 'heart'"),
        (lambda: SCAN.montage(0), "n: expected a whole number from 1 to 100, found 0"),
        (lambda: SCAN.montage(10**9), "n: expected a whole number from 1 to 100"),
        (
            lambda: SCAN.montage(100, side=2048),
            "side: expected a whole number from 16 to 409, found",
        ),
        (
            lambda: SCAN.montage(columns=0),
            "columns: expected a whole number from 1 to 100, found 0",
        ),
        (
            lambda: SCAN.montage(between=(4, 9)),
            "two slices from 0 up to 6, found (4, 9)",
        ),
        (lambda: SCAN.montage(between=(4, 4)), "between: expected two slices from 0"),
        (lambda: SCAN.montage(plane="oblique"), "axial, coronal, sagittal, found"),
        (lambda: SCAN.slider(plane=""), "plane: expected one of axial, coronal"),
        (lambda: SCAN.show(boxes=(0, 0, 1, 1)), "(z0, y0, x0, z1, y1, x1) or rows"),
        (lambda: SCAN.show(masks=np.ones((6, 8, 7))), "[6, 7, 8], got [6, 8, 7]"),
        (lambda: SCAN.show("liver"), "window: expected one of lung, mediastinum, bone"),
        (
            lambda: SCAN.show(("a", "b")),
            "window: expected (low, high), found ('a', 'b')",
        ),
    ],
)
def test_what_does_not_fit_a_volume_is_named(call, message):
    with pytest.raises(ca.CarinaError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 2), (2, 1, 1), (1, 5, 1)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2e-6, 1, 9e5), (9e5, 2e-6, 1)])
def test_slices_without_depth_and_extreme_spacings_give_small_pictures(shape, spacing):
    thin = ca.Volume.from_array(np.zeros(shape), spacing=spacing, modality="CT")
    one = np.ones(shape)
    page = thin.show(masks=one, boxes=(0, 0, 0, 1, 1, 1), heatmap=one)._repr_html_()
    page += thin.montage(plane="sagittal")._repr_html_() + thin._repr_html_()
    page += thin.slider()._repr_html_()
    assert len(page) < 200_000


@pytest.mark.parametrize("value", [0, 1e38, -1e38, 1e-40])
def test_constant_and_extreme_films_are_shown(value):
    plain = ca.read(np.full((9, 5), value))
    assert "<img" in plain._repr_html_()
    mixed = ca.read(np.array([[3e38, -3e38]]))
    assert "<img" in mixed.show(masks=[[True, False]])._repr_html_()
    for spacing in ((1e-300, 1e300), (1e300, 1e-300)):
        odd = ca.Image(ca._core.Image(mixed.to_numpy(), spacing=spacing))
        assert len(odd._repr_html_()) < 5000


def test_boxes_beyond_the_picture_are_cut_or_said_to_be_outside():
    page = FILM.show(boxes={"cut": (-1e300, -5, 5, 1e300), "out": (40, 0, 50, 9)})
    text = page._repr_html_()
    assert "> cut &nbsp;" in text
    assert "> out (outside of the film)" in text
    assert "data" in text


def test_no_identifier_of_a_file_is_in_a_picture(ct, store):
    volume = ca.read(store(ct(patient="Secret^Name")))
    parts = [volume, volume.show(), volume.montage(), volume.slider()]
    page = "".join(repr(part) + part._repr_html_() for part in parts)
    page = re.sub(r"base64,[^']+'", "", page)
    assert "Secret" not in page
    assert "1.2.3" not in page


def test_organs_of_another_volume_are_not_drawn():
    scan = ca.phantom(1, kind="ct", size=48, slices=16, progress=False)[0].volumes[0]
    organs, z = scan.organs(), scan.shape[0]
    crop = scan.crop((1, 0, 0, z, 40, 40))
    beside = scan.crop((1, 0, 0, z + 1, *scan.shape[1:]))  # of the same shape
    for other, kind in itertools.product((crop, beside), ("boxes", "masks")):
        expected = f"{kind}: expected the Organs of this very volume, found those of o"
        with pytest.raises(ca.CarinaError, match=expected):
            other.show(**{kind: organs})
    assert scan.window("lung").show(boxes=organs, masks=organs).legend
