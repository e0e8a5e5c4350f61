"""Learning curves: nested by patient, scored on others, never tuned on them."""

import carina as ca
import numpy as np
import pytest
from carina.curve import _order
from carina.errors import InvalidValueError, ShapeError

QUICK = {"n": 20, "progress": False}


@pytest.fixture(scope="module")
def parts():
    films = ca.phantom(400, seed=1, size=32, progress=False)
    return films.split((0.7, 0.3), seed=0)


@pytest.fixture(scope="module")
def vectors(parts):
    """Embeddings that hold the truth, under noise."""
    out = []
    for number, part in enumerate(parts):
        noise = np.random.default_rng(number).normal(size=(len(part), 20))
        noise[:, :10] += 2 * part.labels
        out.append(noise.astype(np.float32))
    return tuple(out)


def test_more_films_teach_more(parts, vectors):
    none = tuple(np.random.default_rng(7).normal(size=v.shape) for v in vectors)
    curve = ca.learning_curve(
        {"knows": vectors, "noise": none}, *parts, sizes=(16, 64, "all"), C=0.1, **QUICK
    )
    table = curve.table
    assert list(table.columns) == ["name", "films", "auroc", "low", "high", "note"]
    knows = table["auroc"][table["name"] == "knows"]
    assert len(knows) == 3
    assert knows[0] < knows[-1] > 0.85
    for row in table:
        assert row["low"] <= row["auroc"] <= row["high"]
        if row["name"] == "noise":
            assert row["low"] < 0.55 < row["high"] + 0.1
    assert table["note"].tolist()[:3] == ["5 repeats", "5 repeats", "1 repeat"]
    again = ca.learning_curve(
        {"knows": vectors}, *parts, sizes=(16, 64, "all"), C=0.1, **QUICK
    )
    assert again.rows == curve.rows[:3]


def test_orders_keep_patients_together_and_differ(parts):
    patients = parts[0].patients
    order = _order(patients, 0)
    changes = (patients[order][1:] != patients[order][:-1]).sum() + 1
    assert changes == len(set(patients.tolist()))
    assert sorted(order.tolist()) == list(range(len(patients)))
    assert not np.array_equal(order, _order(patients, 1))


def test_models_are_encoded_once_and_trained_from_scratch(parts):
    class Counting:
        def __init__(self):
            self.calls = 0

        def encode(self, data):
            self.calls += 1
            return np.array([s.images[0].to_numpy().mean() for s in data])[:, None]

    model = Counting()
    scratch = ca.Scratch(
        lambda seed: ca.create("elixr", size="tiny", image_size=32, seed=seed),
        changes={"epochs": 1, "batch_size": 16},
    )
    curve = ca.learning_curve(
        {"mean": model, "from scratch": scratch},
        parts[0][:48],
        parts[1],
        sizes=(32, "all"),
        repeats=2,
        **QUICK,
    )
    assert model.calls == 2
    assert curve.table["name"].tolist() == ["mean"] * 2 + ["from scratch"] * 2
    assert np.isfinite(curve.table["auroc"]).all()


def test_networks_and_tokens(parts, vectors):
    tokens = tuple(np.stack([v, -v], axis=1) for v in vectors)
    options = {"sizes": (32,), "repeats": 1, **QUICK}
    pooled = ca.learning_curve({"a": tokens}, *parts, **options)
    assert pooled.rows[0].value == pytest.approx(0.5)
    side_by_side = ca.learning_curve({"a": tokens}, *parts, pooled=False, **options)
    assert side_by_side.rows[0].value > 0.6
    network = ca.learning_curve(
        {"a": vectors}, *parts, kind="mlp", epochs=20, hidden=(16,), **options
    )
    assert 0.4 < network.rows[0].value < 1


def test_a_curve_is_drawn_and_read_again(parts, vectors, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    curve = ca.learning_curve(
        {"a, b": vectors}, *parts, sizes=(16, 64), repeats=2, **QUICK
    )
    ax = curve.plot()
    assert len(ax.lines) == 2
    curve.to_json(tmp_path / "curve.json")
    again = ca.LearningCurve.from_json(tmp_path / "curve.json")
    assert again.table == curve.table
    assert again.table["name"].tolist() == ["a, b", "a, b"]


def test_bad_calls_are_refused(parts, vectors):
    train, test = parts
    with pytest.raises(InvalidValueError, match="patient"):
        ca.learning_curve({"a": vectors}, train, train, **QUICK)
    with pytest.raises(InvalidValueError, match="models: found none"):
        ca.learning_curve({}, train, test)
    with pytest.raises(InvalidValueError, match=r"sizes: found \[999999\]"):
        ca.learning_curve({"a": vectors}, train, test, sizes=[999999])
    with pytest.raises(InvalidValueError, match="kind: found 'forest'"):
        ca.learning_curve({"a": vectors}, train, test, kind="forest")
    with pytest.raises(ShapeError, match=r"models\['a'\]: expected \d+ embeddings"):
        ca.learning_curve({"a": vectors[::-1]}, train, test, **QUICK)
    holes = (vectors[0] * np.nan, vectors[1])
    with pytest.raises(InvalidValueError, match="embeddings of train that are not fin"):
        ca.learning_curve({"a": holes}, train, test, **QUICK)
    with pytest.raises(InvalidValueError, match="test: found findings"):
        ca.learning_curve({"a": vectors}, train, test.with_findings(["edema"]))
