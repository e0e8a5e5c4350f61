"""A folder of slices becomes one volume in order, or says why not."""

import copy

import carina as ca
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

HU = np.random.default_rng(0).integers(-1000, 900, (6, 5, 4))


def test_slices_are_ordered_by_place_and_measured_in_hounsfield_units(ct, store):
    volume = ca.read(store(ct(HU)))
    assert isinstance(volume, ca.Volume)
    np.testing.assert_array_equal(volume.to_numpy(), HU.astype(np.float32))
    assert volume.spacing == pytest.approx((2.5, 0.7, 0.8))
    assert volume.origin == pytest.approx((-100, -90, 40))
    assert volume.orientation == "LPS"
    assert volume.modality == "CT"
    assert repr(volume) == "Volume(6 x 5 x 4, CT, 2.5 x 0.7 x 0.8 mm, LPS)"
    assert volume.history[0].startswith("DICOM, CT, 6 slices of 5 x 4, ordered by")
    assert "Nobody" not in repr(volume) + str(volume.history)
    with pytest.raises(ValueError, match="read-only"):
        volume.to_numpy()[0, 0, 0] = 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_are_the_same_slices(ct, store, syntax):
    if syntax == JPEG2000Lossless:
        pytest.importorskip("openjpeg", reason="needs pylibjpeg-openjpeg to write")
    hu = np.random.default_rng(1).integers(-1000, 900, (3, 64, 64))
    slices = ct(hu)
    for ds in slices:
        ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(ca.read(store(slices)).to_numpy(), hu)


def test_each_slice_has_its_own_rescale(ct, store):
    slices = ct(HU)
    other = ct(HU * 2, slope=2.0, intercept=-2048.0)
    slices[1], slices[4] = other[1], other[4]
    volume = ca.read(store(slices))
    wanted = HU.astype(np.float32)
    wanted[[1, 4]] *= 2
    np.testing.assert_array_equal(volume.to_numpy(), wanted)
    assert any("each of 6 slices by its own" in step for step in volume.history)


@pytest.mark.parametrize(
    ("rows", "columns", "stored"),
    [
        ((1, 0, 0), (0, 0, -1), "LIP"),  # coronal
        ((0, 1, 0), (0, 0, -1), "PIR"),  # sagittal
        ((-1, 0, 0), (0, -1, 0), "RAS"),  # axial, lying the other way round
    ],
)
def test_every_voxel_stays_where_it_is_in_the_patient(ct, store, rows, columns, stored):
    folder = store(ct(HU, rows=rows, columns=columns))
    volume = ca.read(folder)
    as_stored = ca.read(folder, orientation="stored")
    assert (volume.orientation, as_stored.orientation) == ("LPS", stored)
    np.testing.assert_array_equal(as_stored.to_numpy(), HU)
    normal = np.cross(rows, columns)
    for z, y, x in [(0, 0, 0), (5, 4, 3), (2, 1, 3)]:
        place = (-100, -90, 40) + z * 2.5 * normal
        place = place + y * 0.7 * np.array(columns) + x * 0.8 * np.array(rows)
        for one in (volume, as_stored):
            index = np.linalg.solve(one.affine, [*place, 1])[:3]
            at = tuple(np.round(index).astype(int))
            np.testing.assert_allclose(index, at, atol=1e-6)
            assert one.to_numpy()[at] == HU[z, y, x]


def test_padding_becomes_the_stated_air(ct, store):
    slices = ct(HU)
    for ds in slices:
        stored = np.frombuffer(ds.PixelData, "<i2").copy()
        stored[:3] = -2000
        ds.PixelData = stored.tobytes()
        ds.add_new("PixelPaddingValue", "SS", -2000)
    folder = store(slices)
    volume = ca.read(folder)
    assert (volume.to_numpy()[:, 0, :3] == -1024).all()
    assert volume.history[-1] == (
        "18 voxels of padding or outside of the slices set to -1024"
    )
    assert (ca.read(folder, fill=-3000).to_numpy()[:, 0, :3] == -3000).all()


def spoil(slices, kind):
    if kind == "missing":
        del slices[2]
    elif kind == "duplicates":
        slices.append(copy.deepcopy(slices[3]))
    elif kind == "size":
        slices[1].Rows, slices[1].Columns = 4, 5
    elif kind == "orientation":
        slices[5].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    elif kind == "position":
        del slices[5].ImagePositionPatient
    elif kind == "uneven":
        slices[2].ImagePositionPatient = [-100, -90, 40 + 2 * 2.5 + 1]
    elif kind == "tilt":
        for z, ds in enumerate(slices):
            ds.ImagePositionPatient = [-100, -90 + 0.7 * z, 40 + 2.5 * z]
    return slices


@pytest.mark.parametrize(
    ("kind", "message", "depth"),
    [
        ("missing", "1 slice is missing (gaps of up to 5.00 mm among slices 2.5", 6),
        ("duplicates", "1 slice lies at the place of another", 6),
        ("size", "1 of 6 slices have another size or pixel spacing than the rest", 6),
        ("orientation", "1 of 6 slices lie in another direction than the rest", 5),
        ("position", "1 of 6 slices have no ImagePositionPatient", 5),
        ("uneven", "slices lie at uneven distances (1.500 to 3.500 mm)", 6),
        ("tilt", "the gantry was tilted by 15.6 degrees (slices drift by 5.0 pix", 6),
    ],
)
def test_what_is_no_stack_is_refused_until_its_repair_is_allowed(
    ct, store, kind, message, depth
):
    folder = store(spoil(ct(HU), kind))
    with pytest.raises(ca.CarinaError) as caught:
        ca.read(folder)
    assert message in str(caught.value)
    assert f'pass repair="{kind}" to' in str(caught.value)
    if kind == "size":
        with pytest.raises(ca.CarinaError, match='repair="missing"'):
            ca.read(folder, repair="size")
        volume = ca.read(folder, repair=["size", "missing"])
    else:
        volume = ca.read(folder, repair=kind)
    assert volume.shape[0] == depth
    assert any(f'repair "{kind}": ' in step for step in volume.history)
    assert ca.read_series(folder)[0].problem == str(caught.value).split(": ", 1)[1]


def test_a_missing_slice_is_half_of_its_neighbours(ct, store):
    volume = ca.read(store(spoil(ct(HU), "missing")), repair="missing")
    wanted = HU.astype(np.float32)
    wanted[2] = (wanted[1] + wanted[3]) / 2
    np.testing.assert_allclose(volume.to_numpy(), wanted, atol=1e-3)


def test_slices_that_lie_far_beside_each_other_are_no_tilted_stack(ct, store):
    slices = spoil(ct(HU), "tilt")
    slices[5].ImagePositionPatient = [-100, 1e6, 40 + 2.5 * 5]
    with pytest.raises(ca.CarinaError, match="too far for a tilted gantry"):
        ca.read(store(slices), repair=("tilt", "uneven"))


def test_a_tilted_stack_stands_upright_after_its_repair(ct, store):
    volume = ca.read(store(spoil(ct(HU), "tilt")), repair="tilt")
    # Slice z drifts by z rows, so the canvas grows by five of them.
    assert volume.shape == (6, 10, 4)
    for z in range(6):
        np.testing.assert_allclose(volume.to_numpy()[z, z : z + 5], HU[z], atol=1e-2)
    assert volume.to_numpy()[0, 9, 0] == -1024


def test_a_series_in_time_is_no_volume(ct, store):
    folder = store(ct(HU))
    store(ct(HU))
    with pytest.raises(ca.CarinaError, match="found 2 at the same 6 places"):
        ca.read(folder)


def test_scouts_reports_and_other_files_are_set_apart_and_counted(ct, store):
    folder = store(ct(HU))
    scout = ct(HU[:1])[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    report = ct(HU[:1])[0]
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    store([scout, report])
    (folder / "below").mkdir()
    (folder / "below" / "notes.txt").write_text("look again")
    (folder / "below" / "round").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to(folder / "gone")
    volume = ca.read(folder)
    np.testing.assert_array_equal(volume.to_numpy(), HU)
    assert "1 localizer images set apart" in volume.history
    left = "left out of the folder: 9 files, 1 not DICOM, 1 without pixels"
    assert left in volume.history
    found = ca.read_series(folder)
    assert [one.localizer for one in found] == [False, True]
    assert (found.files, found.not_dicom, found.without_pixels) == (9, 1, 1)
    assert "6 slices, CT, 6 x 5 x 4, 2.5 x 0.7 x 0.8 mm" in repr(found)
    assert "Nobody" not in repr(found)


def test_two_patients_are_never_mixed(ct, store):
    folder = store(ct(HU))
    store(ct(HU[:4] + 1, series="1.2.4", patient="Someone^Else"))
    with pytest.raises(ca.CarinaError) as caught:
        ca.read(folder)
    assert str(caught.value) == (
        f"{folder}: expected one series, found 2 of 6, 4 slices and of 2 patients; "
        "choose one with series= or read_series"
    )
    np.testing.assert_array_equal(ca.read(folder, series=1).to_numpy(), HU[:4] + 1)
    found = ca.read_series(folder)
    assert [one.patient for one in found] == [0, 1]
    np.testing.assert_array_equal(found[0].read().to_numpy(), HU)
    with pytest.raises(ca.CarinaError, match="series 2 was asked for, but there are 2"):
        ca.read(folder, series=2)


@pytest.mark.parametrize(
    ("field", "other", "what"),
    [
        ("PatientID", "4711", "patients"),
        ("StudyInstanceUID", "1.2.9", "studies"),
        ("Modality", "MR", "modalities"),
        ("FrameOfReferenceUID", "1.2.8", "frames of reference"),
    ],
)
def test_a_series_whose_slices_do_not_belong_together_is_no_volume(
    ct, store, field, other, what
):
    slices = ct(HU)
    for number, one in enumerate(slices):
        one.StudyInstanceUID = one.FrameOfReferenceUID = "1.2.7"
        if number > 3:
            setattr(one, field, other)
    folder = store(slices)
    found = ca.read_series(folder)
    for read in (
        lambda: ca.read(folder),
        lambda: ca.read(folder, series=0),
        found[0].read,
    ):
        with pytest.raises(ca.CarinaError) as caught:
            read()
        assert str(caught.value) == f"{folder}: its slices belong to several {what}"
    assert found[0].problem == f"its slices belong to several {what}"


def test_one_slice_is_as_deep_as_it_is_thick(ct, store):
    one = ct(HU[:1])
    volume = ca.read(store(one))
    assert (volume.shape, volume.spacing[0]) == ((1, 5, 4), 9.0)
    assert "one slice: its depth is the slice thickness" in volume.history
    del one[0].SliceThickness
    with pytest.raises(ca.CarinaError, match="one slice without SliceThickness"):
        ca.read(store(one, "thin"))


def enhanced(slices):
    ds = copy.deepcopy(slices[0])
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, name)
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.NumberOfFrames = len(slices)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.8], 9.0
    shared.PixelMeasuresSequence = Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for one in slices:
        group, place, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = one.ImagePositionPatient
        plane.ImageOrientationPatient = one.ImageOrientationPatient
        values.RescaleSlope, values.RescaleIntercept = one.RescaleSlope, -1024
        values.RescaleType = "HU"
        group.PlanePositionSequence = Sequence([place])
        group.PlaneOrientationSequence = Sequence([plane])
        group.PixelValueTransformationSequence = Sequence([values])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.PixelData = b"".join(one.PixelData for one in slices)
    ds["PixelData"].VR = "OW"
    return ds


def test_the_frames_of_an_enhanced_ct_lie_where_their_groups_say(ct, tmp_path):
    slices = ct(HU)
    mixed = [slices[i] for i in (3, 0, 5, 1, 4, 2)]
    path = tmp_path / "enhanced.dcm"
    enhanced(mixed).save_as(path, enforce_file_format=True)
    volume = ca.read(path)
    np.testing.assert_array_equal(volume.to_numpy(), HU)
    assert volume.spacing == pytest.approx((2.5, 0.7, 0.8))
    film = ca.read(path, frame=1)
    np.testing.assert_array_equal(film.to_numpy(), HU[0])


def test_frames_without_groups_have_no_place(ct, tmp_path):
    ds = enhanced(ct(HU))
    del ds.PerFrameFunctionalGroupsSequence
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    with pytest.raises(ca.CarinaError, match="6 frames with 0 functional groups"):
        ca.read(tmp_path / "a")


def test_options_that_mean_nothing_are_named(ct, store):
    folder = store(ct(HU))
    for options, message in [
        ({"repair": "all"}, "repair: expected some of missing, duplicates, size"),
        ({"orientation": "XYZ"}, "orientation: expected one letter each of L or R"),
        ({"fill": np.nan}, "fill: expected a finite value, found NaN"),
        ({"series": -1}, "series: expected 0 or more, found -1"),
        ({"window": "lung"}, "window: expected none for a volume"),
    ]:
        with pytest.raises(ca.CarinaError) as caught:
            ca.read(folder, **options)
        assert message in str(caught.value)


def test_an_empty_folder_says_what_it_holds(tmp_path):
    (tmp_path / "a.txt").write_text("no slice")
    with pytest.raises(ca.CarinaError) as caught:
        ca.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected a series of DICOM slices, found 1 files, 1 not DICOM"
    )
    with pytest.raises(FileNotFoundError, match="gone"):
        ca.read_volume(tmp_path / "gone")
