"""DIMSE against a node that tests make up, on loopback."""

import logging
import os
import signal
import threading
import time
from io import BytesIO

import carina as ca
import numpy as np
import pydicom
import pytest
from carina.errors import AccessError, InvalidValueError, ServerError
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from .conftest import SECRETS, dicomweb


@pytest.fixture
def node():
    """Start nodes with handlers; give the client."""
    servers = []

    def start(handlers=(), *, only=None, **options):
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
            ("127.0.0.1", 0), block=False, evt_handlers=list(handlers)
        )
        servers.append(server)
        usual = {"title": "ARCHIVE", "timeout": 5}
        port = server.server_address[1]
        return dicomweb.Node("127.0.0.1", port, **{**usual, **options})

    yield start
    for server in servers:
        server.shutdown()


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


def test_the_files_come_as_they_are(node, films):
    client = node(gives(*films))
    files = list(client.instances("1.2.3"))
    assert len(files) == 3
    for file, film in zip(files, films, strict=True):
        np.testing.assert_array_equal(ca.read(file), ca.read(film))


def test_who_takes_one_file_does_not_wait_for_the_others(node, films):
    client = node(gives(*films * 20))
    stream = client.instances("1.2.3")
    next(stream)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 1


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


# pynetdicom forgets to close the socket that found nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_there_is_an_error():
    with pytest.raises(ServerError, match="cannot be reached"):
        dicomweb.Node("127.0.0.1", 1, timeout=2).echo()


def test_logs_say_nothing_of_a_patient(node, films, caplog):
    caplog.set_level(logging.DEBUG, logger="pynetdicom")
    facts = {"StudyInstanceUID": "1.2.840.99.1", "PatientID": "PATIENT-4711"}
    client = node(answers(facts) + gives(*films))
    client.find(patient="PATIENT-4711")
    list(client.instances("1.2.3"))
    client.store(films[:1])
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
    ],
)
def test_a_node_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="expected"):
        dicomweb.Node(**{"host": "127.0.0.1", "port": 104, **wrong})
