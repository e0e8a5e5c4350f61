"""Files that nobody should have made: an error with a name, never a crash or a hang."""

import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import carina as ca
import numpy as np
import pytest

CORPUS = Path(os.environ.get("CARINA_DATA", "../shared/data")) / "dicom"
PIXELS = np.arange(64, dtype="<u2").tobytes()


def element(group, number, vr, value):
    head = struct.pack("<HH", group, number) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN"):
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def us(number, value):
    return element(0x0028, number, b"US", struct.pack("<H", value))


def dicom(*, syntax=b"1.2.840.10008.1.2.1", extra=b"", pixels=PIXELS, **changes):
    """A film of 8 x 8 pixels of 16 bits, by hand."""
    numbers = {"rows": 8, "cols": 8, "allocated": 16, "stored": 16, "high": 15}
    numbers |= {"signed": 0} | changes
    syntax += b"\0" * (len(syntax) % 2)
    meta = element(2, 0x0010, b"UI", syntax)
    head = element(0x0008, 0x0060, b"CS", b"DX") + extra
    body = us(2, 1) + element(0x0028, 4, b"CS", b"MONOCHROME2 ")
    if "frames" in changes:
        body += element(0x0028, 8, b"IS", str(changes["frames"]).encode().ljust(12))
    names = [(0x10, "rows"), (0x11, "cols"), (0x100, "allocated")]
    names += [(0x101, "stored"), (0x102, "high"), (0x103, "signed")]
    body += b"".join(us(number, numbers[name]) for number, name in names)
    body += element(0x7FE0, 0x0010, b"OW", pixels)
    return b"\0" * 128 + b"DICM" + meta + head + body


def encapsulated(data):
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data
    empty = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return empty + item + end


def compressed(syntax, data, **changes):
    whole = dicom(syntax=syntax, pixels=b"", **changes)
    return whole[:-4] + b"\xff\xff\xff\xff" + encapsulated(data)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "bad.dcm"
        path.write_bytes(content)
        return ca.read(path)

    return read


def test_the_file_that_all_the_others_spoil_is_sound(read):
    np.testing.assert_array_equal(read(dicom()).to_numpy().ravel(), np.arange(64))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"PA", "2 bytes"),
        (b"Dear colleague, the film is attached.\n", "plain text"),
        (bytes(range(256)) * 4, "1024 bytes that begin with 00 01 02 03"),
        (b"\0" * 4096, "4096 bytes that begin with 00 00 00 00"),
        (b"GIF89a\x01\x00\x01\x00", "10 bytes that begin with 47 49 46 38"),
    ],
)
def test_what_is_no_image_is_named(read, content, found):
    expected = f"expected a DICOM, PNG, JPEG or TIFF image, found {found}"
    with pytest.raises(ca.CarinaError) as caught:
        read(content)
    assert str(caught.value).endswith(f"bad.dcm: {expected}")


def test_a_missing_file_is_a_system_error_and_an_empty_folder_no_series(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.dcm"):
        ca.read(tmp_path / "none.dcm")
    with pytest.raises(ca.CarinaError, match="expected a series of DICOM slices"):
        ca.read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.dcm"):
        ca.decode(tmp_path / "none.dcm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "Rows is 0, expected 1 to 65535"),
        ({"cols": 9}, "the pixel data has 128 bytes, expected 144"),
        ({"rows": 65535, "cols": 65535}, "has 128 bytes, expected 8589672450"),
        ({"allocated": 12}, "BitsAllocated is 12, expected 1, 8, 16 or 32"),
        ({"stored": 0}, "BitsStored is 0, expected 1 to 16"),
        ({"stored": 33}, "BitsStored is 33, expected 1 to 16"),
        ({"signed": 2}, "PixelRepresentation is 2, expected 0 to 1"),
        ({"frames": 2**31 - 1}, "samples are more than"),
        ({"frames": 1000}, "the pixel data has 128 bytes, expected 128000"),
        ({"frames": "1A"}, 'NumberOfFrames is "1A'),
        ({"syntax": b"1.2.840.10008.1.2.4.100"}, "4.100 is not supported"),
        ({"syntax": b"1.3.6.1"}, "private transfer syntax 1.3.6.1"),
        ({"pixels": b""}, "the pixel data has 0 bytes, expected 128"),
    ],
)
def test_impossible_attributes_are_named(read, changes, message):
    with pytest.raises(ca.CarinaError) as caught:
        read(dicom(**changes))
    assert message in str(caught.value)


def test_every_truncation_is_an_error(read):
    whole = dicom()
    for length in range(len(whole)):
        with pytest.raises(ca.CarinaError):
            read(whole[:length])


def test_a_length_bomb_is_refused(read):
    bomb = struct.pack("<HH", 0x0010, 0x0010) + b"UT\0\0" + b"\xf0\xff\xff\xff"
    with pytest.raises(ca.CarinaError, match="states 4294967280 bytes, but only"):
        read(dicom(extra=bomb))
    meta = b"\0" * 128 + b"DICM" + struct.pack("<HH", 2, 1) + b"OB\0\0\xf0\xff\xff\x7f"
    with pytest.raises(ca.CarinaError, match="beyond the end of the file"):
        read(meta)


@pytest.mark.parametrize("levels", [65, 100_000])
def test_deep_nesting_is_refused(read, levels):
    level = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + b"\xff" * 4
    level += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(ca.CarinaError, match="nested deeper than 64 levels"):
        read(dicom(extra=level * levels))


def test_a_deflate_bomb_is_refused(read):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(300))
    bomb += packer.flush()
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99")
    with pytest.raises(ca.CarinaError, match="grows beyond"):
        read(b"\0" * 128 + b"DICM" + meta + bomb)


@pytest.mark.parametrize(
    ("syntax", "data", "message"),
    [
        (b"1.2.840.10008.1.2.5", b"\0\0\0\x80" + b"\0" * 60, "2147483648 segments"),
        (b"1.2.840.10008.1.2.5", b"\2\0", "the RLE header is cut short"),
        (b"1.2.840.10008.1.2.4.70", b"\xff\xd8\xff\xd9", "no frame header"),
        (b"1.2.840.10008.1.2.4.50", b"nonsense", "does not begin with a JPEG"),
        (b"1.2.840.10008.1.2.4.80", b"\xff\xd8\xff\xd9", "the JPEG-LS data cannot"),
        (b"1.2.840.10008.1.2.4.90", b"nonsense", "has no codestream"),
        (b"1.2.840.10008.1.2.8.1", b"\xff\xff\xff\xff", "cannot be inflated"),
    ],
)
def test_broken_streams_are_named_by_their_codec(read, syntax, data, message):
    with pytest.raises(ca.CarinaError) as caught:
        read(compressed(syntax, data))
    assert message in str(caught.value)


@pytest.mark.parametrize("tail", [b".5", b".4.50", b".4.70", b".4.80", b".4.90"])
def test_a_small_stream_cannot_ask_for_much_memory(read, tail):
    content = compressed(
        b"1.2.840.10008.1.2" + tail, b"\0" * 64, rows=65000, cols=65000
    )
    with pytest.raises(ca.CarinaError, match=r"cannot hold|samples are more than"):
        read(content)


def test_damaged_rasters_are_errors(read, tmp_path):
    pil = pytest.importorskip("PIL.Image")
    picture = pil.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), "u1"))
    for name in ("a.png", "a.jpg", "a.tiff"):
        picture.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for length in (8, len(whole) // 3, len(whole) // 2):
            with pytest.raises(ca.CarinaError):
                read(whole[:length])
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    huge += header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(ca.CarinaError, match="expected a whole PNG image"):
        read(huge)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 3), np.nan), "expected finite pixels, found NaN at row 0, col"),
        (np.array([[1, 2], [np.inf, 0]]), "found inf at row 1, column 0"),
        (np.array([[1e300]]), "found inf at row 0, column 0"),
        (np.ones(3), r"image: expected shape (rows, columns), got [3]"),
        (np.ones((2, 3, 4)), r"image: expected shape (rows, columns), got [2, 3, 4]"),
        (np.ones((0, 3)), "image: expected shape (rows, columns) of at least 1"),
        (np.ones((2, 2), complex), "image: expected numbers, found dtype complex128"),
        ([["a", "b"]], "image: expected numbers, found dtype"),
        (None, "image: expected numbers, found dtype object"),
    ],
)
def test_an_array_that_is_no_film_is_named(array, message):
    with pytest.raises(ca.CarinaError) as caught:
        ca.read(array)
    assert message in str(caught.value)


def test_impossible_options_are_named(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom())
    for options, message in [
        ({"frame": -1}, "frame: expected 0 or more, found -1"),
        ({"frame": 1}, "frame 1 was asked for, but there are 1"),
        ({"window": -2}, "window: expected 0 or more, found -2"),
        ({"window": 1.5}, "window: expected text, bool or int, found 1.5"),
    ]:
        with pytest.raises(ca.CarinaError) as caught:
            ca.read(tmp_path / "a.dcm", **options)
        assert message in str(caught.value)


@pytest.mark.data
@pytest.mark.slow
def test_twenty_thousand_damaged_files_give_pixels_or_errors(tmp_path):
    if not (CORPUS / "index.csv").exists():
        pytest.skip("needs dicom/ under CARINA_DATA")
    script = Path(__file__).with_name("mutate.py")
    # Processes of their own: an abort or a lack of memory must fail this test only.
    running = [
        subprocess.Popen(
            [sys.executable, script, CORPUS, seed, "10000", tmp_path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed in ("2", "3")
    ]
    said = [process.communicate(timeout=600)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "".join(said)[-2000:]


def test_random_bytes_behind_a_preamble_are_errors(read):
    rng = random.Random(3)
    for _ in range(200):
        with pytest.raises(ca.CarinaError):
            read(b"\0" * 128 + b"DICM" + rng.randbytes(rng.randrange(400)))
