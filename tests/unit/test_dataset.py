import pickle

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError
from carina.manifest import from_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FINDINGS = ["edema", "mass"]


def rows(count: int = 12, patients: int = 5) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "study": f"secret-{i}",
            "patient": f"person-{i % patients}",
            "image": rng.integers(0, 256, (8, 10)).astype(np.uint8),
            "view": "PA",
            "report": f"FINDINGS: Film {i}.\nIMPRESSION: Fine.",
            "labels": {"edema": i % 2, "mass": [-1, None, 1][i % 3]},
            "boxes": [{"finding": "mass", "corners": [1, 2, 5, 6]}],
            "masks": [{"finding": "lung", "mask": np.eye(8, 10, dtype=bool)}],
            "attributes": [{"finding": "mass", "side": "left"}],
            "questions": [{"question": "Edema?", "answer": "no", "form": "closed"}],
            "record.age": 40 + i,
            "record.sex": "F",
        }
        for i in range(count)
    ]


@pytest.fixture
def ds() -> ca.Dataset:
    return ca.open_dataset(rows())


def test_a_study_holds_all_that_the_row_says(ds):
    study = ds[3]
    assert (study.id, study.patient) == ("secret-3", "person-3")
    assert study.images[0].shape == (8, 10)
    np.testing.assert_array_equal(study.images[0].to_numpy(), rows()[3]["image"])
    assert study.images[0].view == "PA"
    assert study.labels == {"edema": 1.0, "mass": -1.0}
    assert study.report.findings == "Film 3."
    assert study.report.text == "Film 3. Fine."
    assert study.boxes[0].corners == (1, 2, 5, 6)
    assert study.masks[0].to_numpy().sum() == 8
    assert study.attributes[0].side == "left"
    assert study.questions[0].form == "closed"
    assert study.record == {"age": 43.0, "sex": "F"}


def test_labels_keep_uncertainty_and_targets_resolve_it(ds):
    assert ds.labels.dtype == np.float32
    np.testing.assert_array_equal(ds.labels[:3, 1], [-1, np.nan, 1])
    np.testing.assert_array_equal(ds.targets()[:3, 1], [np.nan, np.nan, 1])
    np.testing.assert_array_equal(ds.targets("zeros")[:3, 1], [0, np.nan, 1])
    np.testing.assert_array_equal(ds.targets("ones")[:3, 1], [1, np.nan, 1])


def test_parts_are_taken_by_slice_mask_indices_and_filter(ds):
    assert list(ds[2:5].ids) == ["secret-2", "secret-3", "secret-4"]
    assert list(ds[::-4].ids) == ["secret-11", "secret-7", "secret-3"]
    assert list(ds[ds.labels[:, 0] == 1].ids) == [
        f"secret-{i}" for i in range(1, 12, 2)
    ]
    assert list(ds[[-1, 0]].ids) == ["secret-11", "secret-0"]
    assert len(ds[[]]) == 0
    assert len(ds.filter(lambda study: study.record["age"] > 48)) == 3
    assert ds[-1].id == "secret-11"
    assert len(list(ds)) == 12
    with pytest.raises(IndexError):
        ds[12]
    with pytest.raises(ca.CarinaError, match="expected 12 booleans, found 2"):
        ds[[True, False]]
    with pytest.raises(ca.CarinaError, match="expected an int, a slice"):
        ds["secret-1"]


def test_studies_are_taken_by_their_ids_in_the_order_asked_for(ds):
    hits = ca.Table({"key": ["secret-7", "secret-0"]})
    assert list(ds[hits["key"]].ids) == ["secret-7", "secret-0"]
    assert list(ds[["secret-3"]].ids) == ["secret-3"]
    with pytest.raises(ca.CarinaError, match="found 2 ids that the data set") as error:
        ds[["secret-3", "secret-99", "secret-98"]]
    assert "secret" not in str(error.value)


def test_a_gallery_is_a_table_whose_rows_have_the_columns_asked_for(ds):
    page = ds[:5].show(columns=2)._repr_html_()
    assert page.count("<tr>") == 3
    assert page.count("<td ") == 5
    assert "secret" not in page


def test_splits_share_no_patient_and_depend_on_the_seed():
    ds = ca.open_dataset(rows(200, 90))
    train, val, test = ds.split((0.6, 0.2, 0.2), seed=1)
    train.check_disjoint(val, test)
    assert len(train) + len(val) + len(test) == 200
    again = ds.split({"train": 0.6, "val": 0.2, "test": 0.2}, seed=1)
    assert list(again["val"].ids) == list(val.ids)
    assert list(ds.split((0.6, 0.4), seed=2)[1].ids) != list(
        ds.split((0.6, 0.4), seed=3)[1].ids
    )
    with pytest.raises(ca.CarinaError, match='study 0 of "0" and study') as error:
        train.check_disjoint(ds)
    assert "person" not in str(error.value)


def test_label_spaces_are_aligned_and_joined(ds):
    other = ds.with_findings({"oedema": "edema", "nodule": None})
    assert other.findings == ["oedema", "nodule"]
    np.testing.assert_array_equal(other.labels[:, 0], ds.labels[:, 0])
    assert np.isnan(other.labels[:, 1]).all()
    with pytest.raises(ca.CarinaError, match="align them with with_findings"):
        ca.Dataset.concat([ds, other])
    both = ca.Dataset.concat([ds, ds.with_findings(FINDINGS)], names=["a", "b"])
    assert len(both) == 24
    assert both.patients[12] == "b/person-0"


def test_a_column_of_normal_films_is_no_finding(ds):
    normal = ds.with_findings({"No Finding": FINDINGS[0], FINDINGS[0]: None})
    for labels, text in zip(normal.labels, ca.label_reports(normal), strict=True):
        said = "No acute cardiopulmonary abnormality." if labels[0] == 1 else ""
        assert text == said


def test_labels_become_reports_and_reports_are_replaced(ds):
    reports = ca.label_reports(ds, seed=3)
    assert reports == ca.label_reports(ds, seed=3) != ca.label_reports(ds, seed=4)
    for labels, text in zip(ds.labels, reports, strict=True):
        sentences = [s for s in text.lower().split(".") if s]
        for finding, label in zip(ds.findings, labels, strict=True):
            said = [s for s in sentences if finding in s]
            assert len(said) == (label in (0, 1))
            denied = any(s.strip().startswith(("no ", "there is no")) for s in said)
            denied |= any("no evidence" in s or "negative" in s for s in said)
            assert denied == (label == 0)
    assert not any("no " in t.lower() for t in ca.label_reports(ds, denied=0))
    told = ds.with_reports(reports)
    assert told.reports == reports
    assert ds.reports != reports
    np.testing.assert_array_equal(told.labels, ds.labels)
    sections = ds.with_reports(["FINDINGS: Clear. IMPRESSION: Normal."] * len(ds))
    assert sections[0].report.impression == "Normal."
    with pytest.raises(InvalidValueError, match="reports: found 1, expected one for"):
        ds.with_reports(["Normal."])
    with pytest.raises(InvalidValueError, match="denied: found -1"):
        ca.label_reports(ds, denied=-1)
    with pytest.raises(InvalidValueError, match="found no findings"):
        ca.label_reports(ds.with_findings([]))


def test_reprs_are_compact_and_hold_no_ids(ds):
    assert repr(ds) == "Dataset(12 studies, 5 patients, 2 findings)"
    shown = [repr(ds), ds._repr_html_(), repr(ds[0]), ds[0]._repr_html_()]
    shown += [ds.show(3)._repr_html_(), repr(ds.show(3)), repr(ds[0].masks)]
    for text in shown:
        assert "secret" not in text
        assert "person" not in text
    assert "<th>edema</th><td>6</td><td>6</td><td>0</td><td>0</td><td>50.0%</td>" in (
        ds._repr_html_()
    )
    assert ds.show(3)._repr_html_().count("data:image/png;base64,") == 3


def test_a_gallery_with_a_bad_file_is_still_shown(tmp_path):
    ds = ca.open_dataset([{"study": 1, "patient": 1, "image": tmp_path / "gone.png"}])
    assert "cannot be read: MissingFileError" in ds.show()._repr_html_()


def test_a_manifest_written_is_the_manifest_read(ds, tmp_path):
    ds.to_manifest(tmp_path / "films.jsonl")
    again = ca.open_dataset(tmp_path / "films.jsonl")
    np.testing.assert_array_equal(again.labels, ds.labels)
    assert again.findings == ds.findings
    for one, two in zip(ds, again, strict=True):
        assert (one.id, one.patient, one.report) == (two.id, two.patient, two.report)
        assert (one.boxes, one.attributes) == (two.boxes, two.attributes)
        assert (one.questions, one.record) == (two.questions, two.record)
        np.testing.assert_array_equal(one.masks[0].to_numpy(), two.masks[0].to_numpy())
    recipe = ca.Recipe.film(8)
    np.testing.assert_allclose(
        again.tensors(recipe)[0], ds.tensors(recipe)[0], atol=1e-5
    )
    with pytest.raises(ca.CarinaError, match="expected every study once"):
        ds[[0, 0]].to_manifest(tmp_path / "twice.jsonl")


def test_paths_in_a_manifest_are_relative_to_its_folder(tmp_path):
    film = ca.read(np.zeros((4, 4), np.uint8))
    (tmp_path / "films").mkdir()
    film.save_png(tmp_path / "films" / "a.png")
    row = {"study": 1, "patient": 1, "image": "films/a.png"}
    ca.open_dataset([row], root=tmp_path).to_manifest(tmp_path / "m.jsonl")
    assert '"films/a.png"' in (tmp_path / "m.jsonl").read_text()
    assert ca.open_dataset(tmp_path / "m.jsonl")[0].images[0].shape == (4, 4)


def test_a_data_set_travels_by_pickle(ds):
    parts = [ds, ds[[3, 3, 1]], ds[:0]]
    for part in parts:
        again = pickle.loads(pickle.dumps(part))
        assert list(again.ids) == list(part.ids)
        np.testing.assert_array_equal(again.labels, part.labels)
    again = pickle.loads(pickle.dumps(ds))
    np.testing.assert_array_equal(
        again[5].images[0].to_numpy(), ds[5].images[0].to_numpy()
    )


def test_tables_of_every_kind_give_the_same_studies(tmp_path):
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    plain = [
        {"id": i, "who": f"p{i}", "file": f"{i}.png", "Edema": label, "Age": 50.0}
        for i, label in enumerate([1, 0, -1, None])
    ]
    frame = pd.DataFrame(plain)
    table = pa.Table.from_pylist(plain)
    parquet.write_table(table, tmp_path / "m.parquet")
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame.to_json(tmp_path / "m.jsonl", orient="records", lines=True)
    columns = {"study": "id", "patient": "who", "image": "file", "record.age": "Age"}
    columns["edema"] = "Edema"
    files = [tmp_path / name for name in ("m.parquet", "m.csv", "m.jsonl")]
    for source in [plain, iter(plain), frame, table, *files]:
        ds = ca.open_dataset(source, findings=["edema"], columns=columns)
        np.testing.assert_array_equal(ds.labels[:, 0], [1, 0, -1, np.nan])
        assert list(ds.ids) == ["0", "1", "2", "3"]
        assert ds[0].record == {"age": 50.0}
    frame = ds.to_frame()
    assert list(frame.columns) == [
        "study", "patient", "split", "report", "edema", "record.age"
    ]  # fmt: skip


def test_polars_frames_are_read():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"study": [1], "patient": [2], "image": ["a.png"]})
    assert len(ca.open_dataset(frame)) == 1


def test_several_rows_of_one_study_are_its_films():
    base = {"study": 1, "patient": 1}
    side = {**base, "image": np.zeros((3, 3)), "view": "LATERAL"}
    front = {**base, "image": np.ones((4, 4)), "view": "PA"}
    ds = ca.open_dataset([side, front])
    assert len(ds) == 1
    assert [film.shape for film in ds[0].images] == [(4, 4), (3, 3)]
    assert [film.view for film in ds[0].images[:]] == ["PA", "LATERAL"]


def test_named_parts_come_from_the_manifest():
    table = [
        {"study": i, "patient": i, "image": "x", "split": part}
        for i, part in enumerate(["train", "train", "val"])
    ]
    ds = ca.open_dataset(table)
    assert len(ds.split_named("train")) == 2
    with pytest.raises(ca.CarinaError, match=r'expected one of \["train", "val"\]'):
        ds.split_named("test")


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
labels = st.sampled_from([1, 0, -1, None])
sides = st.floats(0, 500, width=32)
study_rows = st.fixed_dictionaries(
    {
        "labels": st.fixed_dictionaries({"edema": labels, 'a "b" é': labels}),
        "indication": words,
        "findings_text": words,
        "impression": words,
        "record": st.dictionaries(
            words, st.floats(-1e9, 1e9) | st.integers(-9, 9), max_size=3
        ),
        "boxes": st.lists(
            st.builds(
                lambda x, y: {"finding": "é", "corners": [x, y, x + 1, y + 2]},
                sides,
                sides,
            ),
            max_size=2,
        ),
        "image": st.lists(words.map(lambda w: f"é {w!r}.png"), min_size=1, max_size=2),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(study_rows, min_size=1, max_size=4))
def test_any_data_set_survives_its_manifest(tmp_path, table):
    numbered = [{"study": f"s{i}", "patient": i, **r} for i, r in enumerate(table)]
    ds = ca.open_dataset(numbered, root=tmp_path)
    ds.to_manifest(tmp_path / "round.jsonl")
    again = ca.open_dataset(tmp_path / "round.jsonl")
    np.testing.assert_array_equal(again.labels, ds.labels)
    for one, two in zip(ds, again, strict=True):
        assert one.report == two.report
        assert (one.record, one.boxes) == (two.record, two.boxes)
        assert len(one.images) == len(two.images)


def test_ten_thousand_rows_are_opened_in_portions():
    chunks = (
        [{"study": f"{a}-{b}", "patient": a, "image": "x.png"} for b in range(100)]
        for a in range(100)
    )
    assert repr(from_rows(chunks, "rows")) == (
        "Dataset(10,000 studies, 100 patients, 0 findings)"
    )
