"""Lungs and heart of a chest CT, and the recipes that crop to them."""

import os
from pathlib import Path

import carina as ca
import numpy as np
import pytest

DATA = Path(os.environ.get("CARINA_DATA", "../shared/data")) / "ct_totalseg"


def chest(step=4.0):
    """Draw a body with two lungs, a heart between them and a trachea."""
    z, y, x = np.mgrid[0:300:step, 0:270:step, 0:360:step]

    def inside(centre, half):
        place = zip((z, y, x), centre, half, strict=True)
        return sum(((a - c) / h) ** 2 for a, c, h in place) < 1

    hu = np.full(z.shape, -1000.0)
    hu[inside((150, 135, 180), (1e9, 114, 165))] = 40
    for middle in (102, 258):
        hu[inside((150, 135, middle), (126, 84, 57))] = -850
    hu[inside((126, 114, 192), (54, 48, 51))] = 45
    hu[(z > 180) & inside((240, 150, 180), (1e9, 9, 9))] = -1000
    return ca.Volume.from_array(hu, spacing=(step,) * 3, modality="CT")


def test_lungs_are_found_on_their_sides_and_without_the_airway():
    volume = chest()
    organs = volume.organs()
    left, right = organs.mask("left_lung"), organs.mask("right_lung")
    assert not (left & right).any()
    truth = volume.to_numpy() == -850
    side = np.arange(volume.shape[2]) >= 45
    for mask, own in ((left, truth & side), (right, truth & ~side)):
        assert 2 * (mask & own).sum() / (mask.sum() + own.sum()) > 0.93
    np.testing.assert_array_equal(organs.mask("lungs"), left | right)
    low = np.minimum(organs.boxes["left_lung"][:3], organs.boxes["right_lung"][:3])
    np.testing.assert_array_equal(organs.boxes["lungs"][:3], low)
    assert "left_lung (" in repr(organs)
    with pytest.raises(ca.CarinaError, match="organ: expected one of right_lung"):
        organs.mask("heart")


def test_a_table_under_a_body_that_is_wider_than_the_scan_is_no_lung():
    whole = chest()
    under = ((0, 0), (0, 20), (0, 0))
    hu = np.pad(whole.to_numpy()[:, :, 8:-8], under, constant_values=-1000)
    hu[:, -20:] = -900  # the padding of the table
    hu[:, -2:] = 0  # and its shell
    seen = ca.Volume.from_array(hu, spacing=whole.spacing, modality="CT").organs()
    for name in ("left_lung", "right_lung"):
        expected = np.pad(whole.organs().mask(name)[:, :, 8:-8], under)
        np.testing.assert_array_equal(seen.mask(name), expected)


def test_a_recipe_crops_to_the_organ_and_leads_back():
    volume = chest()
    heart = volume.organs().boxes["heart"]
    recipe = ca.Recipe.preset("m3fm-heart")
    made = recipe.apply_volume(volume)
    assert made.voxels.shape == (1, 128, 192, 224)
    # 45 HU is the middle of the window from -135 to 225.
    assert (made.voxels.min(), made.voxels.max()) == (-1, 0)
    assert made.voxel_size == pytest.approx(made.geometry.model_spacing)
    assert ca.Recipe.from_json(recipe.to_json()).hash == recipe.hash
    # The box of the heart lies inside of what the model sees, whole.
    seen = made.geometry.box_to_original(made.geometry.box_to_model(heart))
    np.testing.assert_allclose(seen, heart, atol=0.5)
    steps = recipe.steps
    steps[0]["voxel_size"] = "released"
    told = ca.Recipe.from_steps(steps).apply_volume(volume)
    assert told.voxel_size == volume.spacing
    np.testing.assert_array_equal(told.voxels, made.voxels)
    assert "m3fm-lungs" in ca.Recipe.presets(volumes=True)


def test_what_a_recipe_cannot_do_is_named():
    empty = ca.Volume.from_array(np.full((9, 9, 9), -1000.0), spacing=(3, 3, 3))
    recipe = ca.Recipe.preset("m3fm-lungs")
    with pytest.raises(ca.CarinaError, match="a chest CT with lungs, found none"):
        recipe.apply_volume(empty)
    with pytest.raises(ca.CarinaError, match="is for volumes; films have resize"):
        recipe.apply(np.zeros((8, 8)))
    with pytest.raises(ca.CarinaError, match="is for films; volumes have resize_vol"):
        ca.Recipe.film(32).apply_volume(empty)
    with pytest.raises(ca.CarinaError, match="expected a CT in Hounsfield units"):
        ca.Volume.from_array(np.ones((9, 9, 9)), spacing=(3, 3, 3)).organs()


@pytest.mark.data
def test_the_lung_bases_of_a_real_ct_agree_with_a_learnt_model():
    if not DATA.exists():
        pytest.skip("needs ct_totalseg/ under CARINA_DATA")
    organs = ca.read(DATA / "example_ct_sm.nii.gz").organs()
    labels = np.round(ca.read(DATA / "example_seg.nii.gz").to_numpy())
    for name, lobes in {"left_lung": (10, 11), "right_lung": (12, 13, 14)}.items():
        truth, mask = np.isin(labels, lobes), organs.mask(name)
        assert 2 * (truth & mask).sum() / (truth.sum() + mask.sum()) > 0.9
