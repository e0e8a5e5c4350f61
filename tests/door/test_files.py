"""Folders filled from a server, and files sent to one."""

import os
from io import BytesIO

import pydicom
import pytest
from carina.errors import FileError, InvalidValueError

from .server import JSON, archive, pages


def test_a_folder_gets_what_is_missing_and_no_more(fake, films, tmp_path):
    respond, studies = archive(films)
    server, asked = fake(respond)
    table = server.download(studies, tmp_path)
    assert table["written"].tolist() == [1, 1, 1]
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert sorted(path.read_bytes() for path in files) == sorted(films)
    assert not any(uid in str(path) for uid in studies for path in files)
    files[0].unlink()
    asked.clear()
    table = server.download(studies, tmp_path)
    assert sorted(table["written"].tolist()) == [0, 0, 1]
    assert sorted(table["present"].tolist()) == [0, 1, 1]
    assert sum("multipart" in a.headers["Accept"] for a in asked) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3
    assert studies[0] not in repr(table)


def test_a_place_that_cannot_be_written_is_told(fake, films, tmp_path):
    respond, studies = archive(films)
    server, asked = fake(respond)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="expected a folder, found a file"):
        server.download(studies, tmp_path / "file")
    assert asked == []
    table = server.download(studies, "/proc/nowhere")
    assert all("the folder cannot be written" in why for why in table["error"])
    with pytest.raises(FileError, match="the folder cannot be written"):
        server.download(studies * 2, "/proc/nowhere")


def test_what_a_killed_download_left_is_swept_once_nobody_is_at_it(
    fake, films, tmp_path
):
    respond, studies = archive(films[:1])
    server, _ = fake(respond)
    server.download(studies, tmp_path)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    left = [file.with_name(f".{file.name}.{n * 16}.tmp") for n in "0123"]
    for path in left:
        path.write_bytes(b"half")
    for path in left[:3]:
        os.utime(path, (1e9, 1e9))
    server.download(studies, tmp_path)
    assert [path.exists() for path in left] == [False, False, False, True]
    assert file.read_bytes() == films[0]


def reply(stored=(), failed=(), warned=()):
    """What a server says to a store; the list of failures is always there."""
    made = pydicom.Dataset()
    made.ReferencedSOPSequence = [item(uid) for uid in stored]
    made.ReferencedSOPSequence += [item(uid, WarningReason=0xB000) for uid in warned]
    made.FailedSOPSequence = [item(uid, FailureReason=0xA700) for uid in failed]
    return made.to_json().encode()


def item(uid, **facts):
    made = pydicom.Dataset()
    made.ReferencedSOPInstanceUID = uid
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_a_store_tells_what_became_of_each_file(fake, films, tmp_path):
    uids = [pydicom.dcmread(BytesIO(f)).SOPInstanceUID for f in films]

    def respond(asked):
        assert asked.method == "POST"
        (uid,) = [uid for uid in uids if uid.encode() in asked.body]
        if uid == uids[0]:
            return 200, JSON, reply(stored=[uid])
        if uid == uids[1]:
            return 409, JSON, reply(failed=[uid])
        return 202, JSON, reply(warned=[uid])

    server, asked = fake(respond)
    path = tmp_path / "a.dcm"
    path.write_bytes(films[0])
    nothing = tmp_path / "b.dcm"
    nothing.write_bytes(b"PATIENT-4711")
    data = pydicom.dcmread(BytesIO(films[2]))
    gone = tmp_path / "gone.dcm"
    table = server.store([path, films[1], data, nothing, 7, gone, tmp_path])
    assert table["status"].tolist() == [
        "stored",
        "failed",
        "warned",
        "failed",
        "failed",
        "failed",
        "failed",
    ]
    assert table["reason"].tolist() == [
        "",
        "out of resources (A700)",
        "values were coerced",
        "cannot be read as DICOM (InvalidDicomError)",
        "expected a path, bytes or a data set, found int",
        "no such file",
        "cannot be opened (Is a directory)",
    ]
    assert len(asked) == 3
    assert uids[0] not in repr(table)


def test_a_store_puts_no_question_marks_for_letters(fake, films):
    server, asked = fake(lambda _: (200, JSON, reply()))
    data = pydicom.dcmread(BytesIO(films[0]))
    data.SpecificCharacterSet = "ISO_IR 100"
    data.StudyDescription = "Ατελεκτασία"
    table = server.store(data)
    assert table["reason"][0] == (
        "it has letters that its SpecificCharacterSet does not have"
    )
    assert asked == []
    data.SpecificCharacterSet = "ISO_IR 192"
    server.store(data)
    assert "Ατελεκτασία".encode() in asked[0].body


def test_what_is_no_list_of_files_is_not_stored(fake):
    with pytest.raises(InvalidValueError, match="expected files or data sets"):
        fake(pages([]))[0].store(None)


def test_a_store_is_not_tried_again(fake, films):
    server, asked = fake(lambda _: (503, {}, b""), retries=3)
    table = server.store(films[:1])
    assert "the server refused (503)" in table["reason"][0]
    assert len(asked) == 1


def test_a_reply_that_names_no_file_is_not_taken_for_success(fake, films):
    server, _ = fake(lambda _: (200, JSON, reply()))
    assert server.store(films[:1])["status"].tolist() == ["failed"]
