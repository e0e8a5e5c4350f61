"""NIfTI files hold what nibabel reads in them, voxel by voxel and place by place."""

import os
from pathlib import Path

import carina as ca
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

nib = pytest.importorskip("nibabel", reason="needs nibabel, the reference reader")

DATA = Path(os.environ.get("CARINA_DATA", "../shared/data")) / "ct_totalseg"
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]


def rotation(angles):
    a, b, c = angles
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return z @ y @ x


def affine(
    angles=(0, 0, 0), spacing=(0.7, 0.8, 2.5), flips=(1, 1, 1), shift=(9, -8, 7)
):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(angles) * np.array(spacing) * np.array(flips)
    matrix[:3, 3] = shift
    return matrix


def same_place(volume, reference):
    """Compare the matrices; ours takes (z, y, x) to LPS, nibabel's (i, j, k) to RAS."""
    ours = RAS_TO_LPS @ volume.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(ours, reference.affine, rtol=0, atol=2e-4)


def check(path):
    reference = nib.load(path)
    values = reference.get_fdata(dtype=np.float64)
    values = values.reshape(values.shape[:3])
    stored = ca.read(path, orientation="stored")
    np.testing.assert_allclose(stored.to_numpy().T, values, rtol=1e-6, atol=1e-6)
    same_place(stored, reference)
    turned = ca.read(path)
    assert turned.orientation == "LPS"
    np.testing.assert_array_equal(
        turned.reorient(stored.orientation).to_numpy(), stored.to_numpy()
    )
    same_place(turned.reorient(stored.orientation), reference)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_every_type_and_byte_order_agrees_with_nibabel(tmp_path, kind, order, name):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 100, (4, 5, 6)).astype(kind)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(kind)
    image = nib.Nifti1Image(values, affine(), header)
    image.to_filename(tmp_path / name)
    check(tmp_path / name)


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    kind=st.sampled_from(TYPES),
    slope=st.sampled_from([None, 0.5, -2.0]),
    by=st.sampled_from(["sform", "qform"]),
    second=st.booleans(),
)
def test_any_orientation_and_scale_agree_with_nibabel(
    tmp_path_factory, shape, angles, flips, kind, slope, by, second
):
    path = tmp_path_factory.mktemp("nifti") / "a.nii.gz"
    values = np.random.default_rng(2).integers(0, 100, shape).astype(kind)
    make = nib.Nifti2Image if second else nib.Nifti1Image
    image = make(values, affine(angles, flips=flips))
    if by == "qform":
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
    if slope is not None:
        image.header.set_slope_inter(slope, 3.0)
    image.to_filename(path)
    check(path)


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    whole=st.booleans(),
    name=st.sampled_from(["a.nii", "a.nii.gz"]),
    left_handed=st.booleans(),
)
def test_what_is_saved_is_read_back_by_us_and_by_nibabel(
    tmp_path_factory, shape, angles, whole, name, left_handed
):
    path = tmp_path_factory.mktemp("nifti") / name
    voxels = np.random.default_rng(3).normal(-300, 500, shape).astype(np.float32)
    voxels = np.round(voxels) if whole else voxels
    axes = rotation(angles)
    axes[0] *= -1 if left_handed else 1
    volume = ca.Volume.from_array(
        voxels, spacing=(2.5, 0.8, 0.7), origin=(1, 2, 3), direction=axes
    )
    volume.save(path)
    back = ca.read(path, orientation="stored")
    np.testing.assert_array_equal(back.to_numpy(), voxels)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-5)
    reference = nib.load(path)
    assert reference.get_data_dtype() == (np.int16 if whole else np.float32)
    np.testing.assert_array_equal(np.asarray(reference.dataobj).T, voxels)
    same_place(volume, reference)
    np.testing.assert_allclose(reference.get_qform(), reference.affine, atol=1e-4)


def test_a_singleton_fourth_dimension_is_no_series(tmp_path):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    nib.Nifti1Image(values, affine()).to_filename(tmp_path / "a.nii")
    check(tmp_path / "a.nii")


def test_what_is_no_one_volume_in_space_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    four = np.zeros((2, 3, 4, 5), np.int16)
    nib.Nifti1Image(four, affine()).to_filename(path)
    with pytest.raises(ca.CarinaError, match="expected one volume, found 5"):
        ca.read(path)
    sheared = affine()
    sheared[0, 2] = 1.0
    nib.Nifti1Image(four[..., 0], sheared).to_filename(path)
    with pytest.raises(ca.CarinaError, match="sform are not at right angles"):
        ca.read(path)
    nib.Nifti1Image(np.zeros((2, 2, 2), np.complex64), affine()).to_filename(path)
    with pytest.raises(ca.CarinaError, match="found complex numbers"):
        ca.read(path)
    nib.Nifti1Pair(four[..., 0], affine()).to_filename(tmp_path / "b.hdr")
    with pytest.raises(ca.CarinaError, match="the header of a pair of files"):
        ca.read(tmp_path / "b.hdr")


def test_a_file_that_does_not_say_how_it_lies_needs_to_be_told(tmp_path):
    path = tmp_path / "a.nii.gz"
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(values, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    image.to_filename(path)
    with pytest.raises(ca.CarinaError, match="pass assume_orientation="):
        ca.read(path)
    volume = ca.read(path, assume_orientation="RAS")
    np.testing.assert_array_equal(volume.to_numpy(), values[::-1, ::-1].T)
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert any("orientation assumed to be RAS" in step for step in volume.history)


def test_nan_is_an_error_until_its_value_is_given(tmp_path):
    path = tmp_path / "a.nii"
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 1, 1] = np.nan
    nib.Nifti1Image(values, affine()).to_filename(path)
    with pytest.raises(ca.CarinaError, match="1 voxels are NaN or infinite; pass fill"):
        ca.read(path)
    volume = ca.read(path, fill=-7)
    assert volume.to_numpy().min() == -7
    assert "1 voxels that were NaN or infinite set to -7" in volume.history


@pytest.mark.data
@pytest.mark.parametrize("name", ["ct_cropped", "example_ct_sm", "example_mr_sm"])
def test_real_volumes_agree_with_nibabel(name):
    if not DATA.exists():
        pytest.skip("needs ct_totalseg/ under CARINA_DATA")
    check(DATA / f"{name}.nii.gz")


def test_a_name_that_is_no_nifti_is_refused(tmp_path):
    volume = ca.Volume.from_array(np.zeros((2, 2, 2)), spacing=(1, 1, 1))
    with pytest.raises(ca.CarinaError, match=r"ends in \.nii or \.nii\.gz, found"):
        volume.save(tmp_path / "a.gz")
    with pytest.raises(OSError, match="none"):
        volume.save(tmp_path / "none" / "a.nii")
