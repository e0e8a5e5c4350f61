"""What a DICOM film means: every rule against the standard's formulas in numpy."""

import carina as ca
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def film(pixels, *, bits=None, syntax=ExplicitVRLittleEndian, **attributes):
    """Build a data set around pixels; attributes go in as they are named."""
    pixels = np.asarray(pixels)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.SOPInstanceUID = "1.2.3.4"
    ds.PatientName = "Secret^Name"
    ds.Modality = attributes.pop("Modality", "DX")
    frames = attributes.pop("NumberOfFrames", None)
    shape = pixels.shape[1:] if frames else pixels.shape
    if frames:
        ds.NumberOfFrames = frames
    ds.Rows, ds.Columns = shape[:2]
    ds.SamplesPerPixel = shape[2] if len(shape) > 2 else 1
    if ds.SamplesPerPixel > 1:
        ds.PlanarConfiguration = attributes.pop("PlanarConfiguration", 0)
    ds.PhotometricInterpretation = attributes.pop("Photometric", "MONOCHROME2")
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


@pytest.fixture
def read(tmp_path):
    def read(ds, **options):
        path = tmp_path / "film.dcm"
        ds.save_as(path, enforce_file_format=True)
        return ca.read(path, **options)

    return read


@pytest.fixture
def decode(tmp_path):
    def decode(ds):
        path = tmp_path / "film.dcm"
        ds.save_as(path, enforce_file_format=True)
        return ca.decode(path)

    return decode


def linear(x, center, width, top):
    x = np.asarray(x, np.float64)
    y = ((x - (center - 0.5)) / (width - 1) + 0.5) * top
    y = np.where(x <= center - 0.5 - (width - 1) / 2, 0, y)
    return np.where(x > center - 0.5 + (width - 1) / 2, top, y)


def linear_exact(x, center, width, top):
    x = np.asarray(x, np.float64)
    return np.clip(((x - center) / width + 0.5) * top, 0, top)


def sigmoid(x, center, width, top):
    return top / (1 + np.exp(-4 * (np.asarray(x, np.float64) - center) / width))


def close(image, expected, tolerance=0.01):
    np.testing.assert_allclose(image.to_numpy(), expected, atol=tolerance, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (None, linear),
        ("LINEAR", linear),
        ("LINEAR_EXACT", linear_exact),
        ("SIGMOID", sigmoid),
    ],
)
def test_a_window_follows_the_formula_of_its_function(read, function, formula):
    more = {} if function is None else {"VOILUTFunction": function}
    image = read(film(RAMP, bits=12, WindowCenter=1800, WindowWidth=1500, **more))
    close(image, formula(RAMP, 1800, 1500, 4095))
    assert image.range == (0, 4095)
    assert any("window" in step for step in image.history)


def test_monochrome1_is_inverted_after_the_window(read):
    ds = film(RAMP, bits=12, Photometric="MONOCHROME1")
    ds.WindowCenter, ds.WindowWidth = 1000, 800
    close(read(ds), 4095 - linear(RAMP, 1000, 800, 4095))


def test_the_inversion_stated_twice_is_done_once(read):
    ds = film(RAMP, bits=12, Photometric="MONOCHROME1", PresentationLUTShape="INVERSE")
    close(read(ds), 4095.0 - RAMP)


def test_an_inverse_presentation_shape_alone_inverts(read):
    close(read(film(RAMP, bits=12, PresentationLUTShape="INVERSE")), 4095.0 - RAMP)


def test_signed_pixels_keep_their_sign(read, decode):
    pixels = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    ds = film(pixels, bits=12, Modality="CT", RescaleSlope=2, RescaleIntercept=-10)
    assert decode(ds).dtype == np.int16
    image = read(ds)
    close(image, pixels * 2.0 - 10)
    assert image.range is None
    assert image.history[1] == "rescaled: stored value x 2 + -10"


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_ignored(decode, signed):
    values = RAMP.astype(np.int32) - (2048 if signed else 0)
    dirty = (values & 0x0FFF) | 0xA000
    stored = dirty.astype(np.uint16).view(np.int16) if signed else dirty.astype("u2")
    np.testing.assert_array_equal(decode(film(stored, bits=12)), values)


def test_a_shifted_high_bit_is_honoured(decode):
    ds = film(RAMP << 4, bits=12)
    ds.HighBit = 15
    np.testing.assert_array_equal(decode(ds), RAMP)


def test_ct_keeps_its_units_unless_a_window_is_asked_for(read):
    ds = film(RAMP, bits=12, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    ds.WindowCenter, ds.WindowWidth = [40, -600], [400, 1500]
    ds.WindowCenterWidthExplanation = ["SOFT", "LUNG"]
    hounsfield = RAMP - 1024.0
    close(read(ds), hounsfield)
    close(read(ds, window=True), linear(hounsfield, 40, 400, 4095))
    close(read(ds, window=1), linear(hounsfield, -600, 1500, 4095))
    close(read(ds, window="lung"), linear(hounsfield, -600, 1500, 4095))
    with pytest.raises(ca.CarinaError, match="window 2 was asked for, but the file"):
        read(ds, window=2)
    with pytest.raises(ca.CarinaError, match='"bone" was asked for, but the file'):
        read(ds, window="bone")


def test_numbers_and_words_of_unknown_representation_are_read_as_what_they_are(read):
    ds = film(RAMP, bits=12, Modality="CT", RescaleSlope=2, RescaleIntercept=-1024)
    for name in ("RescaleSlope", "RescaleIntercept", "Modality"):
        element = ds[name]
        text = str(element.value)
        element.VR = "UN"
        element.value = (text + " " * (len(text) % 2)).encode()
    image = read(ds)
    close(image, RAMP * 2 - 1024.0)
    assert image.modality == "CT"


def test_what_people_wrote_into_a_file_is_not_shown(read):
    ds = film(RAMP, bits=12, Modality="DOE JANE", RescaleSlope=2, RescaleIntercept=0)
    ds.RescaleType = "DOE"
    ds.WindowCenter, ds.WindowWidth = [40, -600], [400, 1500]
    ds.WindowCenterWidthExplanation = ["DOE JANE", "Lung"]
    with pytest.raises(ca.CarinaError) as caught:
        read(ds, window="bone")
    assert str(caught.value).endswith('but the file has window 0, "Lung"')
    image = read(ds)
    assert image.modality == ""
    assert "DOE" not in image._repr_html_() + repr(image) + str(image.history)


def test_a_film_without_a_window_has_the_range_of_its_bits(read):
    image = read(film(RAMP, bits=12))
    close(image, RAMP)
    assert image.range == (0, 4095)
    windowed = film(RAMP, bits=12, WindowCenter=5, WindowWidth=3)
    close(read(windowed, window=False), RAMP)


def test_a_window_without_width_is_skipped_and_noted(read):
    image = read(film(RAMP, bits=12, WindowCenter=[1, 100], WindowWidth=[0, 200]))
    close(image, linear(RAMP, 100, 200, 4095))
    assert "window 0 ignored: its width is 0" in image.history


def table(first, values, bits=16):
    item = Dataset()
    vr = "SS" if first < 0 else "US"
    item.add_new(0x00283002, vr, [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, "<u2").tobytes())
    item.LUTExplanation = "curve"
    item.ModalityLUTType = "US"
    return item


def test_a_voi_table_is_flat_beyond_its_ends_and_goes_before_a_window(read):
    values = (np.linspace(0, 1, 1000) ** 2 * 16383).astype(np.uint16)
    ds = film(RAMP, bits=12, VOILUTSequence=Sequence([table(500, values, bits=14)]))
    ds.WindowCenter, ds.WindowWidth = 10, 10
    expected = values[np.clip(RAMP.astype(int) - 500, 0, 999)]
    image = read(ds)
    close(image, expected)
    assert image.range == (0, 16383)
    close(read(ds, window=0), linear(RAMP, 10, 10, 4095))
    close(read(ds, window="CURVE"), expected)


def test_a_voi_table_may_begin_below_zero(read):
    pixels = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    values = np.arange(0, 4000, 2)
    ds = film(pixels, bits=12, VOILUTSequence=Sequence([table(-1000, values, bits=12)]))
    close(read(ds), values[np.clip(pixels.astype(int) + 1000, 0, 1999)])


def test_a_modality_table_comes_before_the_window(read):
    values = np.arange(4095, -1, -1)
    ds = film(RAMP, bits=12, ModalityLUTSequence=Sequence([table(0, values)]))
    ds.WindowCenter, ds.WindowWidth = 1000, 500
    close(read(ds), linear(4095.0 - RAMP, 1000, 500, 4095))


def test_padding_becomes_the_background_and_is_counted(read):
    pixels = RAMP.copy()
    pixels[:2] = 4000
    ds = film(pixels, bits=12, Photometric="MONOCHROME1", PixelPaddingValue=4000)
    ds.WindowCenter, ds.WindowWidth = 2000, 1000
    expected = 4095 - linear(pixels, 2000, 1000, 4095)
    expected[pixels == 4000] = 0
    image = read(ds)
    close(image, expected)
    count = int((pixels == 4000).sum())
    assert f"{count} padding pixels set to the background" in image.history


def test_a_range_of_padding_values_leaves_the_lowest_tissue_value(read):
    ds = film(RAMP, bits=12, Modality="CT", RescaleSlope=1, RescaleIntercept=-1000)
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 0, 99
    close(read(ds), np.maximum(RAMP - 1000.0, -900))


def test_rgb_becomes_luma_whatever_its_planes(read):
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    close(read(film(rgb, Photometric="RGB", Modality="US")), expected)
    planes = film(rgb, Photometric="RGB", Modality="US")
    planes.PlanarConfiguration = 1
    planes.PixelData = rgb.transpose(2, 0, 1).tobytes() + b"\0"
    close(read(planes), expected)


def test_ybr_full_gives_the_luma_of_its_colours(read):
    rgb = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(float)
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    ybr = np.clip(np.round(rgb @ np.array(matrix).T + [0, 128, 128]), 0, 255)
    image = read(film(ybr.astype(np.uint8), Photometric="YBR_FULL", Modality="US"))
    close(image, rgb @ np.array(matrix[0]), tolerance=0.51)


def test_a_palette_is_applied(read):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ds = film(pixels, Photometric="PALETTE COLOR", Modality="US")
    curves = {}
    for name, curve in {"Red": 1.0, "Green": 0.5, "Blue": 0.25}.items():
        curves[name] = (np.arange(256) * curve * 256).astype("<u2")
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", curves[name].tobytes())
    luma = 0.299 * curves["Red"] + 0.587 * curves["Green"] + 0.114 * curves["Blue"]
    close(read(ds), luma[pixels])


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
    ids=["implicit", "explicit", "big", "deflated"],
)
def test_every_way_of_writing_gives_the_same_numbers(decode, syntax):
    pixels = (RAMP.astype(np.int32) - 1000).astype(np.int16)
    np.testing.assert_array_equal(decode(film(pixels, syntax=syntax)), pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "rgb"])
def test_every_lossless_codec_gives_the_same_numbers(decode, syntax, kind):
    rng = np.random.default_rng(2)
    if kind == "rgb":
        pixels = rng.integers(0, 256, (70, 65, 3), dtype=np.uint8)
        ds = film(pixels, Photometric="RGB")
    else:
        low, high = (-2048, 2048) if kind == "i2" else (0, 200)
        pixels = rng.integers(low, high, (70, 65)).astype(kind)
        ds = film(pixels, bits=12 if kind != "u1" else 8)
    ds.compress(syntax)
    np.testing.assert_array_equal(decode(ds), pixels)


def test_frames_are_counted_from_zero(read, decode):
    pixels = np.stack([RAMP, RAMP[::-1]])
    ds = film(pixels, bits=12, NumberOfFrames=2)
    np.testing.assert_array_equal(decode(ds), pixels)
    assert "frame 0 of 2, counted from 0" in read(ds).history
    close(read(ds, frame=1), RAMP[::-1])
    with pytest.raises(ca.CarinaError, match="frame 2 was asked for, but there are 2"):
        read(ds, frame=2)


def test_spacing_view_and_modality_are_read_and_names_are_not(read):
    ds = film(RAMP, ImagerPixelSpacing=[0.2, 0.1], ViewPosition="PA")
    image = read(ds)
    assert (image.spacing, image.view, image.modality) == ((0.2, 0.1), "PA", "DX")
    assert "spacing at the detector, not in the patient" in image.history
    assert "Secret" not in repr(image) + image._repr_html_() + str(image.history)
    ds.PixelSpacing = [0.15, 0.15]
    ds.ViewPosition = "LL"
    assert (read(ds).spacing, read(ds).view) == ((0.15, 0.15), "LATERAL")


def test_sides_are_read_from_letters_or_from_the_place_in_the_patient(read):
    ds = film(RAMP)
    assert read(ds).orientation == ""
    for letters, expected in (
        (["L", "F"], "LI"),
        (["PR", "H"], "PS"),
        (["L", "R"], ""),
        (["L"], ""),
        (["SECRET", "NAME"], ""),
    ):
        ds.PatientOrientation = letters
        assert read(ds).orientation == expected
    # What is measured goes before what is said.
    ds.PatientOrientation = ["L", "F"]
    ds.ImageOrientationPatient = [0, -0.9, 0.1, 0.1, 0, -0.9]
    assert read(ds).orientation == "AI"


def test_an_enhanced_file_rescales_each_frame_by_its_own_group(read):
    ds = film(np.stack([RAMP, RAMP]), bits=12, Modality="CT", NumberOfFrames=2)
    groups = []
    for slope in (1, 3):
        transform, group = Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept = slope, -5
        group.PixelValueTransformationSequence = Sequence([transform])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    close(read(ds, frame=1), RAMP * 3.0 - 5)


def test_files_without_a_preamble_are_read(tmp_path):
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        ds = film(RAMP, bits=12, syntax=syntax)
        del ds.file_meta
        path = tmp_path / "bare.dcm"
        little = {"little_endian": True, "implicit_vr": syntax.is_implicit_VR}
        ds.save_as(path, **little)
        image = ca.read(path)
        close(image, RAMP)
        assert "transfer syntax guessed from the data set" in image.history
