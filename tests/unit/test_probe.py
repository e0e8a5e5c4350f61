"""The probe: twelve manners of an estimator, scikit-learn as oracle, bad input."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from carina import Probe, Table
from carina.errors import (
    InvalidValueError,
    NotFittedError,
    ShapeError,
    TrainingError,
)
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

KINDS = {
    "logistic": Probe(),
    "mlp": Probe(kind="mlp", hidden=(16,), epochs=30, batch_size=64, seed=1),
}


def data(n=400, d=6, labels=2, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, d)).astype(np.float32) * 3 + 1
    weights = random.normal(size=(d, labels)) / 3
    noise = random.logistic(size=(n, labels))
    return X, ((X - 1) @ weights + noise > 0.2).astype(float)


@pytest.fixture(params=list(KINDS))
def probe(request):
    return clone(KINDS[request.param])


# The twelve checks.


def test_the_constructor_only_stores():
    odd = ([3], "many")
    assert Probe(hidden=odd).hidden is odd
    assert Probe(C=-1, kind="forest").kind == "forest"


def test_parameters_and_clones_agree(probe):
    params = probe.get_params()
    assert clone(probe).get_params() == params
    assert probe.set_params(C=0.5) is probe
    assert probe.C == 0.5
    with pytest.raises(InvalidValueError, match="no parameter 'c'; there are: model"):
        probe.set_params(c=1)


def test_unfitted_use_is_refused(probe):
    X, y = data()
    for use in (probe.predict, probe.predict_proba, probe.decision_function):
        with pytest.raises(NotFittedError, match="call fit first"):
            use(X)
    with pytest.raises(NotFittedError):
        probe.score(X, y)
    with pytest.raises(NotFittedError):
        probe.save("nowhere")


def test_fit_returns_the_probe_and_a_refit_forgets(probe):
    X, y = data()
    assert probe.fit(X, y) is probe
    first = probe.predict_proba(X)
    probe.calibrate(X, y).thresholds(X, y)
    probe.fit(X[:, :3], y[:, :1])
    assert (probe.n_features_in_, probe.labels_) == (3, ("label_0",))
    probe.fit(X, y)
    np.testing.assert_array_equal(probe.predict_proba(X), first)
    assert set(probe.thresholds_.values()) == {0.5}


def test_predictions_have_the_shape_and_order_of_the_labels(probe):
    X, y = data()
    probe.fit(X, {"edema": y[:, 0], "mass": y[:, 1]})
    assert probe.labels_ == ("edema", "mass")
    assert probe.predict_proba(X).shape == (400, 2)
    assert probe.predict(X).dtype == np.int64
    assert set(np.unique(probe.predict(X))) == {0, 1}
    probe.fit(X, np.where(y[:, 0] == 1, "sick", "well"))
    assert probe.classes_.tolist() == ["sick", "well"]
    assert probe.decision_function(X).shape == (400,)
    well = probe.predict(X) == "well"
    np.testing.assert_array_equal(well, probe.predict_proba(X)[:, 1] >= 0.5)


def test_probabilities_lie_between_zero_and_one_and_sum_to_one(probe):
    X, y = data()
    p = probe.fit(X, y[:, 0]).predict_proba(X)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    p = probe.predict_proba(X * np.float32(1e6))
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert (p <= 1).all()


def test_inputs_are_not_modified(probe):
    X, y = data()
    before = X.copy(), y.copy()
    probe.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_the_same_seed_gives_the_same_output(probe):
    X, y = data()
    first, second = clone(probe).fit(X, y), clone(probe).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    if probe.kind == "mlp":
        other = clone(probe).set_params(seed=9).fit(X, y)
        assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))


def test_one_row_is_the_same_row_in_a_batch(probe):
    X, y = data()
    probe.fit(X, y)
    one = probe.decision_function(X[7:8])
    np.testing.assert_allclose(one[0], probe.decision_function(X)[7], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda X, y: (X[:, :, None], y), ShapeError, r"X: expected shape \(n, d\)"),
        (lambda X, y: (X[:0], y[:0]), ShapeError, r"X: expected shape \(n, d\) with n"),
        (lambda X, y: (X, y[:-1]), ShapeError, r"y: expected shape \(400, labels\)"),
        (lambda X, y: (X, y[:, :0]), ShapeError, "y: expected shape"),
        (lambda X, y: (X, y[:, :, None]), ShapeError, "y: expected shape"),
        (lambda X, y: (X, {}), ShapeError, "y: expected at least one column"),
        (lambda X, y: (X * np.nan, y), InvalidValueError, "X: row 0, feature 0 is NaN"),
        (lambda X, y: (X.astype(str), y + 0.5), InvalidValueError, "y: row 0 holds"),
        (lambda X, y: ([["a"]], y), InvalidValueError, "X: not an array of numbers"),
        (lambda X, y: (X, y * 0), InvalidValueError, "label label_0 has 0 positive"),
        (lambda X, y: (X, np.arange(400) % 3), InvalidValueError, "found 3 classes"),
        (lambda X, y: (X, np.ones(400)), InvalidValueError, "400 positive and 0 neg"),
    ],
)
def test_a_wrong_argument_names_itself(change, error, text, probe):
    with pytest.raises(error, match=text):
        probe.fit(*change(*data()))


def test_saving_and_loading_change_no_prediction(probe, tmp_path):
    X, y = data()
    probe.fit(X, pd.DataFrame(y, columns=["edema", "mass"])).calibrate(X, y)
    probe.thresholds(X, y, sensitivity=0.9)
    probe.save(tmp_path / "p")
    probe.save(tmp_path / "p")
    assert len(list((tmp_path / "p").iterdir())) == 2
    loaded = Probe.load(tmp_path / "p")
    for one in (loaded, pickle.loads(pickle.dumps(probe))):
        np.testing.assert_array_equal(one.predict_proba(X), probe.predict_proba(X))
        np.testing.assert_array_equal(one.predict(X), probe.predict(X))
        assert one.labels_ == probe.labels_
    assert loaded.get_params() == probe.get_params()


# The oracle.


@pytest.mark.parametrize(("C", "weight"), [(1.0, None), (0.01, None), (10, "balanced")])
def test_coefficients_agree_with_sklearn(C, weight):
    X, y = data(n=700, d=12)
    ours = Probe(C=C, class_weight=weight).fit(X, y)
    scaler = StandardScaler().fit(X)
    for label in range(2):
        theirs = LogisticRegression(C=C, class_weight=weight, tol=1e-8, max_iter=1000)
        theirs.fit(scaler.transform(X), y[:, label])
        coefficients = theirs.coef_[0] / scaler.scale_
        np.testing.assert_allclose(ours.coef_[label], coefficients, atol=1e-3)
        p = theirs.predict_proba(scaler.transform(X))[:, 1]
        np.testing.assert_allclose(ours.predict_proba(X)[:, label], p, atol=1e-3)
    logits = X @ ours.coef_.T + ours.intercept_
    np.testing.assert_allclose(ours.decision_function(X), logits, atol=1e-3)


def test_more_features_than_rows_still_converge():
    X, y = data(n=60, d=600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = Probe(C=0.1, standardize=False).fit(X, y[:, 0])
    theirs = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(X, y[:, 0])
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_too_few_steps_are_said():
    X, y = data()
    with pytest.warns(UserWarning, match="label_0, label_1 did not converge in 1 step"):
        Probe(max_iter=1).fit(X, y)


# Missing and uncertain truth.


def test_an_unknown_label_leaves_the_others_alone(probe):
    X, y = data()
    holes = y.copy()
    holes[::3, 0] = np.nan
    if probe.kind == "logistic":
        full, masked = clone(probe).fit(X, y), clone(probe).fit(X, holes)
        np.testing.assert_array_equal(full.coef_[1], masked.coef_[1])
        dropped = clone(probe).set_params(standardize=False)
        kept = np.arange(400) % 3 != 0
        alone = clone(dropped).fit(X[kept], y[kept, 0])
        np.testing.assert_allclose(
            dropped.fit(X, holes).coef_[0], alone.coef_[0], atol=1e-5
        )
    else:
        assert probe.fit(X, holes).score(X, y) > 0.8


@pytest.mark.parametrize(
    ("classes", "hole"),
    [
        ((1.0, 2.0), np.nan),
        ((1, 2), None),
        (("sick", "well"), np.nan),
        (("sick", "well"), None),
        (("sick", "well"), pd.NA),
        ((0, 1), None),
        ((0, 1), pd.NA),
        ((False, True), None),
    ],
)
def test_an_unknown_class_takes_no_part(classes, hole):
    X, y = data(n=60)
    named = [classes[int(label)] for label in y[:, 0]]
    named[::3] = [hole] * 20
    kept = np.arange(60) % 3 != 0
    probe = Probe(standardize=False)
    alone = clone(probe).fit(X[kept], y[kept, 0])
    for given in (named, np.array(named, dtype=object), pd.Series(named)):
        probe.fit(X, given)
        assert probe.classes_.tolist() == list(classes)
        np.testing.assert_allclose(probe.coef_, alone.coef_, atol=1e-5)
        assert probe.score(X, given) == alone.score(X[kept], y[kept, 0])


def test_labels_that_are_no_numbers_are_named_by_their_column():
    X, y = data(n=4)
    words = {"edema": y[:, 0], "mass": ["no", "yes", "no", "yes"]}
    for table in (words, Table(words), pd.DataFrame(words)):
        with pytest.raises(
            InvalidValueError, match="y: column 'mass': not an array of numbers"
        ):
            Probe().fit(X, table)
    with pytest.raises(InvalidValueError, match="y: not an array of labels"):
        Probe().fit(X, [[1], [0, 1], [1], [0]])


def test_uncertain_labels_follow_the_policy():
    X, y = data()
    uncertain = y[:, 0].copy()
    uncertain[uncertain == 1] = np.where(np.arange((y[:, 0] == 1).sum()) % 2, 1, -1)
    ones = Probe(policy="ones").fit(X, uncertain)
    np.testing.assert_allclose(ones.coef_, Probe().fit(X, y[:, 0]).coef_)
    zeros = Probe(policy="zeros").fit(X, uncertain)
    assert zeros.predict_proba(X)[:, 1].mean() < ones.predict_proba(X)[:, 1].mean()


def test_columns_are_found_by_name_whatever_their_order(probe):
    X, y = data()
    frame = pd.DataFrame(y, columns=["edema", "mass"])
    probe.fit(X, frame)
    assert probe.score(X, frame[["mass", "edema"]]) == probe.score(X, y)
    assert probe.score(X, Table({"mass": y[:, 1], "edema": y[:, 0]})) == probe.score(
        X, y
    )
    with pytest.raises(InvalidValueError, match="y: no column for mass"):
        probe.score(X, frame[["edema"]])


# The rest of its life.


def test_early_stopping_looks_at_whole_patients_and_keeps_its_history():
    X, y = data(n=300)
    groups = np.repeat([f"p{i}" for i in range(100)], 3)
    probe = Probe(kind="mlp", hidden=(64,), epochs=150, patience=5, learning_rate=1e-2)
    probe.fit(X, y, groups=groups)
    assert len(probe.history_) < 150
    assert probe.history_[0]["validation_loss"] > 0
    with pytest.raises(ShapeError, match=r"groups: expected shape \(300,\)"):
        probe.fit(X, y, groups=groups[:5])


def test_a_network_learns_what_no_line_separates():
    X, _ = data(n=1500, d=2)
    y = ((X - 1) ** 2).sum(axis=1) > 14
    network = Probe(kind="mlp", hidden=(32, 16), epochs=150, learning_rate=5e-3).fit(
        X, y
    )
    assert network.score(X, y) > 0.95
    assert Probe().fit(X, y).score(X, y) < 0.7
    with pytest.raises(AttributeError, match="no coefficients"):
        _ = network.coef_


def test_calibration_mends_a_distorted_scale():
    X, y = data(n=4000)
    probe = Probe(C=1e3).fit(X[:30], y[:30])
    before = probe.evaluate(X[2000:], y[2000:], metrics=("ece", "auroc"), n=5)
    probe.calibrate(X[30:2000], y[30:2000])
    after = probe.evaluate(X[2000:], y[2000:], metrics=("ece", "auroc"), n=5)
    assert after.get("ece").value < 0.5 * before.get("ece").value
    assert after.get("auroc").value == pytest.approx(before.get("auroc").value)


def test_thresholds_reach_their_wish_and_change_predictions(probe):
    X, y = data()
    probe.fit(X, y)
    table = probe.thresholds(X, y, sensitivity=0.95)
    assert table.columns == ("label", "threshold", "sensitivity", "specificity")
    assert (table["sensitivity"] >= 0.95).all()
    found = probe.evaluate(X, y, metrics=("sensitivity",), n=5)
    assert found.get("sensitivity", "label_0").value == table["sensitivity"][0]
    assert (probe.predict(X)[y == 1] == 1).mean() >= 0.95
    with pytest.raises(InvalidValueError, match="give one of them"):
        probe.thresholds(X, y, sensitivity=0.9, specificity=0.9)


def test_evaluation_carries_the_protocol(probe):
    X, y = data()
    result = probe.fit(X, y).evaluate(X, y, groups=np.arange(400) // 2, n=20, seed=3)
    assert result.protocol.name == f"{probe.kind} probe"
    assert (result.protocol.seed, result.protocol.clusters) == (3, 200)
    assert result.get("auroc").value == pytest.approx(probe.score(X, y))


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"kind": "forest"}, InvalidValueError, "kind: got 'forest'"),
        ({"C": 0}, InvalidValueError, "C: got 0, expected a positive number"),
        ({"class_weight": "even"}, InvalidValueError, "class_weight: got 'even'"),
        ({"policy": "drop"}, InvalidValueError, 'policy: found "drop"'),
        ({"kind": "mlp", "hidden": ()}, InvalidValueError, r"hidden: got \[\]"),
        ({"kind": "mlp", "dropout": 1}, InvalidValueError, "dropout: got 1"),
        ({"kind": "mlp", "epochs": 0}, InvalidValueError, "epochs: got 0"),
        ({"kind": "mlp", "learning_rate": 1e30}, TrainingError, "lower learning_rate"),
    ],
)
def test_parameters_without_meaning_are_named(params, error, text):
    with pytest.raises(error, match=text):
        Probe(**params).fit(*data())


def test_the_repr_shows_what_differs_from_the_defaults():
    assert repr(Probe(C=0.5, kind="mlp")) == "Probe(kind='mlp', C=0.5)"
    X, y = data()
    page = Probe().fit(X, {"edema": y[:, 0]})._repr_html_()
    assert "6 features, labels: edema" in page


# Within scikit-learn.


def test_it_works_in_pipelines_searches_and_cross_validation(probe):
    X, y = data()
    assert is_classifier(probe)
    one = y[:, 0].astype(int)
    folds = GroupKFold(3)
    groups = np.arange(400) // 4
    found = cross_val_score(probe, X, one, cv=folds, groups=groups)
    assert found.shape == (3,)
    assert (found > 0.7).all()
    pipeline = make_pipeline(StandardScaler(), probe)
    found = cross_val_score(pipeline, X, one, scoring="roc_auc", cv=3)
    assert (found > 0.7).all()
    several = cross_val_score(probe, X, y, scoring="roc_auc", cv=3)
    assert (several > 0.7).all()
    pipeline.fit(X, one)
    assert "Probe" in repr(pipeline)


def test_a_grid_search_chooses_a_regularisation():
    X, y = data(n=200, d=40)
    search = GridSearchCV(Probe(), {"C": [1e-4, 1e-2, 1.0]}, cv=3)
    search.fit(X, y[:, 0].astype(int))
    assert search.best_params_["C"] in (1e-4, 1e-2, 1.0)
    assert search.best_estimator_.predict(X).shape == (200,)


def test_a_calibration_that_turns_the_order_around_says_so():
    X, y = data()
    probe = Probe().fit(X, Table({"edema": y[:, 0], "mass": y[:, 1]}))
    with pytest.warns(UserWarning, match="turned the order of mass around"):
        probe.calibrate(X, np.column_stack([y[:, 0], 1 - y[:, 1]]))
