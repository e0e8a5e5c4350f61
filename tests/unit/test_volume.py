"""Volumes: turned, resampled, cropped, windowed, tiled; all of it leads back."""

import copy
import pickle

import carina as ca
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

HU = np.random.default_rng(0).normal(-200, 400, (7, 9, 8)).astype(np.float32)


def volume():
    return ca.Volume.from_array(HU, spacing=(2.0, 0.7, 0.9), origin=(5, -6, 7))


def test_the_array_shares_the_memory_of_the_volume():
    one = volume()
    first, second = one.to_numpy(), np.asarray(one)
    assert first.base is not None
    assert first.ctypes.data == second.ctypes.data
    assert not first.flags.writeable
    assert np.asarray(one, dtype=np.float64).dtype == np.float64


def test_a_fresh_volume_is_its_own_original():
    geometry = volume().geometry
    assert geometry.original_shape == geometry.model_shape == (7, 9, 8)
    np.testing.assert_allclose(geometry.to_model([1, 2, 3]), [1, 2, 3])
    # The centre of the first voxel is the origin.
    np.testing.assert_allclose(geometry.to_patient([0.5, 0.5, 0.5]), [5, -6, 7])
    np.testing.assert_allclose(geometry.from_patient([5, -6, 9]), [1.5, 0.5, 0.5])


def test_the_steps_of_a_volume_are_told_in_its_history():
    one = volume().reorient("RAS").resample(1.0).crop((0, 0, 0, 4, 4, 4)).window("lung")
    assert one.history == [
        "array of float32",
        "turned from LPS to RAS",
        "resized from 7 x 9 x 8 to 14 x 6 x 7, trilinear",
        "kept voxels 0 to 4, 0 to 4, 0 to 4",
        "window -1350 to 150, to [0, 1]",
    ]
    assert one.spacing == pytest.approx((1.0, 9 * 0.7 / 6, 8 * 0.9 / 7))


def test_a_window_has_its_ends_at_black_and_white():
    hu = np.array([[[-5000.0, -1350, -600, 150, 9000]]])
    one = ca.Volume.from_array(hu, spacing=(1, 1, 1)).window("lung")
    np.testing.assert_allclose(one.to_numpy().ravel(), [0, 0, 0.5, 1, 1])
    assert set(ca.hu_windows()) == {"lung", "mediastinum", "bone", "cancer", "heart"}
    assert ca.hu_windows()["cancer"] == (-1300, 150)
    assert ca.hu_windows()["heart"] == (-135, 225)


@given(
    letters=st.sampled_from(["LPS", "RAS", "PSR", "AIL", "SLA"]),
    start=st.tuples(*[st.integers(-3, 3)] * 3),
    size=st.tuples(*[st.integers(2, 9)] * 3),
    shape=st.tuples(*[st.integers(1, 16)] * 3),
    point=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_points_and_boxes_return_to_the_original(letters, start, size, shape, point):
    one = volume().reorient(letters)
    box = (*start, *(s + d for s, d in zip(start, size, strict=True)))
    geometry = one.crop(box).resample(shape=shape).geometry
    point = np.array(point) * (7, 9, 8)
    back = geometry.to_original(geometry.to_model(point))
    np.testing.assert_allclose(back, point, atol=1e-6)
    seen = geometry.box_to_original([0, 0, 0, *shape])
    again = geometry.box_to_original(geometry.box_to_model(seen))
    np.testing.assert_allclose(again, seen, atol=0.5)


def test_the_place_of_a_voxel_outlives_every_step(tmp_path):
    # A spot of one voxel, found again in the patient after a turn, a crop and a resize.
    hu = np.full((12, 14, 16), -1000.0)
    hu[6, 4, 9] = 3000
    one = ca.Volume.from_array(hu, spacing=(2.0, 1.5, 1.0), origin=(3, 4, 5))
    there = one.geometry.to_patient([6.5, 4.5, 9.5])
    small = one.reorient("PIR").crop((1, 2, 1, 15, 12, 13)).resample(0.5)
    peak = np.array(np.unravel_index(small.to_numpy().argmax(), small.shape)) + 0.5
    np.testing.assert_allclose(
        small.geometry.to_original(peak), [6.5, 4.5, 9.5], atol=0.5
    )
    small.save(tmp_path / "small.nii.gz")
    read = ca.read(tmp_path / "small.nii.gz")
    peak = np.array(np.unravel_index(read.to_numpy().argmax(), read.shape)) + 0.5
    distance = np.abs(read.geometry.to_patient(peak) - there)
    assert (distance <= np.array([1.0, 1.5, 2.0]) / 2 + 1e-4).all()


def test_masks_and_heat_maps_return_to_the_original_grid():
    one = volume()
    geometry = (
        one.reorient("RAS")
        .crop((0, 0, 0, 7, 9, 4))
        .resample(shape=(14, 18, 8))
        .geometry
    )
    back = geometry.mask_to_original(np.ones((14, 18, 8), bool))
    wanted = np.zeros(one.shape, bool)
    wanted[:, :, 4:] = True  # the first half of R to L is the last of L to R
    np.testing.assert_array_equal(back, wanted)
    heat = geometry.heatmap_to_original(np.full((2, 3, 4), 2.0))
    np.testing.assert_allclose(heat, 2.0 * wanted)
    mask = HU > 0
    np.testing.assert_array_equal(
        one.reorient("SLP").geometry.mask_to_original(
            one.reorient("SLP").geometry.mask_to_model(mask)
        ),
        mask,
    )


def test_labels_are_never_mixed():
    labels = np.random.default_rng(1).integers(0, 5, (4, 5, 6)) * 50
    one = ca.Volume.from_array(labels, spacing=(3, 1, 1)).resample(0.4, nearest=True)
    assert set(np.unique(one.to_numpy())) <= set(np.unique(labels))


def test_tiles_cover_the_volume_and_know_their_place():
    one = volume()
    covered = np.zeros(one.shape)
    for tile in one.tiles((4, 4, 16), overlap=0.25):
        assert tile.shape == (4, 4, 16)
        seen = tile.geometry.mask_to_original(np.ones(tile.shape, bool))
        covered += seen
        values = tile.to_numpy()
        inside = tile.geometry.mask_to_model(np.ones(one.shape, bool))
        assert (values[~inside] == -1024).all()
        np.testing.assert_array_equal(values[inside], HU[seen])
    assert covered.min() == 1
    assert covered.max() > 1


def test_a_mask_takes_the_place_of_its_volume(tmp_path):
    one = volume().reorient("RAS")
    mask = one.with_voxels(one.to_numpy() > 0)
    np.testing.assert_array_equal(mask.affine, one.affine)
    assert mask.geometry == one.geometry
    mask.save(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(
        ca.read(tmp_path / "mask.nii.gz", orientation="stored").affine,
        one.affine,
        atol=1e-5,
    )


def test_volumes_and_their_geometry_pickle():
    one = volume().crop((1, 1, 1, 5, 5, 5))
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        np.testing.assert_array_equal(again.to_numpy(), one.to_numpy())
        assert again.geometry == one.geometry
        assert again.history == one.history
    assert ca.VolumeGeometry.from_json(one.geometry.to_json()) == one.geometry
    assert hash(one.geometry) == hash(pickle.loads(pickle.dumps(one.geometry)))
    assert repr(one.geometry).startswith("VolumeGeometry(7 x 9 x 8, 2.0000 x 0.7000")


def array(values, spacing=(1, 1, 1), **where):
    return lambda: ca.Volume.from_array(values, spacing=spacing, **where)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ca.Volume.from_array(HU[0], spacing=(1, 1, 1)),
            "(z, y, x), got [9, 8]",
        ),
        (array(HU, (1, 0, 1)), "expected three lengths"),
        (array(HU, (1, np.nan, 1)), "spacing: expected finite numbers"),
        (array(HU, (1, 1)), "spacing: expected shape [3], got [2]"),
        (array(HU, origin=(1, 1)), "origin: expected shape [3], got [2]"),
        (array(HU, direction=(1, 1)), "direction: expected shape [3, 3], got [2]"),
        (array(HU, "wide"), "spacing: expected numbers, found dtype <U4"),
        (
            lambda: ca.Volume.from_array(HU[:0], spacing=(1, 1, 1)),
            "three sides of at le",
        ),
        (
            lambda: ca.Volume.from_array(
                HU, spacing=(1, 1, 1), direction=np.ones((3, 3))
            ),
            "direction: expected three unit vectors at right angles",
        ),
        (
            lambda: ca.Volume.from_array(HU * np.nan, spacing=(1, 1, 1)),
            "found NaN at (0,",
        ),
        (lambda: volume().resample(), "expected either spacing or shape"),
        (lambda: volume().resample(-1.0), "expected three lengths in mm"),
        (lambda: volume().resample(1e-9), "new size: expected shape three sides"),
        (
            lambda: volume().resample(shape=(0, 1, 1)),
            "shape: expected sides of at least 1",
        ),
        (
            lambda: volume().resample(shape=(10**9,) * 3),
            "new size: expected shape three",
        ),
        (lambda: volume().resample([1, 2]), "spacing: expected shape [3], got [2]"),
        (lambda: volume().crop((0, 0, 0, 1, 1)), "box: expected shape [6], got [5]"),
        (
            lambda: volume().crop((0, 0, 0, np.inf, 1, 1)),
            "box: expected finite numbers",
        ),
        (
            lambda: volume().crop((0, 0, 0, 1e300, 1, 1)),
            "box: expected 6 whole numbers",
        ),
        (lambda: volume().crop((3, 0, 0, 1, 1, 1)), "with low < high"),
        (lambda: volume().crop((0, 0, 0, 1, 1, 1.5)), "box: expected 6 whole numbers"),
        (
            lambda: volume().crop((0, 0, 0, 8, 1, 1), size=(4, 4, 4)),
            "inside the volume",
        ),
        (lambda: volume().window("brain"), "window: expected one of lung, mediastinum"),
        (lambda: volume().window((3, 3)), "expected low < high, found 3 and 3"),
        (lambda: volume().window(("a", "b")), "window: expected (low, high), found ("),
        (lambda: volume().tiles((2, 2, 2), overlap=1), "overlap: expected a part"),
        (lambda: volume().reorient("LLL"), "orientation: expected one letter each"),
        (lambda: volume().with_voxels(HU[1:]), "volume: expected shape (7, 9, 8)"),
        (lambda: volume().geometry.to_model([1, 2]), "points: expected shape (N, 3)"),
        (
            lambda: volume().geometry.mask_to_model(HU[1:] > 0),
            "mask: expected shape (7",
        ),
        (
            lambda: volume().geometry.to_model("ab"),
            "points: expected numbers, found dtype <U2",
        ),
        (
            lambda: volume().geometry.box_to_model([np.nan] * 6),
            "boxes: expected finite edges, at most 1e+15 away, found nan",
        ),
        (lambda: volume().geometry.box_to_original([np.inf] * 6), "found inf"),
        (lambda: volume().geometry.box_to_original([-1e308] * 6), "found -1e+308"),
        (
            lambda: volume().geometry.mask_to_original(np.full((2, 2, 2), 0.3)),
            "mask: expected booleans, or numbers that are all 0 or 1, found 0.3",
        ),
        (
            lambda: volume().geometry.mask_to_model(HU * np.nan),
            "all 0 or 1, found nan: make probabilities a mask by a threshold",
        ),
        (lambda: ca.VolumeGeometry.from_json("{}"), "config field `geometry`"),
    ],
)
def test_what_cannot_be_done_is_named(make, message):
    with pytest.raises(ca.CarinaError) as caught:
        make()
    assert message in str(caught.value)


def test_one_spacing_stands_for_all_and_a_mask_may_be_of_numbers():
    one = ca.Volume.from_array(HU, spacing=2.0)
    assert one.spacing == (2.0, 2.0, 2.0)
    inside = HU > 0
    for dtype in (np.uint8, np.float32):
        back = one.geometry.mask_to_original(inside.astype(dtype))
        np.testing.assert_array_equal(back, inside)
