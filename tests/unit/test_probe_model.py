"""A probe with a model, and with a data set that brings its own truth."""

import carina as ca
import numpy as np
import pytest
from carina import Probe
from carina.errors import InvalidValueError


def data():
    random = np.random.default_rng(0)
    X = (random.normal(size=(400, 2)) * 3 + 1).astype(np.float32)
    return X, (X + random.normal(scale=3, size=X.shape) > 1).astype(float)


class Encoder:
    """A model as the probe sees it: three vectors a film, and a fingerprint."""

    def __init__(self, fingerprint="recipe-1"):
        self.fingerprint = fingerprint

    def encode(self, films):
        base = np.array([[f["a"], f["b"]] for f in films], dtype=np.float32)
        return np.stack([base - 1, base, base + 1], axis=1)


def films(X):
    return [{"a": row[0], "b": row[1]} for row in X]


def test_a_model_encodes_and_its_vectors_are_averaged():
    X, y = data()
    probe = Probe(Encoder()).fit(films(X), y)
    np.testing.assert_allclose(probe.coef_, Probe().fit(X, y).coef_, rtol=1e-4)
    assert probe.score(films(X), y) == pytest.approx(probe.score(X, y), abs=1e-6)
    assert "Encoder" in repr(probe)
    assert "recipe" not in repr(probe)


def test_a_data_set_brings_its_labels_their_names_and_its_patients():
    films = ca.phantom(60, seed=3, size=32, progress=False)
    model = ca.create("elixr", image_size=32)
    features = model.encode(films, progress=False)
    probe = Probe(model, progress=False).fit(films)
    assert list(probe.labels_) == films.findings
    plain = Probe(progress=False).fit(features, films.labels)
    np.testing.assert_allclose(probe.coef_, plain.coef_, rtol=1e-6)
    named = Probe(model, progress=False).fit(films, films.labels)
    assert named.labels_ == probe.labels_
    own = probe.evaluate(films, n=20)
    given = plain.evaluate(features, films.labels, groups=films.patients, n=20)
    assert own.protocol.clusters == given.protocol.clusters == len(set(films.patients))
    edema = own.get("auroc", "edema")
    assert (
        edema.value
        == given.get("auroc", f"label_{films.findings.index('edema')}").value
    )
    one = films.with_findings({"edema": "edema"})
    single = Probe(model, progress=False).fit(one)
    assert (single.classes_.tolist(), single.labels_) == ([0, 1], ("edema",))
    assert single.evaluate(one, n=20).rows[0].finding == "edema"
    same = Probe(model, progress=False).fit(one, one.labels)
    assert same.labels_ == ("edema",)
    assert same.score(one, one.labels) == single.score(one, one.labels)
    bare = films.with_findings([])
    with pytest.raises(InvalidValueError, match="dataset: found no findings; give y="):
        Probe(model, progress=False).fit(bare)
    labels = films.labels[:, films.findings.index("edema")]
    assert Probe(model, progress=False).fit(bare, labels).labels_ == ("label",)
    with pytest.raises(InvalidValueError, match="only a Dataset brings its own"):
        Probe().fit(features)


def test_vectors_of_another_recipe_are_refused(tmp_path):
    X, y = data()
    probe = Probe(Encoder()).fit(films(X), y)
    probe.save(tmp_path)
    assert Probe.load(tmp_path, Encoder()).recipe_hash_ == "recipe-1"
    with pytest.raises(InvalidValueError, match="fingerprint is 'recipe-2'"):
        Probe.load(tmp_path, Encoder("recipe-2"))
    probe.set_params(model=Encoder("recipe-2"))
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        probe.predict(films(X))
