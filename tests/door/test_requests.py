"""What a server is told, and how long it may take to answer."""

import gc
import threading
import time
import zlib

import pytest
from carina import dicomweb
from carina.dicomweb import _paced
from carina.errors import AccessError, InvalidValueError, ServerError
from requests.auth import AuthBase, HTTPDigestAuth

from .conftest import STUDY

WORD = "open sesame"


def test_credentials_of_a_netrc_are_never_sent(fake, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    bearer = {"Authorization": "Bearer abc"}
    server, asked = fake(lambda _: (200, {}, b"[]"), auth=None, headers=bearer)
    server.find()
    assert asked[0].headers["Authorization"] == "Bearer abc"
    server, asked = fake(lambda _: (200, {}, b"[]"), auth=None)
    server.find()
    assert "Authorization" not in asked[0].headers


def test_a_proxy_of_the_environment_is_used(fake, monkeypatch):
    proxy, asked = fake(lambda _: (200, {}, b"[]"))
    monkeypatch.setenv("HTTP_PROXY", proxy._url.removesuffix("/dicom-web"))
    monkeypatch.setenv("http_proxy", proxy._url.removesuffix("/dicom-web"))
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    assert len(dicomweb.Server("http://hospital.invalid/d", retries=0).find()) == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"headers": "x"}, "headers: expected a mapping"),
        ({"headers": {"X": 5}}, "headers: expected for X a text"),
        ({"headers": {"X": None}}, "headers: expected for X a text"),
        ({"headers": {"X": f"{WORD}\r\nY: z"}}, "headers: expected for X a text"),
        ({"headers": {"X": f"{WORD} ☃"}}, "headers: expected for X a text"),
        ({"headers": {"a\r\nb": "c"}}, "headers: expected names"),
        ({"headers": {5: "c"}}, "headers: expected names"),
        ({"auth": WORD}, r"auth: expected \(user, password\)"),
        ({"auth": (WORD, None)}, "auth: expected user and password in Latin-1"),
        ({"auth": ("ü☃", WORD)}, "auth: expected user and password in Latin-1"),
        ({"auth": ("a", "b"), "headers": {"authorization": "c"}}, "auth: expected no"),
        ({"timeout": "5"}, "timeout: expected a number"),
        ({"timeout": None}, "timeout: expected a number"),
        ({"timeout": float("nan")}, "timeout: expected at least"),
        ({"timeout": 1e9}, "timeout: expected at most"),
        ({"retries": 1.5}, "retries: expected a whole number"),
        ({"retries": -1}, "retries: expected at least 0"),
        ({"max_bytes": True}, "max_bytes: expected a whole number"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(wrong, text):
    with pytest.raises(InvalidValueError, match=text) as caught:
        dicomweb.Server("http://localhost", **wrong)
    assert WORD not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [None, 5, b"http://h/", "http://a b/", "http://h/\r\nX: y", "https://h:99999/"],
)
def test_an_address_that_cannot_be_is_refused(url):
    with pytest.raises(InvalidValueError, match="url: expected an address"):
        dicomweb.Server(url)


def test_schemes_may_be_in_capitals_and_credentials_in_bytes(fake):
    server, asked = fake(lambda _: (200, {}, b"[]"))
    url = server._url.replace("http", "HTTP", 1)
    loud = dicomweb.Server(url, auth=("ü".encode(), b"p"), retries=0)
    assert len(loud.find()) == 0
    assert asked[0].headers["Authorization"] == "Basic w7w6cA=="


def test_an_auth_of_the_callers_that_fails_is_not_the_servers_fault(fake):
    class Broken(AuthBase):
        def __call__(self, request):
            raise ValueError(WORD)

    server, asked = fake(lambda _: (200, {}, b"[]"), auth=Broken())
    with pytest.raises(InvalidValueError, match=r"\(ValueError\); see auth") as caught:
        server.find()
    assert WORD not in str(caught.value)
    assert asked == []


def slowly(*pieces):
    """Send a byte every tenth of a second, for half a minute."""
    yield from pieces
    for _ in range(300):
        yield b"x"
        time.sleep(0.1)


DRIPS = {
    "status": [],
    "header": [b"HTTP/1.1 200 OK\r\nX: "],
    "hints": [b"HTTP/1.1 100 Continue\r\n\r\n" * 3],
    "body": [b"HTTP/1.1 200 OK\r\n\r\n"],
    "size": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    "refusal": [
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=r, nonce=n\r\n\r\n"
    ],
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_server_that_drips_is_not_waited_for(raw, name):
    url, _ = raw(lambda: slowly(*DRIPS[name]))
    auth = HTTPDigestAuth("reader", WORD) if name == "refusal" else None
    server = dicomweb.Server(url, auth=auth, timeout=0.5, retries=0)
    threads, began = threading.active_count(), time.monotonic()
    with pytest.raises(ServerError, match=r"no answer within|less than|credentials"):
        server.find()
    assert time.monotonic() - began < 3
    assert threading.active_count() <= threads + 1  # the server's


def test_who_takes_his_time_with_a_file_is_not_the_servers_fault(
    raw, study, monkeypatch
):
    monkeypatch.setattr(_paced, "SLOWEST", 1 << 16)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=B\r\n\r\n"

    def pieces():
        yield head + b"--B\r\n\r\n" + study[0] + b"\r\n--B\r\n\r\n"
        time.sleep(0.2)
        yield study[1] + b"\r\n--B--"

    url, _ = raw(pieces)
    got = []
    for file in dicomweb.Server(url, timeout=0.5, retries=0).instances(STUDY):
        got.append(file)
        time.sleep(1)
    assert got == study[:2]


def endless(head, heard):
    yield head
    for _ in range(4000):  # a quarter of a gigabyte, if somebody takes it
        yield bytes(1 << 16)
        heard.append(1 << 16)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("status", [301, 307, 401])
def test_nobody_reads_the_body_of_a_refusal(raw, status, coding):
    sent = []
    head = (
        f"HTTP/1.1 {status} No\r\nLocation: http://127.0.0.1:1/x\r\n"
        "WWW-Authenticate: Digest realm=r, nonce=n\r\n"
        f"Content-Encoding: {coding}\r\n\r\n"
    ).encode()
    if coding == "gzip":
        packer = zlib.compressobj(wbits=31)
        head += packer.compress(bytes(1 << 20)) + packer.flush()
    url, _ = raw(lambda: endless(head, sent))
    auth = HTTPDigestAuth("reader", WORD)
    server = dicomweb.Server(url, auth=auth, timeout=5, retries=0)
    kind = AccessError if status == 401 else ServerError
    with pytest.raises(kind, match=rf"\({status}\)"):
        server.find()
    gc.collect()
    time.sleep(0.1)
    assert sum(sent) < 32 << 20  # what the sockets hold


LINES = {
    "a size": b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * (3 << 20),
    "trailers": b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * (1 << 19),
    "hints": b"\r\nHTTP/1.1 100 Continue\r\nX: y\r\n" * (1 << 17),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_have_an_end(raw, name):
    start = b"HTTP/1.1 100 OK\r\n" if name == "hints" else b"HTTP/1.1 200 OK\r\n"
    url, _ = raw(lambda: [start + LINES[name]])
    with pytest.raises(ServerError, match=r"broke off|hung up"):
        dicomweb.Server(url, timeout=5, retries=0).find()


def test_a_digest_still_goes_through(fake):
    challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}

    def respond(asked):
        known = asked.headers.get("Authorization", "").startswith("Digest ")
        return (200, {}, b"[]") if known else (401, challenge, b"no" * 20)

    server, asked = fake(respond, auth=HTTPDigestAuth("reader", WORD))
    assert len(server.find()) == 0
    assert len(asked) == 2
