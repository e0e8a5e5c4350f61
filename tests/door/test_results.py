"""Results as DICOM speak of the right pixels, and claim no more than they know."""

import copy
from io import BytesIO

import carina as ca
import numpy as np
import pydicom
import pytest
from carina.errors import (
    FileError,
    FormatError,
    InvalidValueError,
    MissingFileError,
    ShapeError,
)
from carina.study import Box

from .conftest import dicomweb

BOX = Box("edema", (3.0, 4.0, 30.0, 40.5))
AUTHOR = dicomweb.Author(model="elixr-tiny", version="a1b2", manufacturer="Nobody")


@pytest.fixture(scope="module")
def film(films):
    return pydicom.dcmread(BytesIO(films[0]))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The slices of a CT as data sets in no order, the volume, and its study."""
    ds = ca.phantom(1, kind="ct", seed=4, size=40, slices=9, progress=False)
    folder = tmp_path_factory.mktemp("scan")
    files = ds.write_dicom(folder)
    slices = [pydicom.dcmread(files[n]) for n in (4, 0, 8, 1, 7, 2, 6, 3, 5)]
    return slices, ca.read(files[0].parent), ds[0]


def saved(result):
    """The result as another program would read it."""
    buffer = BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def raw(tag, vr, value):
    """An element as pydicom keeps it until somebody asks."""
    return pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True
    )


def everything(result):
    return [str(e.value) for e in result.iterall() if e.VR != "SQ"]


def test_every_result_is_of_the_patient_and_study_and_has_uids_of_its_own(film):
    results = [
        dicomweb.report_sr(film, {"edema": 0.25}, author=AUTHOR),
        dicomweb.segmentation(film, {"edema": np.eye(48, dtype=bool)}, author=AUTHOR),
        dicomweb.presentation(film, [BOX], author=AUTHOR),
    ]
    for made in map(saved, results):
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"):
            assert made[name].value == film[name].value
        assert made.SeriesInstanceUID != film.SeriesInstanceUID
        assert made.SOPInstanceUID != film.SOPInstanceUID
        assert film.SOPInstanceUID in everything(made)
        assert made.ManufacturerModelName == "elixr-tiny"
        assert made.SeriesDescription.endswith("unverified")
    assert len({made.SOPInstanceUID for made in results}) == 3
    assert len({made.SeriesInstanceUID for made in results}) == 3


def test_a_report_is_unverified_and_partial_and_calls_a_score_a_score(film):
    scores = {"edema": 0.25, "pneumothorax": -1 / 3, "effusion": float("nan")}
    made = saved(dicomweb.report_sr(film, scores, boxes=[BOX], author=AUTHOR))
    assert made.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert (made.VerificationFlag, made.CompletionFlag) == ("UNVERIFIED", "PARTIAL")
    assert made.PreliminaryFlag == "PRELIMINARY"
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    texts = everything(made)
    assert "Score of a model, not calibrated" in texts
    assert "0.25" in texts
    assert any(text.startswith("-0.3333333") for text in texts)
    assert "effusion" not in texts
    assert not any("robabil" in text for text in texts)
    (line,) = [e.value for e in made.iterall() if e.keyword == "GraphicData"]
    assert line == [3.0, 4.0, 30.0, 4.0, 30.0, 40.5, 3.0, 40.5, 3.0, 4.0]


def test_a_hospitals_codes_take_the_place_of_ours(film):
    codes = {"edema": ("19242006", "SCT", "Pulmonary edema")}
    scores = {"edema": 0.5, "a rather long name of a finding": 0.1}
    texts = everything(saved(dicomweb.report_sr(film, scores, codes=codes)))
    assert {"19242006", "SCT", "Pulmonary edema"} <= set(texts)
    assert "99CARINA" in texts
    assert "a rather long name of a finding" in texts


def test_a_mask_of_a_film_comes_back_exactly(film):
    rng = np.random.default_rng(0)
    masks = {"edema": rng.random((48, 48)) < 0.3, "lung": rng.random((48, 48)) < 0.5}
    made = saved(dicomweb.segmentation(film, masks, anatomy=["lung"]))
    assert [s.SegmentLabel for s in made.SegmentSequence] == ["edema", "lung"]
    kinds = [
        s.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning
        for s in made.SegmentSequence
    ]
    assert kinds == ["Morphologically Abnormal Structure", "Anatomical Structure"]
    assert {s.SegmentAlgorithmType for s in made.SegmentSequence} == {"AUTOMATIC"}
    for frame, mask in zip(made.pixel_array, masks.values(), strict=True):
        np.testing.assert_array_equal(frame.astype(bool), mask)


def test_masks_of_a_volume_land_on_the_slices_they_are_of(scan):
    slices, volume, study = scan
    wanted = {m.finding: m.to_numpy() for m in study.masks}
    wanted = {name: wanted[name] for name in ("right lung", "heart")}
    for turned in (volume, volume.reorient("RAI")):
        # The volume that the masks are on need not lie as the slices do.
        masks = {
            name: volume.with_voxels(mask.astype(np.float32))
            .reorient(turned.orientation)
            .to_numpy()
            > 0.5
            for name, mask in wanted.items()
        }
        made = saved(dicomweb.segmentation(slices, masks, volume=turned))
        heights = sorted(float(s.ImagePositionPatient[2]) for s in slices)
        back = {name: np.zeros(mask.shape, bool) for name, mask in wanted.items()}
        for frame, groups in zip(
            made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True
        ):
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            place = groups.PlanePositionSequence[0].ImagePositionPatient[2]
            z = int(np.argmin(np.abs(np.array(heights) - float(place))))
            back[list(wanted)[number - 1]][z] = frame
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            (of,) = [
                s for s in slices if s.SOPInstanceUID == source.ReferencedSOPInstanceUID
            ]
            assert float(of.ImagePositionPatient[2]) == pytest.approx(float(place))
        for name, mask in wanted.items():
            np.testing.assert_array_equal(back[name], mask)


def test_boxes_are_drawn_where_they_are_and_say_what_they_found(film):
    made = saved(dicomweb.presentation(film, [BOX], scores={"edema": 0.254}))
    assert made.SOPClassUID.name.startswith("Grayscale Softcopy Presentation State")
    (drawn,) = made.GraphicAnnotationSequence
    (line,) = drawn.GraphicObjectSequence
    assert line.GraphicAnnotationUnits == "PIXEL"
    assert line.GraphicData == [3.0, 4.0, 30.0, 4.0, 30.0, 40.5, 3.0, 40.5, 3.0, 4.0]
    assert drawn.TextObjectSequence[0].UnformattedTextValue == "edema 0.25"
    (of,) = made.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert of.ReferencedSOPInstanceUID == film.SOPInstanceUID


@pytest.mark.parametrize("finding", ["Ατελεκτασία", "肺不张", "nodule ≥ 6 mm"])
def test_findings_have_names_of_any_script(film, finding):
    foreign = copy.deepcopy(film)
    foreign.SpecificCharacterSet = "ISO_IR 126"
    foreign.PatientName = "Παπαδόπουλος^Νίκος"
    box = Box(finding, BOX.corners)
    author = dicomweb.Author(model="modèle 肺")
    results = [
        dicomweb.report_sr(foreign, {finding: 0.5}, boxes=[box], author=author),
        dicomweb.segmentation(
            foreign, {finding: np.eye(48, dtype=bool)}, author=author
        ),
        dicomweb.presentation(foreign, [box], author=author),
    ]
    for made in map(saved, results):
        assert made.SpecificCharacterSet == "ISO_IR 192"
        assert str(made.PatientName) == "Παπαδόπουλος^Νίκος"
        assert finding in everything(made)
        assert made.ManufacturerModelName == author.model


def test_findings_in_other_scripts_have_codes_of_their_own(film):
    made = saved(dicomweb.report_sr(film, {"肺不张": 0.5, "气胸": 0.1, "edema": 0.2}))
    codes = [e.value for e in made.iterall() if e.keyword == "CodeValue"]
    ours = {value for value in codes if value.startswith("_") or value == "EDEMA"}
    assert len(ours) == 3


def test_codes_above_16_letters_are_long_codes(film):
    codes = {"edema": ("123456789012345678", "SCT", "An extension's concept")}
    made = saved(dicomweb.report_sr(film, {"edema": 0.5}, codes=codes))
    (long,) = [e.value for e in made.iterall() if e.keyword == "LongCodeValue"]
    assert long == "123456789012345678"


@pytest.mark.parametrize(
    "wrong",
    ["a\\b", "a\nb", "a\x1bb", "", " ", "x" * 65, 5, None],
)
def test_names_that_dicom_cannot_hold_are_refused(film, wrong):
    makers = [
        lambda: dicomweb.report_sr(film, {wrong: 0.5}),
        lambda: dicomweb.report_sr(film, {}, boxes=[Box(wrong, BOX.corners)]),
        lambda: dicomweb.presentation(film, [Box(wrong, BOX.corners)]),
        lambda: dicomweb.segmentation(film, {wrong: np.eye(48, dtype=bool)}),
        lambda: dicomweb.report_sr(film, {"a": 1}, codes={"a": ("1", "SCT", wrong)}),
        lambda: dicomweb.report_sr(film, {"a": 1}, codes={"a": (wrong, "SCT", "b")}),
        lambda: dicomweb.Author(model=wrong),
    ]
    for make in makers:
        with pytest.raises(InvalidValueError, match="1 to 64 letters"):
            make()


def test_a_score_of_nan_is_left_out_of_a_report_and_of_a_presentation(film):
    scores = {"edema": float("nan")}
    assert "SCORE" not in everything(
        saved(dicomweb.report_sr(film, scores, boxes=[BOX]))
    )
    made = saved(dicomweb.presentation(film, [BOX], scores=scores))
    (drawn,) = made.GraphicAnnotationSequence
    assert drawn.TextObjectSequence[0].UnformattedTextValue == "edema"


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        (5, "boxes: expected some of Box, found int"),
        ([BOX, None], r"boxes\[1\]: expected a Box, found NoneType"),
        ([(0, 0, 1, 1)], r"boxes\[0\]: expected a Box, found tuple"),
        ([Box("a", (0, 0, 1))], r"boxes\[0\]: expected four numbers"),
        ([Box("a", ("x", 0, 1, 1))], r"boxes\[0\]: expected four numbers"),
        ([Box("a", None)], r"boxes\[0\]: expected four numbers"),
        ([BOX, Box("a", (5, 5, 1, 1))], r"boxes\[1\]: expected corners in 48"),
    ],
)
def test_boxes_of_a_wrong_form_are_named(film, boxes, text):
    for make in (
        lambda: dicomweb.report_sr(film, {"a": 1}, boxes=boxes),
        lambda: dicomweb.presentation(film, boxes),
    ):
        with pytest.raises(InvalidValueError, match=text):
            make()


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (5, "codes: expected a mapping, found int"),
        ({"x": ("1", "SCT")}, r"codes\['x'\]: expected \(value, scheme, meaning\)"),
        ({"x": None}, r"codes\['x'\]: expected \(value"),
        ({"x": (1, 2, 3)}, r"codes\['x'\]: expected a value of 1 to 64"),
        ({"x": ("1", "s" * 17, "m")}, r"codes\['x'\]: expected a scheme of 1 to 16"),
    ],
)
def test_codes_of_a_wrong_form_are_named(film, codes, text):
    for make in (
        lambda: dicomweb.report_sr(film, {"a": 1}, codes=codes),
        lambda: dicomweb.segmentation(film, {"a": np.eye(48) > 0}, codes=codes),
    ):
        with pytest.raises(InvalidValueError, match=text):
            make()


def test_images_that_are_not_there_or_none_are_named_by_their_place(film, tmp_path):
    (tmp_path / "text.dcm").write_text("of Doe^Jane")
    for given, kind, text in (
        (["nosuch.dcm"], MissingFileError, r"images\[0\]: no such file$"),
        ([film, tmp_path / "text.dcm"], FormatError, r"images\[1\]: cannot be read"),
        ([film, tmp_path], FileError, r"images\[1\]: cannot be opened"),
        ([film, 5], InvalidValueError, r"images\[1\]: expected a path"),
        (None, InvalidValueError, "expected files or data sets"),
    ):
        with pytest.raises(kind, match=text):
            dicomweb.report_sr(given, {"a": 1.0})


def test_masks_may_be_volumes_on_voxels_of_their_own(scan):
    slices, volume, study = scan
    (mask,) = (m.to_numpy() for m in study.masks if m.finding == "heart")
    expected = saved(dicomweb.segmentation(slices, {"heart": mask}, volume=volume))
    on = volume.with_voxels(mask.astype(np.float32))
    for given in (on, on.reorient("RAI")):
        made = saved(dicomweb.segmentation(slices, {"heart": given}))
        np.testing.assert_array_equal(made.pixel_array, expected.pixel_array)
    both = {"heart": on.reorient("RAI"), "again": mask}
    made = saved(dicomweb.segmentation(slices, both, volume=volume))
    assert made.NumberOfFrames == 2 * expected.NumberOfFrames
    with pytest.raises(InvalidValueError, match="all 0 or 1"):
        dicomweb.segmentation(slices, {"heart": volume})
    with pytest.raises(InvalidValueError, match=r"the volume= that it is on"):
        dicomweb.segmentation(slices, {"heart": on, "again": mask})


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda f: dicomweb.report_sr([], {"a": 1}), InvalidValueError, "at least one"),
        (lambda f: dicomweb.report_sr(f, {}), InvalidValueError, "not NaN"),
        (lambda f: dicomweb.report_sr(f, {"a": np.inf}), InvalidValueError, "finite"),
        (lambda f: dicomweb.report_sr(f, {"": 1}), InvalidValueError, "1 to 64"),
        (lambda f: dicomweb.report_sr(f, None), InvalidValueError, "scores: expected"),
        (lambda f: dicomweb.report_sr(f, {"a": "1"}), InvalidValueError, "finite one"),
        (lambda f: dicomweb.report_sr(f, {"a": None}), InvalidValueError, "finite one"),
        (
            lambda f: dicomweb.presentation(f, [BOX], scores={"a": None}),
            InvalidValueError,
            "finite one",
        ),
        (
            lambda f: dicomweb.presentation(f, [BOX], image="0"),
            InvalidValueError,
            "image: expected a whole number",
        ),
        (lambda f: dicomweb.segmentation(f, [1]), InvalidValueError, "masks: expected"),
        (
            lambda f: dicomweb.presentation(f, [Box("a", (0, 0, 49, 9))]),
            InvalidValueError,
            "expected corners in 48 columns and 48 rows",
        ),
        (
            lambda f: dicomweb.presentation(f, [Box("a", (0, np.nan, 9, 9))]),
            InvalidValueError,
            "expected corners",
        ),
        (lambda f: dicomweb.presentation(f, []), InvalidValueError, "boxes: expected"),
        (
            lambda f: dicomweb.presentation(f, [BOX], image=1),
            InvalidValueError,
            "expected 0 to 0, found 1",
        ),
        (lambda f: dicomweb.segmentation(f, {}), InvalidValueError, "masks: expected"),
        (
            lambda f: dicomweb.segmentation(f, {"a": np.zeros((48, 48), bool)}),
            InvalidValueError,
            "expected a pixel in one",
        ),
        (
            lambda f: dicomweb.segmentation(f, {"a": np.ones((48, 47), bool)}),
            ShapeError,
            r"expected shape \(48, 48\), got \[48, 47\]",
        ),
        (
            lambda f: dicomweb.segmentation(f, {"a": np.full((48, 48), 0.5)}),
            InvalidValueError,
            "expected booleans",
        ),
        (
            lambda f: dicomweb.segmentation([f, f], {"a": np.ones((48, 48), bool)}),
            InvalidValueError,
            "one film, or volume=",
        ),
        (lambda f: dicomweb.Author(model=""), InvalidValueError, "model of 1 to 64"),
    ],
)
def test_what_makes_no_sense_is_refused(film, make, kind, text):
    with pytest.raises(kind, match=text):
        make(film)


def test_images_of_two_studies_or_without_facts_are_refused_and_not_quoted(films):
    images = [pydicom.dcmread(BytesIO(file)) for file in films]
    with pytest.raises(InvalidValueError, match="expected one StudyInstanceUID"):
        dicomweb.report_sr(images, {"a": 1.0})
    bare = images[0]
    bare.PatientName = "Doe^Jane"
    # As in a file: pydicom looks at it late, and would warn of what it says.
    bare._dict[pydicom.tag.Tag(0x00080030)] = raw(0x00080030, "TM", b"of Doe^Jane ")
    with pytest.raises(InvalidValueError, match=r"no report .* \(ValueError") as caught:
        dicomweb.report_sr(bare, {"a": 1.0})
    assert "Doe" not in str(caught.value)
    assert caught.value.__context__ is None
    del bare.Rows
    with pytest.raises(InvalidValueError, match="found none of Rows") as caught:
        dicomweb.report_sr(bare, {"a": 1.0})
    assert "Doe" not in str(caught.value)


def test_type_2_attributes_that_a_file_lacks_are_left_empty(film):
    poor = pydicom.dcmread(BytesIO(b""), force=True)
    poor.update(film)
    poor.file_meta = film.file_meta
    for name in ("PatientBirthDate", "AccessionNumber", "StudyID", "StudyTime"):
        del poor[name]
    made = saved(dicomweb.report_sr(poor, {"edema": 0.5}))
    assert made.PatientBirthDate == ""
    assert made.AccessionNumber == ""
