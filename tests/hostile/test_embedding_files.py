"""Damaged and forged files of embeddings: an error that says why, no memory lost."""

import contextlib
import io
import pickle
import struct
import zipfile

import carina as ca
import numpy as np
import pytest
from carina.errors import CarinaError, FormatError, InvalidValueError, MissingFileError
from numpy.lib import format as npy


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def header(shape, dtype="<f4"):
    file = io.BytesIO()
    npy.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in members.items():
            held.writestr(f"{name}.npy", content)
    return path


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_pickled_objects_are_never_opened(tmp_path):
    objects = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", film=objects)
    with pytest.raises(FormatError, match="pickled objects, which are never opened"):
        ca.load_embeddings(tmp_path / "a.npz")
    archive(tmp_path / "b.npz", film=pickle.dumps(Trap()))
    with pytest.raises(FormatError, match="expected a whole npz archive"):
        ca.load_embeddings(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (header((10**12, 1376)), "takes 5504000000000000 bytes, found 0"),
        (header((-1, 1376)), "makes no sense"),
        (header((1376,)) + b"1234", "takes 5504 bytes, found 4"),
        (header((1376,), "<M8[s]") + bytes(8 * 1376), "expected numbers or text"),
        (header((1376,), "<i4") + bytes(4 * 1376), "expected floats, found int32"),
        (header((5,)) + bytes(20), "expected one of pooled"),
        (b"\x93NUMPY\x07\x00" + bytes(40), "is no array"),
        (b"\x93NUMPY\x02\x00" + b"\xff" * 40, "a header of 4294967295 bytes"),
        (b"\x93NUMPY\x01\x00\x02\x00{}", "makes no sense"),
        (b"not an array", "expected a whole npz archive"),
        (b"", "expected a whole npz archive"),
    ],
)
def test_arrays_that_cannot_be_are_named(tmp_path, content, why):
    path = archive(tmp_path / "a.npz", film=content)
    with pytest.raises(FormatError, match=why):
        ca.load_embeddings(path)


def test_archives_cut_short_changed_or_too_good_to_be_true_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, film=numbers(1376), other=numbers(1376))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match="expected a whole npz archive"):
            ca.load_embeddings(path)
    changed = bytearray(whole)
    changed[len(whole) // 4] ^= 0xFF
    path.write_bytes(changed)
    with pytest.raises(FormatError, match="Bad CRC-32"):
        ca.load_embeddings(path)
    forged = bytearray(whole)
    for place in (i for i in range(len(whole)) if whole[i : i + 4] == b"PK\x01\x02"):
        forged[place + 24 : place + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(forged)
    with pytest.raises(FormatError, match="more than fit"):
        ca.load_embeddings(path)


def test_every_changed_byte_of_a_record_is_found_out(tmp_path, tf):
    path = tmp_path / "a.tfrecord"
    whole = tf.framed(tf.example({"embedding": numbers(1376)}))
    path.write_bytes(whole)
    ca.load_embeddings(path)
    places = [*range(40), *range(len(whole) - 8, len(whole))]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(FormatError, match="record 0"):
            ca.load_embeddings(path)
    for cut in (1, 11, 12, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match="record 0: it is cut short"):
            ca.load_embeddings(path)


@pytest.mark.parametrize("claimed", [2**63, 2**64 - 1, 2**40, 5000])
def test_lengths_beyond_the_file_take_no_memory(tmp_path, claimed, tf):
    length = struct.pack("<Q", claimed)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", tf.crc(length)) + bytes(64))
    with pytest.raises(FormatError, match="record 0: it is cut short"):
        ca.load_embeddings(path)
    inner = bytes([1 << 3 | 2]) + b"\xff\xff\xff\xff\x7f"
    path.write_bytes(tf.framed(tf.field(1, tf.field(1, inner))))
    with pytest.raises(FormatError, match="beyond its message"):
        ca.load_embeddings(path)


def test_other_features_other_kinds_and_nothing_at_all_are_named(tmp_path, tf):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(tf.framed(tf.example({"image/encoded": "png"})))
    with pytest.raises(FormatError, match='expected the feature "embedding"'):
        ca.load_embeddings(path)
    path.write_bytes(tf.framed(tf.example({"embedding": numbers(7)})))
    with pytest.raises(FormatError, match="expected one of pooled"):
        ca.load_embeddings(path)
    with pytest.raises(FormatError, match="expected queries embeddings"):
        ca.load_embeddings(path, kind="queries")
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="found an empty one"):
        ca.load_embeddings(path)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(FormatError, match="found no embeddings"):
        ca.load_embeddings(tmp_path / "none.npz")
    with pytest.raises(InvalidValueError, match="kind: expected auto"):
        ca.load_embeddings(path, kind="all")
    for missing in (tmp_path / "no.npz", tmp_path / "no.tfrecord"):
        with pytest.raises(MissingFileError):
            ca.load_embeddings(missing)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"no \.npz or"):
        ca.load_embeddings(tmp_path / "empty")
    np.savez(tmp_path / "odd.npz", a=numbers(1376), b=numbers(32, 128))
    with pytest.raises(FormatError, match="expected pooled embeddings"):
        ca.load_embeddings(tmp_path / "odd.npz")


def test_thousands_of_random_changes_give_errors_only(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, film=numbers(1376).round(1))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(1000):
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            changed[place] = random.integers(0, 256)
        path.write_bytes(changed)
        with contextlib.suppress(CarinaError):
            assert ca.load_embeddings(path).values.shape[1:] == (1376,)
