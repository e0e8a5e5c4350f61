"""Damaged NIfTI files and series: an error with a name, never a crash or a hang."""

import gzip
import os
import struct
import subprocess
import sys

import carina as ca
import numpy as np
import pytest

MUTATE = """
import os, random, resource, sys, time
import carina as ca
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
names = sorted(os.listdir(folder))
rng, end, read = random.Random(seed), time.time() + 30, 0
target = folder if len(names) > 1 else os.path.join(folder, names[0])
for turn in range(count):
    path = os.path.join(folder, rng.choice(names))
    whole = open(path, "rb").read()
    spoilt = bytearray(whole)
    if turn % 4 == 0:
        del spoilt[rng.randrange(len(spoilt)):]
    for _ in range(rng.choice([1, 2, 8, 40])):
        if spoilt:
            at = rng.randrange(min(len(spoilt), 700) if turn % 2 else len(spoilt))
            spoilt[at] = rng.randrange(256)
    open(path, "wb").write(spoilt)
    start = time.time()
    try:
        ca.read(target, repair=["missing", "uneven", "tilt", "size", "duplicates"])
        read += 1
    except ca.CarinaError as error:
        assert "internal error" not in str(error), error
    assert time.time() - start < 5, "too slow"
    open(path, "wb").write(whole)
    if time.time() > end:
        break
print(turn + 1, read)
"""


def mutate(folder, count):
    # A process of its own: an abort or a lack of memory must fail this test only.
    done = subprocess.run(
        [sys.executable, "-c", MUTATE, str(folder), "7", str(count)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    turns, read = map(int, done.stdout.split())
    assert turns > 50
    assert 0 < read < turns


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_random_damage_to_nifti_never_crashes_or_hangs(tmp_path, name):
    hu = np.random.default_rng(0).normal(0, 300, (9, 10, 11)).round()
    ca.Volume.from_array(hu, spacing=(2, 1, 1)).save(tmp_path / name)
    mutate(tmp_path, 1500)


def test_random_damage_to_a_series_never_crashes_or_hangs(ct, store):
    mutate(store(ct()), 600)


def header(dims, *, datatype=4, offset=352.0, sform=1):
    content = bytearray(352)
    struct.pack_into("<i", content, 0, 348)
    struct.pack_into(f"<{len(dims) + 1}h", content, 40, len(dims), *dims)
    struct.pack_into("<hh", content, 70, datatype, 16)
    struct.pack_into("<8f", content, 76, *[1.0] * 8)
    struct.pack_into("<f", content, 108, offset)
    struct.pack_into("<hh", content, 252, 0, sform)
    rows = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
    struct.pack_into("<12f", content, 280, *rows)
    content[344:348] = b"n+1\0"
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header([32767] * 3), "voxels are more than the 2147483648 that can be read"),
        (header([1000] * 3), "voxels need 2000000352 bytes, but the file cannot hold"),
        (header([2, -1, 2]), "dim is [2, -1, 2], expected sides of at least 1"),
        (header([2, 2, 2, 32767]), "expected one volume, found 32767"),
        (header([2, 2, 2], datatype=99), "data type 99 is none of NIfTI"),
        (header([2, 2, 2], datatype=128), "found colours (data type 128)"),
        (header([2, 2, 2], offset=1e30), "vox_offset is 1"),
        (header([2, 2, 2], offset=float("nan")), "vox_offset is NaN"),
        (header([2, 2, 2], sform=0) + b"\0" * 16, "no sform, no qform"),
        (header([2, 2, 2])[:200], "the file ends within its header"),
        (struct.pack("<i", 348) + b"\0" * 348, "an ANALYZE header"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_impossible_headers_are_named(tmp_path, content, message, packed):
    path = tmp_path / "bad.nii"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ca.CarinaError) as caught:
        ca.read(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_gzip_hides_is_not_believed(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no image" * 100))
    with pytest.raises(ca.CarinaError, match="expected a NIfTI header"):
        ca.read(tmp_path / "a.nii.gz")
    bomb = gzip.compress(header([8, 8, 8]) + b"\0" * (64 << 20))
    (tmp_path / "a.nii.gz").write_bytes(bomb)
    assert ca.read(tmp_path / "a.nii.gz").shape == (8, 8, 8)  # the rest stays packed
    (tmp_path / "a.nii.gz").write_bytes(bomb[: len(bomb) // 2000])
    with pytest.raises(ca.CarinaError):
        ca.read(tmp_path / "a.nii.gz")


def test_slices_that_claim_more_than_their_files_hold_are_refused(ct, store):
    slices = ct()
    for ds in slices:
        ds.Rows = ds.Columns = 4096
    with pytest.raises(ca.CarinaError, match="bytes of files cannot hold slices of"):
        ca.read(store(slices))


def test_places_that_no_scan_has_are_refused(ct, store):
    far = ct()
    far[5].ImagePositionPatient = [-100, -90, 1e8]
    with pytest.raises(ca.CarinaError, match="are no one stack"):
        ca.read(store(far), repair=["missing", "uneven"])
    bent = ct()
    for ds in bent:
        ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    with pytest.raises(ca.CarinaError, match="are not at right angles"):
        ca.read(store(bent, "bent"))


def test_a_pipe_in_the_folder_is_no_file(ct, store):
    folder = store(ct())
    os.mkfifo(folder / "pipe")
    assert ca.read(folder).shape == (6, 5, 4)
