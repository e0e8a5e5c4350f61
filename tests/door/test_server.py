"""Servers asked, and studies fetched, against a server that tests make up."""

import importlib
import re
import subprocess
import sys
import tempfile
from io import BytesIO

import carina as ca
import numpy as np
import pydicom
import pytest
from carina import dicomweb
from carina.errors import (
    CarinaError,
    FormatError,
    InvalidValueError,
    ServerError,
)

from .conftest import DICOM, SECRETS, STUDY, multipart
from .server import archive, pages, row, rows


def test_nothing_is_sent_before_something_is_asked_and_no_repr_tells_a_secret(fake):
    server, asked = fake(pages([]))
    assert asked == []
    assert repr(server).startswith("Server('http://127.0.0.1:")
    assert "sesame" not in repr(server)
    assert "dicom-web" not in repr(server)
    with pytest.raises(TypeError, match="holds credentials"):
        server.__reduce__()


def test_all_pages_are_read_and_what_tells_who_it_is_is_not_shown(fake):
    found = [
        row(
            f"1.2.840.99.1.{n}",
            PatientID="PATIENT-4711",
            PatientSex="F",
            StudyDate="20250131",
            PatientBirthDate="19800202",
            ModalitiesInStudy=["DX", "SR"],
        )
        for n in range(450)
    ]
    server, asked = fake(pages(found))
    table = server.find(columns=["patient", "date"])
    assert [one.query["offset"] for one in asked] == ["0", "200", "400", "450"]
    assert asked[0].headers["Authorization"].startswith("Basic ")
    assert len(table) == 450
    assert table["study"][449] == "1.2.840.99.1.449"
    assert table["patient"][0] == "PATIENT-4711"
    assert table[0]["age"] == 44
    assert table[0]["modality"] == "DX SR"
    shown = repr(table) + table._repr_html_()
    assert not any(secret in shown for secret in SECRETS)
    assert "20250131" not in shown
    assert "2025" in shown


def test_more_studies_than_the_limit_are_a_warning(fake):
    server, _ = fake(pages([row(f"1.2.{n}") for n in range(30)]))
    with pytest.warns(UserWarning, match="more than 20 studies; see limit"):
        assert len(server.find(limit=20)) == 20


def test_a_server_that_knows_no_offset_is_not_asked_for_ever(fake):
    server, asked = fake(lambda _: rows([row("1.2.3"), row("1.2.4")]))
    assert server.find()["study"].tolist() == ["1.2.3", "1.2.4"]
    assert len(asked) == 2


def test_filters_that_a_server_ignores_are_applied_here(fake):
    facts = {"PatientSex": "F", "StudyDate": "20250131", "ModalitiesInStudy": "DX"}
    found = [
        row("1.1", **facts, PatientAge="050Y"),
        row("1.2", **{**facts, "PatientSex": "M"}, PatientAge="050Y"),
        row("1.3", **{**facts, "StudyDate": "20240101"}, PatientAge="050Y"),
        row("1.4", **{**facts, "ModalitiesInStudy": "MR"}, PatientAge="050Y"),
        row("1.5", **facts, PatientAge="081Y"),
        row("1.6", **facts),
    ]
    server, asked = fake(pages(found))
    table = server.find(
        modality="DX", date=("2025-01-01", None), sex="F", age=(40, 60), patient="x*"
    )
    assert table["study"].tolist() == ["1.1"]
    query = asked[0].query
    assert query["StudyDate"] == "20250101-"
    assert query["ModalitiesInStudy"] == "DX"
    assert query["PatientID"] == "x*"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"level": "films"}, "level: found 'films'"),
        ({"date": "31.1.2025"}, "date: expected YYYYMMDD"),
        ({"date": "20251399"}, "a day that there is"),
        ({"date": "2025-02-30"}, "a day that there is"),
        ({"date": 20250101}, "date: expected YYYYMMDD"),
        ({"date": ("2025-02-01", "2024-01-01")}, "found the last first"),
        ({"date": (None, None)}, r"a day, or \(first, last\)"),
        ({"date": ["20250101"]}, r"a day, or \(first, last\)"),
        ({"sex": "x"}, "sex: expected 'F', 'M' or 'O', found 'x'"),
        ({"sex": 1}, "sex: expected 'F', 'M' or 'O'"),
        ({"limit": 0}, "limit: expected at least 1"),
        ({"limit": 1.5}, "limit: expected a whole number"),
        ({"limit": None}, "limit: expected a whole number"),
        ({"age": (60, 40)}, r"age: expected \(youngest, oldest\)"),
        ({"age": 5}, r"age: expected \(youngest, oldest\)"),
        ({"age": ("a", 5)}, r"age: expected \(youngest, oldest\)"),
        ({"age": (float("nan"), 5)}, r"age: expected \(youngest, oldest\)"),
        ({"modality": 5}, "modality: expected text"),
        ({"columns": [5]}, "columns: expected text"),
        ({"filters": {"PatientName": None}}, "PatientName: .* found NoneType"),
        ({"filters": "PatientName"}, "filters: expected a mapping"),
        ({"patient": 5.0 + 1j}, "patient: expected a text in one line, found complex"),
        ({"patient": "a\nb"}, "patient: expected a text in one line"),
        ({"columns": ["shoe_size"]}, "no column 'shoe_size'"),
        ({"study": "1.2.3"}, "expected only for what is in them"),
        ({"level": "series", "study": ".."}, "study: expected a UID"),
        ({"level": "series", "study": "1/2"}, "study: expected a UID"),
        ({"level": "instances", "series": "1.2"}, "the study that it is of"),
        ({"level": "series", "age": (1, 2)}, "age: expected only for studies"),
    ],
)
def test_a_question_without_meaning_is_refused(fake, wrong, text):
    server, asked = fake(pages([]))
    with pytest.raises(InvalidValueError, match=text):
        server.find(**wrong)
    assert asked == []


def test_words_for_a_sex_and_open_spans_are_understood(fake):
    facts = {"PatientSex": "F", "StudyDate": "20250131", "PatientAge": "050Y"}
    server, asked = fake(pages([row("1.2.3", **facts)]))
    for sex in ("F", "f", "female", "Female"):
        assert len(server.find(sex=sex)) == 1
        assert asked[-1].query["PatientSex"] == "F"
    assert len(server.find(date=["2025-01-01", None])) == 1
    assert asked[-1].query["StudyDate"] == "20250101-"
    assert len(server.find(age=(None, 50))) == len(server.find(age=[50, None])) == 1
    assert len(server.find(age=(None, 49))) == 0
    assert "date" in server.find(columns="date").columns
    server.find(filters={"InstanceNumber": 7})
    assert asked[-1].query["InstanceNumber"] == "7"


def test_studies_may_be_named_by_an_array_or_any_iterable(fake, films):
    respond, studies = archive(films)
    server, _ = fake(respond)
    for found in (np.array(studies), np.array(studies, object), iter(studies)):
        assert [one.study for one in server.studies(found)] == studies
    assert [one.study for one in server.studies(np.array(studies[0]))] == studies[:1]
    for wrong in (None, 5, b"1.2.3", {"study": "1.2.3"}, np.array([studies])):
        with pytest.raises(InvalidValueError, match=r"found: expected|study: expected"):
            server.studies(wrong)


@pytest.mark.parametrize(
    "url",
    ["ftp://a", "a/b", "http://me:word@a/b", "http://a/b?token=1", "http://[a", ""],
)
def test_an_address_with_credentials_or_of_no_server_is_refused(url):
    with pytest.raises(InvalidValueError, match="url: expected") as caught:
        dicomweb.Server(url)
    assert "word" not in str(caught.value)


def test_films_are_those_of_the_files_and_a_bad_study_is_one_error(fake, films):
    broken = films[1][: len(films[1]) // 2]
    respond, studies = archive([films[0], broken, films[2]])
    server, asked = fake(respond)
    first, bad, last = server.studies(studies)
    np.testing.assert_array_equal(first.films[0], ca.read(films[0]))
    np.testing.assert_array_equal(last.films[0], ca.read(films[2]))
    assert first.error is None
    assert bad.films == []
    assert "the bytes given" in bad.error
    assert first.study == studies[0]
    assert studies[0] not in repr(first)
    assert "PHANTOM" not in repr(first)
    accepted = [a.headers["Accept"] for a in asked if "series/" in a.path]
    assert all(text.endswith("transfer-syntax=*") for text in accepted)


def test_a_data_set_and_embeddings_leave_out_what_failed(fake, films):
    respond, studies = archive([films[0], films[1][:900], films[2]])
    server, _ = fake(respond)
    dataset, failures = server.dataset(studies)
    assert dataset.ids.tolist() == [studies[0], studies[2]]
    assert [failure.index for failure in failures] == [1]
    model = ca.create("elixr", size="tiny", image_size=48, seed=0)
    values, failures = server.encode(model, studies, batch_size=1)
    assert [failure.index for failure in failures] == [1]
    assert np.isnan(values[1]).all()
    np.testing.assert_allclose(values[[0, 2]], model.encode(dataset), atol=1e-5)


def test_a_study_asked_for_twice_is_one_study_and_two_rows(fake, films):
    respond, studies = archive(films[:2])
    server, _ = fake(respond)
    twice = [studies[0], studies[1], studies[0]]
    dataset, failures = server.dataset(twice)
    assert dataset.ids.tolist() == studies
    assert failures == []
    model = ca.create("elixr", size="tiny", image_size=48, seed=0)
    values, _ = server.encode(model, twice)
    np.testing.assert_array_equal(values[0], values[2])
    assert values.shape[0] == 3


def test_a_file_of_another_study_is_never_taken_for_this_one(fake, films):
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(films[0])))
    (one,) = server.studies("1.2.3", modality=None)
    assert one.films == []
    assert one.error == "the server gave a file of another study"


def test_nothing_is_made_of_files_of_another_study_or_series(fake, films, tmp_path):
    header = pydicom.dcmread(BytesIO(films[0]))
    uids = {"study": header.StudyInstanceUID, "series": header.SeriesInstanceUID}
    served = {**uids, "instance": header.SOPInstanceUID}

    for name in uids:
        other = {**uids, name: "1.2.3"}

        def respond(asked, other=other):
            if asked.path.endswith(("/series", "/instances")):
                return rows([row(**{**served, **other})])
            return 200, {"Content-Type": DICOM}, multipart(films[0])

        server, _ = fake(respond)
        calls = {
            "instances": lambda s, o=other: list(s.instances(**o)),
            "volume": lambda s, o=other: s.volume(**o),
            "sources": lambda s, o=other: s.sources(o["study"], series=o["series"]),
        }
        for call in calls.values():
            with pytest.raises(FormatError, match=f"file of another {name}$") as caught:
                call(server)
            assert "1.2.3" not in str(caught.value)
        table = server.download(server.find("series", study=other["study"]), tmp_path)
        assert table["error"].tolist() == [f"the server gave a file of another {name}"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(FormatError, match="file of another instance"):
        list(server.instances(**uids, instance="1.2.3"))


def test_errors_of_a_volume_speak_of_the_servers_files(fake, study):
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(*study[:1])))
    series = str(pydicom.dcmread(BytesIO(study[0])).SeriesInstanceUID)
    with pytest.raises(CarinaError) as caught:
        server.volume(STUDY, series)
    assert re.search("(file 1 of )?the series", str(caught.value))
    assert tempfile.gettempdir() not in str(caught.value)


def test_a_scan_is_not_read_as_hundreds_of_films(fake, films):
    header = pydicom.dcmread(BytesIO(films[0]))
    many = []
    for n in range(65):
        header.SOPInstanceUID = f"1.2.{n + 1}"
        buffer = BytesIO()
        header.save_as(buffer)
        many.append(buffer.getvalue())
    server, _ = fake(lambda _: (200, {"Content-Type": DICOM}, multipart(*many)))
    (one,) = server.studies(str(header.StudyInstanceUID), modality=None)
    assert len(one.films) == 64
    assert "more than 64 films" in one.error


def test_a_server_that_has_gone_is_not_asked_for_every_study(fake):
    server, asked = fake(lambda _: (500, {}, b"PATIENT-4711"))
    with pytest.raises(ServerError, match="the server refused"):
        list(server.studies([f"1.2.{n}" for n in range(100)]))
    assert len(asked) == 5


def test_the_door_brings_its_packages_only_when_it_is_asked_for():
    code = (
        "import sys, carina; early = {'requests', 'pydicom', 'highdicom'} "
        "& set(sys.modules); carina.dicomweb.Server; sys.exit(bool(early))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    monkeypatch.delitem(sys.modules, "carina.dicomweb")
    with pytest.raises(CarinaError, match=r"pip install 'carina\[dicomweb\]'"):
        importlib.import_module("carina.dicomweb")
