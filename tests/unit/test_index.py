"""The vector index: what it finds, keeps through crashes, and refuses."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from carina import Index, Table
from carina.errors import (
    FormatError,
    InvalidValueError,
    MissingFileError,
    ShapeError,
)

STORES = ["core", "lance"]


@pytest.fixture(params=STORES)
def store(request):
    if request.param == "lance":
        pytest.importorskip("lancedb", reason="LanceDB is an optional extra")
    return request.param


def vectors(n=200, d=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def metadata(n=200):
    return {
        "view": np.where(np.arange(n) % 2, "AP", "PA"),
        "age": [None if i % 10 == 0 else 20 + i % 60 for i in range(n)],
        "patient": [f"patient-{i // 2}" for i in range(n)],
    }


def filled(path, store="core", **options):
    return Index.create(
        path, vectors=vectors(), metadata=metadata(), store=store, **options
    )


def cosine(E, q):
    return (E / np.linalg.norm(E, axis=1, keepdims=True)) @ (q / np.linalg.norm(q))


class Model:
    fingerprint = "model-1"

    def encode(self, films):
        return np.stack([np.full((2, 16), f.level, dtype=np.float32) for f in films])

    def encode_text(self, texts):
        return np.stack([vectors(1, seed=len(t))[0] for t in texts])


class Film:
    level = 2.0


def test_the_best_rows_are_those_of_a_full_sort(tmp_path, store):
    index, q = filled(tmp_path / "x", store), vectors(1, seed=7)[0]
    found = index.search(q, k=10)
    exact = cosine(vectors(), q)
    order = np.argsort(-exact, kind="stable")[:10]
    assert found["key"].tolist() == [f"{i:08}" for i in order]
    np.testing.assert_allclose(found["score"], exact[order], atol=1e-5)
    assert found["rank"].tolist() == list(range(1, 11))
    assert len(index.search(q, k=10_000)) == 200


def test_filters_choose_before_the_search(tmp_path, store):
    index, q = filled(tmp_path / "x", store), vectors(1, seed=7)[0]
    rows = pd.DataFrame(metadata())
    for where, mask in [
        ("view == 'PA'", rows.view == "PA"),
        ("view == 'PA' and age >= 60", (rows.view == "PA") & (rows.age >= 60)),
        ("age < 30 or age is null", (rows.age < 30) | rows.age.isna()),
        ("not (age < 30)", rows.age >= 30),
        (
            "patient in ('patient-3', 'patient-4')",
            rows.patient.isin(["patient-3", "patient-4"]),
        ),
    ]:
        found = index.search(q, k=200, where=where)
        assert sorted(found["key"]) == [f"{i:08}" for i in np.flatnonzero(mask)], where


def test_rows_are_added_deleted_and_still_so_after_opening(tmp_path, store):
    index = filled(tmp_path / "x", store)
    extra = vectors(3, seed=5)
    index.add(
        extra, keys=["a", "b", "c"], metadata=[{"age": 99}, {"site": "north"}, {}]
    )
    assert index.delete(["00000000", "b"]) == 2
    assert index.delete(where="view == 'AP'") == 100
    assert len(index) == 200 + 3 - 2 - 100
    for again in (index, Index.open(tmp_path / "x")):
        assert "b" not in again
        found = again.search(extra[0], k=1)
        assert (found["key"][0], found["age"][0]) == ("a", 99)
        assert set(again.columns) == {"age", "patient", "site", "view"}
    index.compact()
    assert len(Index.open(tmp_path / "x")) == 101
    assert index.search(extra[2], k=1)["key"][0] == "c"


def test_a_row_of_several_vectors_scores_by_its_best(tmp_path, store):
    E = np.random.default_rng(0).normal(size=(50, 4, 8)).astype(np.float32)
    index = Index.create(tmp_path / "x", vectors=E, store=store)
    q = vectors(1, d=8, seed=3)[0]
    best = cosine(E.reshape(-1, 8), q).reshape(50, 4).max(axis=1)
    found = index.search(q, k=5)
    np.testing.assert_allclose(found["score"], np.sort(best)[::-1][:5], atol=1e-5)
    several = index.search(E[7:9], k=1)
    assert several["key"].tolist() == ["00000007", "00000008"]
    assert several["query"].tolist() == [0, 1]
    assert "4 x 8" in repr(index)


def test_halves_take_half_the_room_and_find_the_same(tmp_path):
    full, half = filled(tmp_path / "a"), filled(tmp_path / "b", dtype="float16")
    q = vectors(1, seed=7)[0]
    assert full.search(q, k=1)["key"][0] == half.search(q, k=1)["key"][0]
    size = [next((tmp_path / n).glob("*.vectors")).stat().st_size for n in "ab"]
    assert size[0] == 2 * size[1] == 200 * 16 * 4


def test_the_inner_product_keeps_lengths(tmp_path, store):
    E = vectors()
    index = Index.create(tmp_path / "x", vectors=E, metric="dot", store=store)
    q = vectors(1, seed=7)[0]
    found = index.search(q, k=3)
    np.testing.assert_allclose(found["score"], np.sort(E @ q)[::-1][:3], rtol=1e-4)


def test_sentences_and_films_are_encoded_by_the_model(tmp_path):
    index = Index.create(
        tmp_path / "x", Model(), vectors=vectors(), metadata=metadata()
    )
    text = index.search("large effusion", k=3)
    direct = index.search(vectors(1, seed=len("large effusion"))[0], k=3)
    assert text == direct
    both = index.search(["large effusion", "mass"], k=3)
    assert both["query"].tolist() == [0, 0, 0, 1, 1, 1]
    film = index.search(Film(), k=2)
    np.testing.assert_allclose(
        film["score"], index.search(np.ones(16), k=2)["score"], atol=1e-6
    )
    with pytest.raises(InvalidValueError, match="needs a model that can encode_text"):
        Index.open(tmp_path / "x").search("large effusion")


def test_another_model_is_refused(tmp_path, store):
    Index.create(tmp_path / "x", Model(), vectors=vectors(), store=store)
    other = Model()
    other.fingerprint = "model-2"
    with pytest.raises(
        InvalidValueError, match="'model-2', but the index was made with"
    ):
        Index.open(tmp_path / "x", other)
    index = Index.open(tmp_path / "x", Model())
    assert index.fingerprint == "model-1"
    index.model = other
    for use in (
        lambda: index.search("mass"),
        lambda: index.search(Film()),
        lambda: index.add(vectors(1), keys=["z"]),
    ):
        with pytest.raises(InvalidValueError, match="cannot be mixed"):
            use()


class Study:
    def __init__(self, i):
        self.id, self.patient, self.level = f"s{i}", f"p{i}", float(i)
        self.record = {"age": 40 + i}


def test_a_data_set_gives_keys_and_metadata(tmp_path):
    index = Index.create(tmp_path / "x", Model(), [Study(i) for i in range(1, 4)])
    found = index.search(np.ones(16), k=3, where="age > 41")
    assert found["key"].tolist() == ["s2", "s3"]
    assert found["age"].tolist() == [42, 43]


def test_nothing_shown_names_a_patient(tmp_path, store):
    index = filled(tmp_path / "x", store)
    found = index.search(vectors(1)[0])
    shown = repr(index) + repr(found) + found._repr_html_() + index._repr_html_()
    assert "patient-" not in shown
    assert "00000" not in shown
    assert "age" in shown
    assert found["patient"][0].startswith("patient-")


@pytest.mark.parametrize(
    "name",
    [
        *("Patient ID", "PatientID", "patient-id", "Patient Name", "MRN"),
        *("StudyInstanceUID", "SOPInstanceUID", "dicom_id", "Image Index"),
        *("Accession Number", "Path"),
    ],
)
def test_identifiers_are_not_shown_however_they_are_written(tmp_path, name):
    columns = {name: ["secret", "secret"], "Patient Age": [41, 42]}
    index = Index.create(tmp_path / "x", vectors=vectors(2), metadata=columns)
    found = index.search(vectors(1)[0])
    assert "secret" not in repr(found) + found._repr_html_()
    assert "41" in repr(found)
    assert found.hidden == ("key", name) or found.hidden == (name, "key")
    assert found[name].tolist() == ["secret", "secret"]


def test_metadata_comes_in_any_form(tmp_path):
    day = datetime.date(2021, 5, 4)
    columns = {
        "age": [1, 2.5],
        "day": [day, None],
        "icu": [True, False],
        "x": ["a", "b"],
    }
    forms = [
        columns,
        pd.DataFrame(columns),
        Table(columns),
        [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ],
    ]
    for number, form in enumerate(forms):
        index = Index.create(tmp_path / str(number), vectors=vectors(2), metadata=form)
        found = index.search(vectors(1)[0], where="icu == true and day == '2021-05-04'")
        assert found["age"].tolist() == [1]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("view = ", "where: at character 8: found the end, expected a number"),
        ("view == PA", "at character 9: found column `PA`"),
        ("import os", "at character 8: found column `os`, expected a comparison"),
        ("view == 'PA' and", "at character 17: found the end, expected a column name"),
    ],
)
def test_a_filter_that_cannot_be_read_says_where(tmp_path, store, where, text):
    index = filled(tmp_path / "x", store)
    with pytest.raises(InvalidValueError, match=text):
        index.search(vectors(1)[0], where=where)
    with pytest.raises(InvalidValueError, match=text):
        index.delete(where=where)
    assert len(index) == 200


def test_unknown_columns_and_wrong_kinds_are_named(tmp_path):
    index, q = filled(tmp_path / "x"), vectors(1)[0]
    with pytest.raises(InvalidValueError, match="no column `Age`; there are: age, pat"):
        index.search(q, where="Age > 3")
    with pytest.raises(
        InvalidValueError, match="`age` holds numbers, compared with the"
    ):
        index.search(q, where="age == 'old'")


def bad_rows(kind):
    E = vectors(2)
    if kind == "nan":
        E[1, 3] = np.nan
    if kind == "zero":
        E[1] = 0
    return E


@pytest.mark.parametrize(
    ("E", "keys", "rows", "error", "text"),
    [
        (
            vectors(2, d=5),
            "ab",
            None,
            ShapeError,
            r"vectors: expected shape \(n, 1, 16\)",
        ),
        (vectors(2)[0], "a", None, ShapeError, r"vectors: expected shape \(n, d\)"),
        (vectors(0), "", None, ShapeError, "with n > 0"),
        (bad_rows("nan"), "ab", None, InvalidValueError, "row 1 holds NaN or infinity"),
        (bad_rows("zero"), "ab", None, InvalidValueError, "row 1 is all zeros"),
        (
            vectors(2),
            ["p-1", "p-1"],
            None,
            InvalidValueError,
            "^keys: row 1 is given twice, expected unique keys$",
        ),
        (
            vectors(2),
            ["p-1", "00000003"],
            None,
            InvalidValueError,
            "^keys: row 1 is already in the index, expected unique keys$",
        ),
        (vectors(2), "abc", None, InvalidValueError, "keys: 3 for 2 vectors"),
        (vectors(2), "ab", [{}], InvalidValueError, "metadata: 1 for 2 vectors"),
        (
            vectors(1),
            "a",
            {"x": [1, 2]},
            InvalidValueError,
            "'x' has 2 rows, expected 1",
        ),
        (vectors(1), "a", [{"x": [1]}], InvalidValueError, "column 'x' holds a list"),
        (vectors(1), "a", [{"x": np.inf}], InvalidValueError, "'x' holds infinity"),
        (vectors(1), "a", [{"score": 1}], InvalidValueError, "score.* cannot be used"),
        ([["a"]], "a", None, InvalidValueError, "vectors: not an array of numbers"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused_whole(
    tmp_path, store, E, keys, rows, error, text
):
    index = filled(tmp_path / "x", store)
    with pytest.raises(error, match=text):
        index.add(E, keys=list(keys), metadata=rows)
    assert len(index) == len(Index.open(tmp_path / "x")) == 200


def test_queries_that_cannot_be_asked_are_refused(tmp_path, store):
    index = filled(tmp_path / "x", store)
    with pytest.raises(ShapeError, match="query: expected shape"):
        index.search(np.ones(5))
    with pytest.raises(InvalidValueError, match="query: row 0 holds NaN"):
        index.search(np.full(16, np.nan))
    with pytest.raises(InvalidValueError, match="k: got 0, expected at least 1"):
        index.search(np.ones(16), k=0)
    with pytest.raises(InvalidValueError, match="keys, where: give one of them"):
        index.delete()
    with pytest.raises(InvalidValueError, match=r"^keys: 2 of 3 are not in the index$"):
        index.delete(["00000001", "p-1", "p-2"])
    assert "00000001" in index
    index.model = Model()
    for empty in ("", ["effusion", " "]):
        with pytest.raises(
            InvalidValueError, match="query: found an empty text, expected words"
        ):
            index.search(empty)


def test_a_column_of_two_kinds_is_refused_without_its_values(tmp_path):
    pytest.importorskip("lancedb", reason="LanceDB is an optional extra")
    index = filled(tmp_path / "x", "lance")
    for rows, text in (
        ([{"age": "p-1"}, {}], "'age' holds str, expected int64, as before"),
        ([{"site": "p-1"}, {"site": 3}], "'site' holds int and str, expected one kind"),
    ):
        with pytest.raises(InvalidValueError) as caught:
            index.add(vectors(2), keys=["a", "b"], metadata=rows)
        assert str(caught.value) == f"metadata: column {text}"
    assert len(index) == 200


def test_more_rows_than_there_are_may_be_asked_for(tmp_path, store):
    index = filled(tmp_path / "x", store)
    assert len(index.search(vectors(1)[0], k=10**30)) == 200
    assert len(index.search(vectors(3), k=10**30, where="view == 'PA'")) == 300


def test_an_empty_index_finds_nothing(tmp_path, store):
    index = Index.create(tmp_path / "x", dimension=16, store=store)
    assert len(index) == 0
    assert len(index.search(np.ones(16))) == 0
    index.compact()
    index.add(vectors(1), keys=["a"])
    assert len(index) == 1


def test_a_failed_creation_leaves_no_index_behind(tmp_path):
    with pytest.raises(InvalidValueError, match="row 1 is all zeros"):
        Index.create(tmp_path / "x", vectors=bad_rows("zero"))
    assert not (tmp_path / "x").exists()
    filled(tmp_path / "x")
    with pytest.raises(InvalidValueError, match="an index is already there"):
        filled(tmp_path / "x")
    with pytest.raises(
        InvalidValueError, match="give vectors, a dataset or a dimension"
    ):
        Index.create(tmp_path / "y")
    with pytest.raises(InvalidValueError, match="store: got 'faiss'"):
        Index.create(tmp_path / "y", dimension=3, store="faiss")


def test_what_is_no_index_or_damaged_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"no index\.json there"):
        Index.open(tmp_path)
    filled(tmp_path / "x")
    matrix = next((tmp_path / "x").glob("*.vectors"))
    content = bytearray(matrix.read_bytes())
    content[100] ^= 1
    matrix.write_bytes(content)
    with pytest.raises(FormatError, match=r"00000001\.vectors: damaged: checksum"):
        Index.open(tmp_path / "x")
    assert len(Index.open(tmp_path / "x", verify=False)) == 200
    matrix.write_bytes(content[:-4])
    with pytest.raises(FormatError, match="bytes, expected 200 rows of 16 numbers"):
        Index.open(tmp_path / "x", verify=False)
    matrix.unlink()
    with pytest.raises(MissingFileError, match=r"00000001\.vectors"):
        Index.open(tmp_path / "x")
    manifest = tmp_path / "x" / "index.json"
    card = json.loads(manifest.read_text())
    card["segments"][0]["vectors"] = "../secret"
    manifest.write_text(json.dumps(card))
    with pytest.raises(FormatError, match="expected a plain name"):
        Index.open(tmp_path / "x")


def test_readers_see_other_writers_after_a_refresh(tmp_path, store):
    writer = filled(tmp_path / "x", store)
    reader = Index.open(tmp_path / "x")
    writer.add(vectors(1, seed=9), keys=["new"])
    reader.refresh()
    assert "new" in reader
