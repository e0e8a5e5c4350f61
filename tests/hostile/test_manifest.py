"""Manifests that are wrong: each gives one clear error that names the place."""

import datetime

import carina as ca
import numpy as np
import pytest
from carina.errors import ManifestError, MissingFileError
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = {"study": "secret-1", "patient": "person-1", "image": "a.png"}


def fails(rows, match, **how):
    with pytest.raises(ManifestError, match=match) as error:
        ca.open_dataset(rows, **how)
    assert "secret" not in str(error.value)
    assert "person" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"labels": {"edema": "yes"}},
            'column `edema`: found "yes", expected 1, 0, -1',
        ),
        ({"labels": {"edema": 0.5}}, "column `edema`: found 0.5, expected 1, 0, -1"),
        ({"labels": "edema"}, "column `labels`: found .*, expected {finding: 1"),
        ({"labels": [1, 0]}, "expected a list of 0 labels in the order of"),
        ({"image": None}, "column `image`: found no image, expected a path or a list"),
        ({"image": []}, "column `image`: found no image"),
        ({"image": 7}, "column `image`: found 7, expected a path or a list of paths"),
        ({"image": {"array": 99}}, "column `image`: found .*expected a path"),
        ({"image": np.zeros(3)}, r"column `image`: .*expected shape \(rows, columns\)"),
        ({"image": np.full((2, 2), np.nan)}, "column `image`: .*found NaN at row 0"),
        (
            {"image": ["a", "b"], "view": ["PA"]},
            "one view, or one for each of 2 images",
        ),
        ({"study": None}, "column `study`: found no id, expected text or a whole"),
        ({"patient": " "}, "column `patient`: found no id"),
        (
            {"boxes": [{"finding": "x", "corners": [5, 5, 1, 1]}]},
            "expected x0 < x1 and",
        ),
        ({"boxes": [{"finding": "x"}]}, "column `boxes`: missing field `corners`"),
        (
            {"boxes": [{"finding": "x", "corners": [1, 2]}]},
            "column `boxes`: .*expected",
        ),
        ({"boxes": "somewhere"}, r"found \"somewhere\", expected \[{finding, corners"),
        ({"boxes": "[{"}, "column `boxes`: found broken JSON"),
        ({"masks": [{"finding": "x"}]}, r"expected \[{finding, path}\]"),
        (
            {"masks": [{"finding": "x", "mask": np.zeros(3)}]},
            "expected booleans of sha",
        ),
        ({"attributes": [{"where": "left"}]}, "column `attributes`: unknown field"),
        ({"report": {"summary": "x"}}, "column `report`: unknown field `summary`"),
        ({"report": 5}, "column `report`: found 5, expected text"),
        ({"report": "x", "impression": "y"}, "found sections in columns of their own"),
        ({"record": [1]}, r"column `record`: found \[1\], expected {name: number or"),
        (
            {"record.age": [1]},
            "column `record.age`: found .*, expected a finite number",
        ),
        ({"record.x": object()}, "column `record.x`: expected text, a number, a list"),
        (
            {"reprot": "x"},
            "found a column `reprot`, expected `report` if that is meant",
        ),
    ],
)
def test_a_wrong_value_names_its_row_and_column(change, match):
    fails([{**GOOD, **change}], match)
    if "reprot" not in change:
        first = {**GOOD, "study": 0}
        fails([first, {**GOOD, **change}], "rows, row 1")


def test_a_missing_column_is_answered_with_those_found():
    fails([{"study": 1, "image": "x"}], "found columns `study`, `image`, expected a co")
    fails([GOOD], "expected a column `Edema`", findings=["Edema"])
    fails([GOOD], "expected a column `who`$", columns={"patient": "who"})
    fails([GOOD], "expected a column `Age`", columns={"record.age": "Age"})
    with pytest.raises(ca.CarinaError, match='columns: found "studdy", expected a fi'):
        ca.open_dataset([GOOD], columns={"studdy": "id"})
    with pytest.raises(ca.CarinaError, match='findings: found "a" twice'):
        ca.open_dataset([GOOD], findings=["a", "a"])


def test_a_near_miss_can_be_named_or_waved_through():
    row = {**GOOD, "label": "sick"}
    fails([row], "found a column `label`, expected `labels` if that is meant")
    assert len(ca.open_dataset([row], columns={"labels": None})) == 1


def test_an_empty_manifest_is_refused(tmp_path):
    fails([], "rows: found no rows, expected at least one study")
    for name in ("a.jsonl", "a.csv"):
        (tmp_path / name).write_text("")
        with pytest.raises(ManifestError, match=f"^{name}: found"):
            ca.open_dataset(tmp_path / name)


def test_a_patient_in_two_splits_is_refused_by_rows():
    table = [
        {"study": i, "patient": patient, "image": "x", "split": split}
        for i, (patient, split) in enumerate(
            [("person-1", "train"), ("person-2", "test"), ("person-1", "test")]
        )
    ]
    fails(table, 'rows 0 and 2 are of one patient, found in "train" and in "test"')
    assert len(ca.open_dataset(table, columns={"split": None})) == 3


def test_rows_of_one_study_must_agree():
    fails([GOOD, GOOD], "row 1: found the study of row 0 again with the same image")
    other = {**GOOD, "image": "b.png", "patient": "person-2"}
    fails([GOOD, other], "row 0 again with another patient")
    one = {**GOOD, "labels": {"edema": 1}}
    two = {**GOOD, "labels": {"edema": 0}, "image": "b.png"}
    fails([one, two], "row 0 again with other labels")


def test_things_that_are_no_manifest_are_refused(tmp_path):
    for thing in (7, {"study": 1}):
        with pytest.raises(ca.CarinaError, match="manifest: expected a path, a data f"):
            ca.open_dataset(thing)
    fails([1, 2], "rows, row 0: expected a mapping of column to value, found int")
    with pytest.raises(MissingFileError, match=r"gone\.csv"):
        ca.open_dataset(tmp_path / "gone.csv")
    with pytest.raises(FileNotFoundError):
        ca.open_dataset(tmp_path / "gone.parquet")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ca.CarinaError, match=r"expected \.csv, \.tsv or \.jsonl"):
        ca.open_dataset(tmp_path / "a.txt")


def test_broken_lines_name_file_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"study": 1, "patient": 1, "image": "x"}\n{"study": 2,\n')
    with pytest.raises(ManifestError, match=r"^a\.jsonl, line 2: EOF while parsing"):
        ca.open_dataset(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ManifestError, match=r"^a\.jsonl, line 1: "):
        ca.open_dataset(path)
    path = tmp_path / "a.csv"
    path.write_text("study,patient,image\n1,2\n")
    with pytest.raises(ManifestError, match=r"^a\.csv, line 2: found 2 fields, expect"):
        ca.open_dataset(path)


def test_values_of_every_python_kind_are_taken():
    pd = pytest.importorskip("pandas")
    row = {
        **GOOD,
        "labels": {"a": np.int8(1), "b": np.float32("nan"), "c": pd.NA, "d": True},
        "record.date": datetime.date(2020, 1, 2),
        "record.nat": pd.NaT,
        "record.inf": float("inf"),
        "record.np": np.float64(2.5),
    }
    ds = ca.open_dataset([row])
    np.testing.assert_array_equal(ds.labels[0], [1, np.nan, np.nan, 1])
    assert ds[0].record == {"date": "2020-01-02", "inf": "inf", "np": 2.5}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
columns = st.sampled_from(
    [
        "study",
        "patient",
        "image",
        "view",
        "report",
        "labels",
        "boxes",
        "masks",
        "attributes",
        "questions",
        "split",
        "record",
        "record.x",
        "impression",
        "?",
    ]
)


@settings(max_examples=300)
@given(st.lists(st.dictionaries(columns, json_values), max_size=3))
def test_any_rows_give_a_data_set_or_a_manifest_error(table):
    rows = [{**GOOD, "study": i, "patient": i, **row} for i, row in enumerate(table)]
    try:
        ds = ca.open_dataset(rows)
    except ManifestError:
        return
    repr(ds)
    ds._repr_html_()
    assert ds.labels.shape == (len(ds), len(ds.findings))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_manifest_error_or_a_data_set(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    for name, head in [("x.csv", b"study,patient,image\n"), ("x.jsonl", b"")]:
        (folder / name).write_bytes(head + content)
        try:
            ca.open_dataset(folder / name)
        except ManifestError:
            continue
