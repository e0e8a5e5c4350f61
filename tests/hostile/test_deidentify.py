"""No identifier of a source survives, in whatever place it was planted."""

import io
import logging
import sys
import warnings

import carina as ca
import numpy as np
import pytest
from carina.errors import CarinaError, InvalidValueError, MissingFileError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomanonymizer")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate, generate_frames  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

KEY = b"a key for tests only, 32 bytes.."
CT = "1.2.840.10008.5.1.4.1.1.2"
# Letters that stand in no vocabulary, and enough of them not to occur by chance.
NAMES = st.text("QZXVKJ", min_size=7, max_size=12)


def plain(**elements):
    """A small CT slice."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT, "1.2.3.4.5"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.1"
    ds.PatientID, ds.PatientName, ds.Modality = "4711", "Doe^Jane", "CT"
    ds.StudyDate, ds.StudyTime, ds.PatientBirthDate = "20200229", "101112", "19500102"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = 3, 5, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PixelSpacing, ds.ImagePositionPatient = [0.7, 0.7], [1.5, -2.25, 3]
    ds.PixelData = np.arange(15, dtype=np.uint16).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def plant(name):
    """A slice with `name` in every kind of place that can hold text or bytes."""
    ds = plain()
    raw = name.encode()
    texts = {
        "AE": [0x00080055, 0x00020016],
        "CS": [0x00180015, 0x00181400, 0x00080060],
        "LO": [0x00081030, 0x0008103E, 0x00100020, 0x00081090, 0x00281054, 0x00185100],
        "LT": [0x00204000, 0x00102000],
        "PN": [0x00100010, 0x00080090, 0x0040A123],
        "SH": [0x00200010, 0x00080050, 0x00181210, 0x00081010],
        "ST": [0x00080081, 0x00081080 + 0x34],
        "UC": [0x00080119, 0x00189919],
        "UR": [0x00081190, 0x00080120],
        "UT": [0x0040A160, 0x00080121],
    }
    for vr, tags in texts.items():
        for tag in tags:
            if tag >> 16 != 2:
                ds.add_new(tag, vr, name)
    ds.ImageType = ["ORIGINAL", "PRIMARY", name]
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 40, 400, name
    ds.Manufacturer, ds.ConvolutionKernel = name, name
    ds.add_new(0x00283006, "OW", b"\0\1" * 4)
    ds.add_new(0x60003000, "OW", raw + b"\0" * (len(raw) % 2))
    ds.add_new(0x60004000, "LT", name)
    ds.add_new(0x50003000, "OW", raw + b"\0" * (len(raw) % 2))
    ds.add_new(0x00880200, "SQ", [plain(PatientName=name)])
    ds.add_new(0xFFFCFFFC, "OB", raw + b"\0" * (len(raw) % 2))
    block = ds.private_block(0x0009, name, create=True)
    for offset, vr in enumerate(
        ["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT", "OB"]
    ):
        padded = raw + b"\0" * (len(raw) % 2)
        block.add_new(offset, vr, padded if vr in ("UN", "OB") else name)
    inner = Dataset()
    inner.PatientName, inner.PersonName, inner.TextValue = name, name, name
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", name, name
    inner.private_block(0x0011, name, create=True).add_new(1, "LO", name)
    known = Dataset()
    known.CodeValue, known.CodingSchemeDesignator = "121071", "DCM"
    known.CodeMeaning = name
    deep = Dataset()
    deep.ConceptNameCodeSequence = [known]
    deep.ContentSequence = Sequence([inner])
    ds.ContentSequence = Sequence([deep, inner])
    note = Dataset()
    text = Dataset()
    text.UnformattedTextValue = name
    note.GraphicLayer, note.TextObjectSequence = name, [text]
    ds.GraphicAnnotationSequence = [note]
    ds.PixelData = ds.PixelData + raw + b"\0" * ((len(raw) + len(ds.PixelData)) % 2)
    return ds


def write(ds, path, preamble=b"\0" * 128, behind=b""):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(buffer, enforce_file_format=True)
    path.write_bytes(
        preamble[:128].ljust(128, b"\0") + buffer.getvalue()[128:] + behind
    )


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, dates=st.booleans(), words=st.booleans())
def test_nothing_planted_is_found_again(tmp_path_factory, name, dates, words):
    folder = tmp_path_factory.mktemp("deid")
    source = folder / "in" / name
    source.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(plant(name), source / f"{name}.dcm", preamble=name.encode())
    (source / f"broken-{name}.dcm").write_bytes(
        b"\0" * 128 + b"DICM" + name.encode() * 9
    )
    (source / f"{name}.txt").write_text(name)
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            done = ca.deidentify(
                folder / "in",
                folder / "out",
                key=KEY,
                retain_longitudinal=dates,
                clean_descriptors=words,
                progress=False,
            )
    finally:
        logging.getLogger().removeHandler(handler)
    assert len(done.written) == 1
    assert len(done.failed) == 2
    said = [repr(done), repr(done.files), heard.getvalue(), *map(str, warned)]
    said += [f"{row.error} {row.warnings}" for row in done.files]
    assert not any(name in text for text in said)
    for path in (folder / "out").rglob("*"):
        assert name not in str(path.relative_to(folder))
        if path.is_file():
            content = path.read_bytes()
            for text in (
                name,
                "4711",
                "Doe",
                "Jane",
                "1.2.3.4",
                "20200229",
                "19500102",
            ):
                assert text.encode() not in content, text


def run(tmp_path, *sources, out="out", **options):
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for number, ds in enumerate(sources):
        write(ds, folder / f"{number}.dcm")
    options.setdefault("key", KEY)
    done = ca.deidentify(folder, tmp_path / out, progress=False, **options)
    return done, [pydicom.dcmread(path) for path in done.written]


def test_pixels_and_geometry_stay_and_the_file_says_what_was_done(tmp_path):
    done, (made,) = run(tmp_path, plain())
    np.testing.assert_array_equal(made.pixel_array, np.arange(15).reshape(3, 5))
    assert made.ImagePositionPatient == [1.5, -2.25, 3]
    assert made.PatientIdentityRemoved == "YES"
    assert [c.CodeValue for c in made.DeidentificationMethodCodeSequence] == ["113100"]
    assert made.LongitudinalTemporalInformationModified == "REMOVED"
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert made.SOPInstanceUID.startswith("2.25.")
    assert made.SOPClassUID == CT
    np.testing.assert_array_equal(ca.decode(done.written[0]), made.pixel_array)
    assert repr(done) == "Deidentified(1 written, 0 failed, 0 with warnings)"


def test_one_key_gives_one_set_of_uids_in_every_run_and_another_key_others(tmp_path):
    slices = [plain(), plain(SOPInstanceUID="1.2.3.4.6")]
    _, (a, b) = run(tmp_path, *slices)
    _, (again, _) = run(tmp_path, *slices, out="again")
    _, (other, _) = run(tmp_path, *slices, out="other", key="another key, long enough")
    assert a.SeriesInstanceUID == b.SeriesInstanceUID == again.SeriesInstanceUID
    assert a.PatientID == b.PatientID == again.PatientID != other.PatientID
    assert {a.SOPInstanceUID, b.SOPInstanceUID} >= {again.SOPInstanceUID}
    assert a.SeriesInstanceUID != other.SeriesInstanceUID


def test_dates_move_by_one_shift_for_a_patient_and_keep_their_distance(tmp_path):
    later = plain(
        SOPInstanceUID="1.2.3.9", StudyDate="20210301", StudyInstanceUID="1.9"
    )
    _, made = run(tmp_path, plain(), later, retain_longitudinal=True)
    dates = sorted(
        np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (m.StudyDate for m in made)
    )
    assert dates[1] - dates[0] == np.timedelta64(366, "D")
    assert dates[0] < np.datetime64("2020-02-29")
    assert all(m.StudyTime == "101112" for m in made)
    assert all(m.LongitudinalTemporalInformationModified == "MODIFIED" for m in made)


def test_descriptors_keep_only_harmless_words(tmp_path):
    ds = plain(SeriesDescription="Chest w/o contrast Dr. Smith 1.5mm 4711234")
    _, (made,) = run(tmp_path, ds, clean_descriptors=True)
    assert made.SeriesDescription == "Chest w o contrast Dr 1.5mm"
    _, (without,) = run(tmp_path, ds, out="without")
    assert "SeriesDescription" not in without or not without.SeriesDescription


def test_comments_in_compressed_frames_go_and_pixels_stay(tmp_path):
    folder = tmp_path / "phantom"
    written = ca.phantom(1, seed=3, size=32, progress=False).write_dicom(
        folder, syntax="jpeg_ls", progress=False
    )
    ds = pydicom.dcmread(written[0])
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[:2] + b"\xff\xfe\x00\x08JANEQZ" + frame[2:]])
    (tmp_path / "in").mkdir()
    ds.save_as(tmp_path / "in" / "0.dcm", enforce_file_format=True)
    done = ca.deidentify(tmp_path / "in", tmp_path / "out", key=KEY, progress=False)
    assert b"JANEQZ" not in done.written[0].read_bytes()
    np.testing.assert_array_equal(ca.decode(done.written[0]), ca.decode(written[0]))


def test_one_bad_file_is_one_row(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"nothing")
    done, made = run(tmp_path, plain())
    assert len(made) == 1
    assert [row.error for row in done.failed] == [
        "cannot be read as DICOM (InvalidDicomError)"
    ]
    assert done.failed[0].source.name == "a.dcm"


def test_burnt_in_text_is_warned_of(tmp_path):
    done, _ = run(tmp_path, plain(BurnedInAnnotation="YES"))
    assert done.warned[0].warnings == (
        "the file says that text is burnt into its pixels",
    )


def test_the_same_instance_twice_is_written_once(tmp_path):
    done, made = run(tmp_path, plain(), plain())
    assert len(made) == 1
    assert done.failed[0].error == "another file holds the same instance"


def test_enclosed_documents_are_refused(tmp_path):
    ds = plain(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF"
    )
    done, made = run(tmp_path, ds)
    assert not made
    assert done.failed[0].error.startswith("directories and enclosed documents")


def test_absurd_wishes_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(MissingFileError, match="src: no such file"):
        ca.deidentify(tmp_path / "none", tmp_path / "out")
    with pytest.raises(InvalidValueError, match="dst: lies in src"):
        ca.deidentify(tmp_path / "in", tmp_path / "in" / "out")
    with pytest.raises(InvalidValueError, match="profile: found 'full'"):
        ca.deidentify(tmp_path / "in", tmp_path / "out", profile="full")
    with pytest.raises(
        InvalidValueError, match="key: found 5 bytes, expected at least 16"
    ):
        ca.deidentify(tmp_path / "in", tmp_path / "out", key="short")


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "carina.deidentification._clean", None)
    monkeypatch.delattr("carina.deidentification._clean", raising=False)
    (tmp_path / "in").mkdir()
    with pytest.raises(CarinaError, match=r"pip install 'carina\[deid\]'"):
        ca.deidentify(tmp_path / "in", tmp_path / "out")


def test_the_key_stands_in_no_repr():
    from carina.deidentification._secret import Secret

    assert repr(Secret(KEY)) == "Secret()"
