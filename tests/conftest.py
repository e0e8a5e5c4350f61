"""What all tests share."""

import signal
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A shell lets its background jobs ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The load must not decide a test: no time limits, the same examples every time.
settings.register_profile(
    "carina",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("carina")


@pytest.fixture
def ct():
    """Make the slices of a small CT as pydicom data sets, lowest slice first."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def ct(
        hu=None,
        *,
        spacing=(2.5, 0.7, 0.8),
        origin=(-100.0, -90.0, 40.0),
        rows=(1.0, 0.0, 0.0),
        columns=(0.0, 1.0, 0.0),
        slope=1.0,
        intercept=-1024.0,
        series="1.2.3",
        patient="Nobody^Real",
    ):
        if hu is None:
            hu = np.random.default_rng(0).integers(-1000, 900, (6, 5, 4))
        normal = np.cross(rows, columns)
        slices = []
        for z, plane in enumerate(hu):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            ds.SOPInstanceUID = f"{series}.{z + 1}"
            ds.SeriesInstanceUID = series
            ds.PatientName = ds.PatientID = patient
            ds.Modality = "CT"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.ImageOrientationPatient = [*map(float, rows), *map(float, columns)]
            place = np.asarray(origin) + z * spacing[0] * normal
            ds.ImagePositionPatient = [round(float(v), 6) for v in place]
            ds.PixelSpacing = [spacing[1], spacing[2]]
            ds.SliceThickness = 9.0  # never the spacing
            ds.InstanceNumber = len(hu) - z  # against the order in the patient
            stored = np.round((np.asarray(plane) - intercept) / slope).astype("<i2")
            ds.Rows, ds.Columns = stored.shape
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
            ds.PixelRepresentation = 1
            ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
            ds.PixelData = stored.tobytes()
            ds["PixelData"].VR = "OW"
            slices.append(ds)
        return slices

    return ct


@pytest.fixture
def store(tmp_path):
    """Write slices under names that say nothing of their order; return the folder."""

    def store(slices, folder="scan"):
        target = tmp_path / folder
        target.mkdir(exist_ok=True, parents=True)
        already = len(list(target.iterdir()))
        for index, ds in enumerate(slices):
            name = f"{(index * 7919 + already * 31) % 1000:03d}_{already + index}"
            ds.save_as(target / name, enforce_file_format=True)
        return target

    return store


@pytest.fixture
def tf():
    """Write TFRecord files of tf.Example by hand."""

    def crc(data):
        value = 0xFFFFFFFF
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        value ^= 0xFFFFFFFF
        return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF

    def field(number, content):
        length = b""
        left = len(content)
        while left >= 0x80:
            length += bytes([left & 0x7F | 0x80])
            left >>= 7
        return bytes([number << 3 | 2]) + length + bytes([left]) + content

    def example(features):
        """Write a tf.Example by hand: floats or one text a feature."""
        entries = b""
        for name, value in features.items():
            if isinstance(value, str):
                feature = field(1, field(1, value.encode()))
            else:
                feature = field(2, field(1, np.asarray(value, "<f4").tobytes()))
            entries += field(1, field(1, name.encode()) + field(2, feature))
        return field(1, entries)

    def framed(data):
        length = struct.pack("<Q", len(data))
        parts = [length, crc(length), data, crc(data)]
        sums = [struct.pack("<I", p) if isinstance(p, int) else p for p in parts]
        return b"".join(sums)

    return SimpleNamespace(crc=crc, field=field, example=example, framed=framed)
