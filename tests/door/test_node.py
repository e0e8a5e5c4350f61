"""DIMSE against a node that tests make up, on loopback."""

import gc
import logging
import os
import signal
import ssl
import threading
import time
from io import BytesIO

import carina as ca
import numpy as np
import pydicom
import pytest
from carina.errors import (
    AccessError,
    FormatError,
    InvalidValueError,
    ServerError,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from .conftest import SECRETS, STUDY, dicomweb
from .pki import server_side

# pynetdicom forgets to close sockets, ours that found nobody and its servers'.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def node():
    """Start nodes with handlers; give the client."""
    servers = []

    def start(handlers=(), *, only=None, serves=None, **options):
        entity = AE(ae_title="ARCHIVE")
        entity.require_called_aet = True
        entity.require_calling_aet = [] if only is None else [only]
        entity.add_supported_context(Verification)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(
                context.abstract_syntax,
                ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"],
                scu_role=True,
                scp_role=True,
            )
        server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=list(handlers),
            ssl_context=serves,
        )
        servers.append(server)
        usual = {"title": "ARCHIVE", "timeout": 5}
        port = server.server_address[1]
        return dicomweb.Node("127.0.0.1", port, **{**usual, **options})

    yield start
    for server in servers:
        server.shutdown()
    gc.collect()  # here, where what was forgotten is expected


def answers(*rows):
    def handle(event):
        for facts in rows:
            row = pydicom.Dataset()
            for name, value in facts.items():
                setattr(row, name, value)
            yield 0xFF00, row

    return [(evt.EVT_C_FIND, handle)]


def gives(*files):
    def handle(event):
        yield len(files)
        for file in files:
            yield 0xFF00, pydicom.dcmread(BytesIO(file))

    return [(evt.EVT_C_GET, handle)]


def test_a_node_that_is_there_answers_and_its_repr_is_short(node):
    client = node()
    client.echo()
    assert repr(client).startswith("Node('ARCHIVE' at '127.0.0.1:")


def test_a_node_that_does_not_know_us_is_an_error_of_access(node):
    with pytest.raises(AccessError, match="does not talk to us; see title"):
        node(only="SOMEBODY").echo()
    with pytest.raises(AccessError, match="does not talk to us"):
        node(title="ANOTHER").echo()


def test_rows_become_a_table_that_shows_nobody(node):
    facts = {"PatientID": "PATIENT-4711", "PatientSex": "F", "StudyDate": "20250131"}
    rows = [
        {"StudyInstanceUID": "1.2.840.99.1", "ModalitiesInStudy": "DX", **facts},
        {"StudyInstanceUID": "1.2.840.99.2", "ModalitiesInStudy": "CT", **facts},
    ]
    client = node(answers(*rows))
    table = client.find(modality="DX", columns=["patient"])
    assert table["study"].tolist() == ["1.2.840.99.1"]
    assert table["patient"].tolist() == ["PATIENT-4711"]
    assert not any(secret in repr(table) for secret in SECRETS)
    with pytest.warns(UserWarning, match="more than 1 studies"):
        assert len(client.find(limit=1)) == 1


def test_the_files_come_as_they_are(node, study):
    client = node(gives(*study))
    files = list(client.instances(STUDY))
    assert len(files) == 3
    for file, film in zip(files, study, strict=True):
        np.testing.assert_array_equal(ca.read(file), ca.read(film))


def test_who_takes_one_file_does_not_wait_for_the_others(node, study):
    client = node(gives(*study * 20))
    stream = client.instances(STUDY)
    next(stream)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1


def test_a_study_of_which_a_file_was_not_sent_is_an_error(node, study):
    def handle(event):
        yield 2
        yield 0xFF00, pydicom.dcmread(BytesIO(study[0]))
        other = pydicom.dcmread(BytesIO(study[1]))
        other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"  # an ECG
        yield 0xFF00, other

    stream = node([(evt.EVT_C_GET, handle)]).instances(STUDY)
    assert next(stream)
    with pytest.raises(ServerError, match=r": files that were not sent: 1$"):
        next(stream)


def test_files_of_another_study_or_series_are_refused(node, study):
    client = node(gives(*study))
    series = str(pydicom.dcmread(BytesIO(study[0])).SeriesInstanceUID)
    with pytest.raises(FormatError, match=r"of another study$") as caught:
        list(client.instances("1.2.3"))
    assert "1.2" not in str(caught.value)
    stream = client.instances(STUDY, series=series)
    assert next(stream)
    with pytest.raises(FormatError, match=r"of another series$"):
        next(stream)


def context(pki, authority):
    return ssl.create_default_context(cafile=getattr(pki, authority))


def test_an_encrypted_node_is_talked_to(node, pki, study):
    handlers = [*gives(*study), (evt.EVT_C_STORE, lambda _: 0)]
    tls = {"serves": server_side(pki.server), "tls": context(pki, "authority")}
    client = node(handlers, **tls)
    client.echo()
    assert len(list(client.instances(STUDY))) == 3
    assert client.store(study)["status"].tolist() == ["stored"] * 3


@pytest.mark.parametrize(
    ("name", "authority", "why"),
    [
        ("server", "another", "its certificate is not trusted; see tls"),
        ("expired", "authority", "its certificate has expired; see tls"),
        ("elsewhere", "authority", "is for another address; see tls"),
        (None, "authority", "no TLS connection"),
    ],
)
def test_why_there_is_no_encrypted_connection_is_told(node, pki, name, authority, why):
    serves = None if name is None else server_side(getattr(pki, name))
    client = node(serves=serves, tls=context(pki, authority), timeout=2)
    with pytest.raises(ServerError, match=why):
        client.echo()


def test_a_node_that_wants_our_certificate(node, pki):
    serves = server_side(pki.server, pki.authority)
    serves.maximum_version = ssl.TLSVersion.TLSv1_2
    ours = context(pki, "authority")
    with pytest.raises(ServerError, match=r"client certificate; see tls|be reached"):
        node(serves=serves, tls=ours, timeout=2).echo()
    ours.load_cert_chain(*pki.client)
    node(serves=serves, tls=ours).echo()


def test_a_host_that_nobody_knows_is_an_error():
    client = dicomweb.Node("no.such.host.invalid", 104, timeout=2)
    for call in (client.echo, client.find, lambda: next(client.instances("1.2.3"))):
        with pytest.raises(ServerError, match="no host of this name is known"):
            call()


@pytest.mark.parametrize(
    ("status", "outcome", "why"),
    [
        (0x0000, "stored", ""),
        (0xB007, "warned", "the data do not match the class"),
        (0xA702, "failed", "out of resources (A702)"),
        (0xC001, "failed", "not understood (C001)"),
    ],
)
def test_a_store_tells_what_the_node_said(node, films, status, outcome, why):
    client = node([(evt.EVT_C_STORE, lambda _: status)])
    table = client.store(films[0])
    assert (table["status"][0], table["reason"][0]) == (outcome, why)


def test_what_cannot_be_sent_is_a_row(node, films):
    client = node()
    data = pydicom.dcmread(BytesIO(films[0]))
    del data.file_meta
    strange = pydicom.dcmread(BytesIO(films[0]))
    strange.SOPClassUID = "1.2.3.4"
    table = client.store([data, b"nothing", strange])
    assert table["status"].tolist() == ["failed"] * 3
    assert table["reason"][0] == "cannot be sent (AttributeError)"
    assert table["reason"][2].endswith("the node does not offer this")


def test_a_node_that_says_no_or_nothing_is_an_error(node):
    client = node([(evt.EVT_C_FIND, lambda _: iter([(0xA700, None)]))])
    with pytest.raises(ServerError, match="out of resources"):
        client.find()

    def sleep(_):
        time.sleep(3)
        yield 0x0000, None

    slow = node([(evt.EVT_C_FIND, sleep)], timeout=0.5)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        slow.find()
    assert time.monotonic() - began < 2.5


def test_ctrl_c_ends_a_wait_within_a_second(node):
    client = node([(evt.EVT_C_ECHO, lambda _: time.sleep(4) or 0)], timeout=30)
    sent = []

    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.5, press).start()
    with pytest.raises(KeyboardInterrupt):
        client.echo()
    assert time.monotonic() - sent[0] < 1


def test_nobody_there_is_an_error():
    with pytest.raises(ServerError, match="cannot be reached"):
        dicomweb.Node("127.0.0.1", 1, timeout=2).echo()


def test_logs_say_nothing_of_a_patient(node, study, caplog):
    caplog.set_level(logging.DEBUG, logger="pynetdicom")
    facts = {"StudyInstanceUID": "1.2.840.99.1", "PatientID": "PATIENT-4711"}
    client = node(answers(facts) + gives(*study))
    client.find(patient="PATIENT-4711")
    list(client.instances(STUDY))
    client.store(study[:1])
    # The made-up node is of the same library and in this process: it logs for itself.
    ours = [r for r in caplog.records if "AcceptorThread" not in r.threadName]
    assert not any(secret in r.getMessage() for r in ours for secret in SECRETS)
    assert not any("PHANTOM" in r.getMessage() for r in ours)


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": "seventeen letters"},
        {"own_title": "a\\b"},
        {"port": 0},
        {"host": ""},
        {"timeout": 0},
        {"timeout": None},
        {"title": None},
        {"title": "é"},
        {"title": "a\nb"},
        {"port": "104"},
        {"port": 104.5},
        {"port": 70000},
        {"host": None},
        {"host": "a b"},
        {"tls": "x"},
    ],
)
def test_a_node_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="expected"):
        dicomweb.Node(**{"host": "127.0.0.1", "port": 104, **wrong})
