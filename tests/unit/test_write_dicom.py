"""Phantoms as DICOM: every syntax read back alike, by us and by pydicom."""

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError

pydicom = pytest.importorskip("pydicom")

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "big_endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
}
# Type 1 and type 2 attributes by module (PS3.3), those that hold for our images.
BOTH = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Manufacturer",
    "InstanceNumber",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "ImageType",
]
NEEDED = {
    "DX": [
        "PresentationIntentType",
        "PatientOrientation",
        "ImageLaterality",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "PixelIntensityRelationship",
        "BurnedInAnnotation",
        "PixelIntensityRelationshipSign",
        "PresentationLUTShape",
        "LossyImageCompression",
        "WindowCenter",
        "WindowWidth",
        "DetectorType",
        "ImagerPixelSpacing",
        "AnatomicRegionSequence",
        "AcquisitionContextSequence",
    ],
    "CT": [
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "PixelSpacing",
        "KVP",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "AcquisitionNumber",
        "PatientPosition",
    ],
}
EMPTY = {
    "PatientBirthDate",
    "ReferringPhysicianName",
    "AccessionNumber",
    "PositionReferenceIndicator",
    "AcquisitionContextSequence",
}


@pytest.fixture(scope="module")
def film():
    return ca.phantom(1, seed=1, size=96, progress=False)


@pytest.fixture(scope="module")
def scan():
    return ca.phantom(1, kind="ct", seed=1, size=64, slices=12, progress=False)


def check(ds, modality):
    for keyword in BOTH + NEEDED[modality]:
        assert keyword in ds, keyword
        assert keyword in EMPTY or ds[keyword].value not in ("", None), keyword
    assert ds.PatientName == f"PHANTOM^{str(ds.PatientID).removeprefix('PHANTOM-')}"
    for element in ds.iterall():
        if element.VR == "DS":
            texts = element.value if element.VM > 1 else [element.value]
            assert all(len(str(v)) <= 16 for v in texts), element.keyword
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_film_comes_back(tmp_path, film, syntax):
    (path,) = film.write_dicom(tmp_path, syntax=syntax, progress=False)
    pixels = film[0].images[0].to_numpy()
    stored = np.round(pixels.clip(0, 1) * np.float32(4095)).astype(np.uint16)
    np.testing.assert_array_equal(ca.decode(path), stored)
    image = ca.read(path)
    low, high = image.range
    np.testing.assert_allclose(
        (image.to_numpy() - low) / (high - low), pixels, atol=0.6 / 4095
    )
    assert image.view == film[0].images[0].view
    np.testing.assert_allclose(image.spacing, film[0].images[0].spacing, rtol=1e-6)
    ds = pydicom.dcmread(path)
    assert ds.file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    check(ds, "DX")
    # No permissive package decodes lossless JPEG for pydicom; our own decoder is the
    # one of another project.
    if syntax != "jpeg_lossless":
        np.testing.assert_array_equal(ds.pixel_array, stored)


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg_lossless"])
def test_a_scan_comes_back_in_order_and_in_place(tmp_path, scan, syntax):
    paths = scan.write_dicom(tmp_path, syntax=syntax, progress=False)
    volume = scan[0].volumes[0]
    assert len(paths) == len(volume.to_numpy()) == 12
    files = [pydicom.dcmread(path) for path in paths]
    assert [ds.InstanceNumber for ds in files] == list(range(1, 13))
    assert len({ds.SOPInstanceUID for ds in files}) == 12
    assert len({ds.SeriesInstanceUID for ds in files}) == 1
    for number, (path, ds) in enumerate(zip(paths, files, strict=True)):
        check(ds, "CT")
        # From the head down; the volume goes from the feet up.
        slice_ = volume.to_numpy()[11 - number]
        hu = ca.read(path).to_numpy()
        assert (hu == np.round(hu)).all()
        np.testing.assert_allclose(hu, slice_, rtol=0, atol=0.5)
        x, y, z = ds.ImagePositionPatient
        expected = volume.origin[2] + (11 - number) * volume.spacing[0]
        np.testing.assert_allclose([x, y, z], [*volume.origin[:2], expected], atol=1e-5)
        np.testing.assert_allclose(ds.PixelSpacing, volume.spacing[1:], rtol=1e-6)


def test_phantoms_of_two_seeds_do_not_share_uids(tmp_path, film):
    other = ca.phantom(1, seed=2, size=96, progress=False)
    assert other[0].id == film[0].id
    first, again, second = (
        pydicom.dcmread(phantom.write_dicom(tmp_path / name, progress=False)[0])
        for name, phantom in (("a", film), ("b", film), ("c", other))
    )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert first[keyword] == again[keyword] != second[keyword]


def test_a_written_series_is_read_as_the_volume_it_was(tmp_path, scan):
    paths = scan.write_dicom(tmp_path, syntax="jpeg_ls", progress=False)
    volume, read = scan[0].volumes[0], ca.read(paths[0].parent)
    np.testing.assert_allclose(read.to_numpy(), volume.to_numpy(), rtol=0, atol=0.5)
    np.testing.assert_allclose(read.spacing, volume.spacing, atol=1e-5)
    np.testing.assert_allclose(read.origin, volume.origin, atol=1e-5)
    assert read.orientation == "LPS"


def test_the_same_phantom_gives_the_same_bytes(tmp_path, film):
    (a,) = film.write_dicom(tmp_path / "a", progress=False)
    (b,) = film.write_dicom(tmp_path / "b", progress=False)
    assert a.read_bytes() == b.read_bytes()
    assert a.name == "DX0001.dcm"


def test_what_is_no_phantom_is_refused(tmp_path, film):
    (path,) = film.write_dicom(tmp_path / "a", progress=False)
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"study,patient,image\ns,p,{path}\n")
    real = ca.open_dataset(manifest)
    with pytest.raises(InvalidValueError, match="studies: study 0 is no phantom"):
        real.write_dicom(tmp_path / "b", progress=False)
    with pytest.raises(InvalidValueError, match='syntax: found "mpeg", expected one'):
        film.write_dicom(tmp_path / "b", syntax="mpeg", progress=False)
