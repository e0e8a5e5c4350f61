"""Answers that are wrong, late, endless or hostile; nothing of a patient leaks."""

import contextlib
import itertools
import logging
import os
import signal
import socket
import threading
import time
import zlib

import carina as ca
import pytest
from carina import dicomweb
from carina.dicomweb import _http, fetched
from carina.dicomweb._multipart import parts
from carina.errors import (
    AccessError,
    CarinaError,
    FormatError,
    NotOnServerError,
    ServerError,
    ServerTimeoutError,
)
from hypothesis import given
from hypothesis import strategies as st

from .conftest import BOUNDARY, DICOM, SECRETS, STUDY, multipart

WORDS = b"PATIENT-4711 Doe^Jane is not known here"


def no_leak(error):
    shown = ""
    while error is not None:
        shown += str(error) + repr(error)
        error = error.__cause__ or error.__context__
    assert not any(secret in shown for secret in SECRETS), shown


STATUSES = [
    (401, AccessError, r"wants credentials \(401\)"),
    (403, AccessError, r"does not allow this \(403\)"),
    (404, NotOnServerError, r"nothing there \(404\)"),
    (302, ServerError, r"redirects \(302\)"),
    (400, ServerError, r"refused \(400, bad request\)"),
    (418, ServerError, r"refused \(418\)"),
    (500, ServerError, r"refused \(500\)"),
    (503, ServerError, r"refused \(503\)"),
]


@pytest.mark.parametrize(("status", "kind", "text"), STATUSES)
def test_a_status_becomes_an_error_without_the_servers_words(fake, status, kind, text):
    elsewhere = {"Location": "http://elsewhere/PATIENT-4711"}
    server, asked = fake(lambda _: (status, elsewhere, WORDS))
    with pytest.raises(kind, match=text) as caught:
        next(server.instances(STUDY))
    no_leak(caught.value)
    assert len(asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_end_a_call_at_once(fake, status):
    server, asked = fake(lambda _: (status, {}, WORDS))
    for call in (
        lambda: server.find(patient="PATIENT-4711"),
        lambda: list(server.studies([STUDY, STUDY])),
        lambda: server.download([STUDY, STUDY], "unused"),
    ):
        asked.clear()
        with pytest.raises(PermissionError) as caught:
            call()
        no_leak(caught.value)
        assert len(asked) == 1


BODIES = {
    "another kind": ("text/html", b"<html>", "found text/html"),
    "no kind": ("", b"x", "expected multipart/related"),
    "no boundary": ("multipart/related", b"x", "with a boundary"),
    "nothing": (DICOM, b"", "before the end of its last part"),
    "cut short": (DICOM, multipart(WORDS)[:-4], "before the end of its last part"),
    "no end of a header": (
        DICOM,
        f"--{BOUNDARY}\r\nX: y\r\n--{BOUNDARY}--".encode(),
        "no end of its header",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_an_answer_that_is_none_is_refused(fake, name):
    kind, body, text = BODIES[name]
    server, _ = fake(lambda _: (200, {"Content-Type": kind}, body))
    with pytest.raises(FormatError, match=text) as caught:
        list(server.instances(STUDY))
    no_leak(caught.value)


@pytest.mark.parametrize(
    "body",
    [WORDS, b"", b"7", b"[7]", b'"PATIENT-4711"', b"[" * 200_000, b"\xff\xfe[]"],
    ids=["words", "empty", "number", "numbers", "text", "deep", "bytes"],
)
def test_rows_that_are_none_are_refused(fake, body):
    server, _ = fake(lambda _: (200, {}, body))
    if body == b"":
        assert len(server.find()) == 0
        return
    with pytest.raises(FormatError, match="expected rows as DICOM JSON") as caught:
        server.find()
    no_leak(caught.value)


def test_a_row_without_its_uid_is_refused(fake):
    strange = b'[{"0020000D": {"vr": "UI", "Value": ["../../Doe^Jane"]}}]'
    server, _ = fake(lambda _: (200, {}, strange))
    with pytest.raises(FormatError, match="a row has no StudyInstanceUID") as caught:
        server.find()
    no_leak(caught.value)


def test_values_of_the_wrong_form_are_left_empty(fake):
    row = (
        b'[{"0020000D": {"Value": ["1.2"]}, "00100040": 7, "00080020": {"Value": 7},'
        b'"00101010": {"Value": [null, {}]}, "00080061": {"Value": ["DX", {}]}}]'
    )
    server, _ = fake(lambda _: (200, {}, row))
    (found,) = server.find(sex="F", date="20250101", modality="DX")
    assert (found["sex"], found["year"], found["modality"]) == (None, "", "DX ")


def test_a_single_file_that_is_no_multipart_is_taken(fake, study):
    server, _ = fake(lambda _: (200, {"Content-Type": "application/dicom"}, study[0]))
    assert list(server.instances(STUDY)) == [study[0]]


def test_an_answer_larger_than_allowed_is_not_read(fake):
    def endless():
        yield multipart(b"")[:-4]
        while True:
            yield bytes(1 << 16)

    for headers in ({"Content-Type": DICOM}, {"Content-Type": "application/dicom"}):
        server, _ = fake(lambda _, h=headers: (200, h, endless()), max_bytes=1 << 20)
        with pytest.raises(CarinaError, match="more than 1048576 bytes"):
            list(server.instances(STUDY))
    server, _ = fake(lambda _: (200, {}, endless()), max_bytes=1 << 20)
    with pytest.raises(ServerError, match="more than 1048576 bytes"):
        server.find()


def test_a_file_that_inflates_without_end_is_not_inflated(fake, monkeypatch):
    monkeypatch.setattr(fetched, "_MOST_INFLATED", 1 << 20)
    meta = b"\2\0\x10\0UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    group = b"\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(bytes(2 << 20)) + packer.flush()
    file = bytes(128) + b"DICM" + group + meta + bomb
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(file)))
    with pytest.raises(FormatError, match="inflates to more than"):
        server.sources(STUDY)
    broken = file[: -len(bomb)] + b"\xff" * 20
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(broken)))
    with pytest.raises(FormatError, match="cannot be inflated"):
        server.sources(STUDY)


def test_a_compressed_answer_is_not_unpacked(fake):
    headers = {"Content-Type": DICOM, "Content-Encoding": "gzip"}
    server, asked = fake(lambda _: (200, headers, b"\x1f\x8b"))
    with pytest.raises(FormatError, match="compressed"):
        list(server.instances(STUDY))
    assert asked[0].headers["Accept-Encoding"] == "identity"


def silence():
    time.sleep(30)
    yield b""


def trickle():
    for _ in range(300):
        yield b"\r\n"
        time.sleep(0.1)


@pytest.mark.parametrize("body", [silence, trickle])
def test_a_server_that_hangs_or_trickles_is_not_waited_for(fake, body):
    headers = {"Content-Type": DICOM}
    server, _ = fake(lambda _: (200, headers, body()), timeout=0.5)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"nothing came for|less than 1 kB/s"):
        list(server.instances(STUDY))
    assert time.monotonic() - began < 10
    server, _ = fake(lambda _: time.sleep(20), timeout=0.3)
    with pytest.raises(ServerTimeoutError, match=r"no answer within 0.3 s"):
        server.find()


def test_ctrl_c_ends_a_wait_within_a_second(fake):
    server, _ = fake(lambda _: time.sleep(60), timeout=50)
    sent = []

    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.5, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        server.find()
    assert time.monotonic() - sent[0] < 1


def test_a_passing_failure_is_tried_again(fake, monkeypatch):
    waits = []
    monkeypatch.setattr(_http.time, "sleep", waits.append)
    answers = iter([(503, {"Retry-After": "7"}, b""), (429, {}, b""), (200, {}, b"[]")])
    server, asked = fake(lambda _: next(answers), retries=2)
    assert len(server.find()) == 0
    assert len(asked) == 3
    assert waits == [0, 7, 1]


def test_an_answer_that_breaks_off_goes_on_where_it_was(fake, study):
    broken = multipart(*study)[: len(study[0]) + len(study[1]) + 300]
    bodies = iter([broken, multipart(*study)])

    def respond(_):
        body = next(bodies)
        declared = 1 << 20 if body is broken else len(body)
        return 200, {"Content-Type": DICOM, "Content-Length": str(declared)}, [body]

    server, asked = fake(respond, retries=1)
    assert list(server.instances(STUDY)) == study
    assert len(asked) == 2


def test_nobody_there_and_no_tls_are_errors(fake):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        server = dicomweb.Server(f"http://127.0.0.1:{port}", retries=0, timeout=2)
        with pytest.raises(ServerError, match="cannot be reached") as caught:
            server.find(patient="PATIENT-4711")
    no_leak(caught.value)
    plain, _ = fake(lambda _: (200, {}, b"[]"))
    address = plain._url.replace("http:", "https:")
    server = dicomweb.Server(address, retries=0, timeout=5)
    with pytest.raises(ServerError, match=r"no TLS connection|cannot be reached"):
        server.find()


def test_logs_say_nothing_of_a_patient(fake, study, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("dicomweb_client").setLevel(logging.DEBUG)
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(*study)))
    for _ in server.instances(STUDY):
        logging.getLogger("urllib3.connectionpool").warning("of somebody else")
    with pytest.raises(FormatError):
        server.find(patient="PATIENT-4711")
    server.store(study[:1])
    assert "of somebody else" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)
    assert "PHANTOM" not in caplog.text
    assert "/studies" not in caplog.text


@given(
    files=st.lists(st.binary(max_size=60), max_size=4),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_parts_do_not_depend_on_how_the_bytes_come(files, cuts):
    body = multipart(*files) if files else f"--{BOUNDARY}--".encode()
    sizes = itertools.cycle(cuts)
    chunks = []
    while body:
        size = next(sizes)
        chunks.append(body[:size])
        body = body[size:]
    assert list(parts(chunks, BOUNDARY.encode(), most=1 << 20)) == files


@given(body=st.binary(max_size=300))
def test_any_bytes_are_parts_or_an_error(body):
    for start in (b"", f"--{BOUNDARY}\r\n".encode()):
        with contextlib.suppress(FormatError):
            list(parts([start + body], BOUNDARY.encode(), most=100))


def test_bytes_of_a_film_are_read_as_the_file_is(films, tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(films[0])
    from_file, from_bytes = ca.read(path), ca.read(films[0])
    assert from_bytes.history == from_file.history
    assert (from_bytes.to_numpy() == from_file.to_numpy()).all()
    assert (ca.decode(bytearray(films[0])) == ca.decode(path)).all()
    with pytest.raises(FormatError, match="the bytes given: expected a DICOM"):
        ca.read(b"nothing of the kind")
