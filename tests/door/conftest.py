"""A server of DICOMweb on loopback that says what a test wants it to say."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import carina as ca
import pytest

pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")
pytest.importorskip("pynetdicom")

import pydicom
from carina import dicomweb

from .pki import pki  # noqa: F401

STUDY = "1.2.840.99.1"
BOUNDARY = "the-line-between"
DICOM = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
# What nobody may read in a repr, an error or a log.
SECRETS = ("PATIENT-4711", "Doe^Jane", "1.2.840.99.1", "open sesame", "b3BlbiBz")


def multipart(*files):
    """The body of an answer with these files."""
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file
        for file in files
    ]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--".encode()])


class Fake:
    """The address of a server, and the requests that it has had."""

    def __init__(self, respond, tls=None):
        self.requests = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                asked = SimpleNamespace(
                    method=self.command,
                    path=url.path.removeprefix("/dicom-web"),
                    query=dict(parse_qsl(url.query, keep_blank_values=True)),
                    headers=self.headers,
                    body=self.rfile.read(length),
                )
                fake.requests.append(asked)
                status, headers, body = respond(asked)
                self.send_response(status)
                whole = isinstance(body, bytes)
                if whole:
                    headers = {"Content-Length": str(len(body)), **headers}
                else:
                    headers = {"Connection": "close", **headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    for chunk in [body] if whole else body:
                        self.wfile.write(chunk)
                        self.wfile.flush()
                except OSError:
                    pass  # the client has heard enough
                self.close_connection = not whole

            do_POST = do_GET

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/dicom-web"
        loop = self.server.serve_forever
        threading.Thread(target=loop, args=(0.01,), daemon=True).start()


@pytest.fixture
def fake(monkeypatch):
    """Start servers; give the client and the record of its requests."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fakes = []

    def start(respond, *, tls=None, **options):
        fakes.append(Fake(respond, tls))
        server = dicomweb.Server(
            fakes[-1].url,
            **{
                "auth": ("reader", "open sesame"),
                "retries": 0,
                "timeout": 5,
                **options,
            },
        )
        return server, fakes[-1].requests

    yield start
    for one in fakes:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def raw(monkeypatch):
    """Start servers that send what a generator yields; give their addresses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listeners = []

    def start(pieces):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        heard = []

        def answer(connection):
            with connection, contextlib.suppress(OSError):
                heard.append(connection.recv(1 << 16))
                for piece in pieces():
                    connection.sendall(piece)

        def listen():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(
                        target=answer, args=(connection,), daemon=True
                    ).start()

        threading.Thread(target=listen, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web", heard

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Three studies of a film each, as DICOM files."""
    folder = tmp_path_factory.mktemp("films")
    ds = ca.phantom(3, seed=5, size=48, progress=False)
    return [path.read_bytes() for path in sorted(ds.write_dicom(folder))]


@pytest.fixture(scope="session")
def study(films):
    """The same films as files of one study, ``STUDY``."""
    return [moved(film, StudyInstanceUID=STUDY) for film in films]


def moved(file, **facts):
    """A file with other attributes."""
    data = pydicom.dcmread(BytesIO(file))
    for name, value in facts.items():
        setattr(data, name, value)
    buffer = BytesIO()
    data.save_as(buffer)
    return buffer.getvalue()
