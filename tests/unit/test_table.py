"""Tables and results: what they show, keep and refuse."""

import json

import carina
import matplotlib as mpl
import numpy as np
import pytest
from carina import Measurement, Protocol, Result, Table, classification_result
from carina.errors import FormatError, InvalidValueError, MissingFileError, ShapeError

mpl.use("agg")


def table():
    return Table(
        {
            "key": ["a", "b", "c"],
            "age": [61, 70, 50],
            "score": [0.25, np.nan, 0.75],
            "sex": ["F", None, "M"],
        },
        hidden=["key"],
    )


def test_a_table_prints_aligned_and_keeps_hidden_columns_to_itself():
    assert repr(table()).splitlines() == [
        "age  score  sex",
        " 61   0.25  F",
        " 70    nan",
        " 50   0.75  M",
        "3 rows, not shown: key",
    ]
    page = table()._repr_html_()
    assert ">0.25<" in page
    assert ">a<" not in page
    assert "<script>" not in Table({"x": ["<script>"]})._repr_html_()


def test_long_tables_are_cut_in_the_middle():
    lines = repr(Table({"i": np.arange(1000)})).splitlines()
    assert len(lines) == 23
    assert lines[-1] == "1000 rows"
    assert "…" in lines[11]
    assert "6 more columns" in repr(Table({f"c{i}": [1] for i in range(20)}))


def test_columns_rows_and_parts_are_read_by_their_key():
    t = table()
    assert t.columns == ("key", "age", "score", "sex")
    assert len(t) == 3
    np.testing.assert_array_equal(t["age"], [61, 70, 50])
    assert t[0]["sex"] == "F"
    assert t[t["age"] > 55]["key"].tolist() == ["a", "b"]
    assert [row["age"] for row in t] == [61, 70, 50]
    assert t[1:].hidden == ("key",)
    assert t.select("age").columns == ("age",)
    with pytest.raises(InvalidValueError, match="no column 'x'; there are: key, age"):
        t["x"]


def test_nothing_in_a_table_can_be_changed():
    values = np.arange(3.0)
    t = Table({"x": values})
    values[0] = 9
    assert t["x"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        t["x"][0] = 1


def test_sorting_is_stable_and_puts_missing_values_last():
    assert table().sort("score", descending=True)["key"].tolist() == ["c", "a", "b"]
    assert table().sort("sex")["key"].tolist() == ["a", "c", "b"]
    ties = Table({"x": [1, 0, 1, 0], "i": [0, 1, 2, 3]})
    assert ties.sort("x", descending=True)["i"].tolist() == [0, 2, 1, 3]


def test_tables_go_to_numpy_pandas_json_and_csv(tmp_path):
    t = table()
    assert t.select("age", "score").to_numpy().shape == (3, 2)
    assert t.select("age", "score").to_numpy().dtype == np.float64
    assert t.to_numpy().dtype == object
    frame = t.to_pandas()
    assert list(frame.columns) == list(t.columns)
    assert json.loads(t.to_json())["score"] == [0.25, None, 0.75]
    t.to_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[2] == "b,70,nan,"
    t.to_json(tmp_path / "t.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.json"]
    assert Table({"a": [1.0, np.nan]}) == Table({"a": [1.0, np.nan]})
    assert Table({"a": [1]}) != Table({"a": [2]})


def test_an_empty_table_still_works():
    t = Table({"a": [], "b": []})
    assert len(t) == 0
    assert list(t) == []
    assert "0 rows" in repr(t)
    assert len(Table({})) == 0
    assert len(t.sort("a")) == 0


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(
        ShapeError, match=r"column 'b': expected shape \(1,\), got \[2\]"
    ):
        Table({"a": [1], "b": [1, 2]})
    with pytest.raises(ShapeError, match="column 'a': expected shape"):
        Table({"a": [[1], [2]]})


def result(n=50):
    random = np.random.default_rng(0)
    y = (random.random((200, 3)) < 0.3).astype(float)
    y[:, 2] = 0
    y[5, 0], y[6, 0] = np.nan, -1
    s = random.normal(size=(200, 3)) + 2 * (y == 1)
    return classification_result(
        ["edema", "effusion", "fracture"],
        y,
        s,
        groups=[f"patient-{i // 2}" for i in range(200)],
        n=n,
        seed=7,
        protocol="test protocol",
        data="200 synthetic films",
        recipe_hash="abcdef",
    )


def test_a_result_has_a_row_for_each_finding_and_their_mean():
    found = result()
    edema = found.get("auroc", "edema")
    assert (edema.n, edema.baseline) == (198, 0.5)
    assert edema.low < edema.value < edema.high
    prevalence = edema.positives / edema.n
    assert found.get("auprc", "edema").baseline == pytest.approx(prevalence)
    fracture = found.get("auroc", "fracture")
    assert np.isnan(fracture.value)
    assert fracture.note == "no positive row"
    mean = found.get("auroc")
    both = [found.get("auroc", name).value for name in ("edema", "effusion")]
    assert mean.value == pytest.approx(np.mean(both))
    assert "mean of 2 findings" in mean.note
    with pytest.raises(InvalidValueError, match="no 'auroc' of 'mass'"):
        found.get("auroc", "mass")


def test_a_result_prints_its_protocol_and_names_no_patient():
    text = repr(result())
    for part in ("test protocol", "macro mean", "baseline", "100 patients", "seed 7"):
        assert part in text
    assert "undefined" in text
    assert "patient-" not in text + result()._repr_html_()
    assert "<table>" in result()._repr_html_()


def test_a_result_survives_json(tmp_path):
    found = result()
    found.to_json(tmp_path / "r.json")
    assert Result.from_json(tmp_path / "r.json") == found
    assert json.loads(found.to_json())["protocol"]["recipe_hash"] == "abcdef"
    (tmp_path / "bad.json").write_text('{"format": "other"}')
    with pytest.raises(FormatError, match="not a result of carina"):
        Result.from_json(tmp_path / "bad.json")
    with pytest.raises(MissingFileError, match="no such file"):
        Result.from_json(tmp_path / "none.json")


def test_a_result_plots_its_intervals_on_the_axes_given():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert result().plot(ax, metric="auprc") is ax
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["edema (n=198)", "effusion (n=200)", "macro mean (n=200)"]
    assert "auprc" in ax.get_xlabel()
    with pytest.raises(InvalidValueError, match="no value of 'f1'"):
        result().plot(metric="f1")
    plt.close("all")


def test_thresholds_apply_to_each_finding_by_name():
    y, s = np.array([[1, 1], [0, 0.0]]), np.array([[0.4, 0.9], [0.1, 0.8]])
    found = classification_result(
        ["a", "b"], y, s, metrics=["specificity"], thresholds={"a": 0.3, "b": 0.7}, n=5
    )
    assert found.get("specificity", "a").value == 1
    assert found.get("specificity", "b").value == 0
    with pytest.raises(InvalidValueError, match="thresholds: none for b"):
        classification_result(
            ["a", "b"], y, s, metrics=["f1"], thresholds={"a": 1}, n=5
        )
    with pytest.raises(ShapeError, match="findings: expected 2 names"):
        classification_result(["a"], y, s)


def test_a_hand_made_result_needs_no_interval():
    made = Result(
        [Measurement("mass", "ndcg@5", 0.76, n=19)], protocol=Protocol("search")
    )
    assert made.get("ndcg@5").value == 0.76
    assert "0.760" in repr(made)
    assert "resamples" not in repr(made)
    assert len(made.table) == len(made) == 1


def test_importing_carina_imports_no_optional_package():
    import subprocess
    import sys

    code = (
        "import sys, carina; "
        "print([m for m in ('sklearn', 'pandas', 'matplotlib', 'lancedb', 'pyarrow') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr
    assert carina.Table is Table
