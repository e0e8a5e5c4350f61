"""Embeddings of CXR Foundation: read from its files, used like our own."""

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError, ShapeError


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def films(n, *shape, seed=0):
    names = [f"{i:08}_000.png" for i in range(n)]
    return names, numbers(n, *shape, seed=seed)


KINDS = {
    "pooled": (1376,),
    "map": (8, 8, 1376),
    "queries": (32, 768),
    "contrastive": (32, 128),
}


@pytest.mark.parametrize(("kind", "shape"), KINDS.items())
def test_an_archive_with_an_array_a_film_keeps_names_and_shapes(tmp_path, kind, shape):
    names, values = films(3, *shape)
    np.savez(tmp_path / "a.npz", **dict(zip(names, values, strict=True)))
    batched = {name: row[None] for name, row in zip(names, values, strict=True)}
    np.savez_compressed(tmp_path / "b.npz", **batched)
    flat = {name: row.ravel() for name, row in zip(names, values, strict=True)}
    np.savez(tmp_path / "c.npz", **flat)
    for file in "abc":
        found = ca.load_embeddings(tmp_path / f"{file}.npz")
        assert (found.ids, found.kind) == (names, kind)
        assert found.values.dtype == np.float32
        np.testing.assert_array_equal(found.values, values)


def test_a_matrix_beside_its_names_and_a_film_a_file_are_read(tmp_path):
    names, values = films(4, 32, 128)
    np.savez(tmp_path / "all.npz", ids=np.array(names), embeddings=values)
    found = ca.load_embeddings(tmp_path / "all.npz")
    assert found.ids == names
    np.testing.assert_array_equal(found, values)
    one = tmp_path / "service"
    one.mkdir()
    for name, row in zip(names, values, strict=True):
        np.savez(one / f"{name}.npz", embedding=row)
    again = ca.load_embeddings(one)
    assert again.ids == names
    np.testing.assert_array_equal(again, values)


def test_records_are_read_without_tensorflow(tmp_path, tf):
    names, values = films(3, 1376)
    file = tmp_path / "films.tfrecord"
    file.write_bytes(
        b"".join(
            tf.framed(tf.example({"image/id": name, "embedding": row, "label": [1.0]}))
            for name, row in zip(names, values, strict=True)
        )
    )
    found = ca.load_embeddings(file)
    assert (found.ids, found.kind) == (names, "pooled")
    np.testing.assert_array_equal(found.values, values)

    folder = tmp_path / "films"
    folder.mkdir()
    for name, row in zip(names, values, strict=True):
        stored = tf.framed(tf.example({"embedding": row}))
        (folder / f"{name.removesuffix('.png')}.tfrecord").write_bytes(stored)
    found = ca.load_embeddings(folder)
    assert found.ids == [name.removesuffix(".png") for name in names]
    paths = sorted(folder.iterdir(), reverse=True)
    assert ca.load_embeddings(paths).ids == found.ids[::-1]


def test_a_probe_takes_them_and_refuses_those_of_another_kind():
    names, values = films(60, 32, 128)
    labels = (values.mean(axis=(1, 2)) > 0).astype(int)
    embeddings = ca.Embeddings(names, values, kind="contrastive")
    probe = ca.Probe(C=1e3).fit(embeddings, labels)
    assert probe.recipe_hash_ == "cxr-foundation:contrastive"
    np.testing.assert_array_equal(
        probe.predict(embeddings), probe.predict(values.mean(axis=1))
    )
    assert (probe.predict(embeddings[:40]) == labels[:40]).mean() > 0.9
    other = ca.Embeddings(names, values, kind="queries")
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        probe.predict(other)
    model = ca.create("elixr")
    with pytest.raises(InvalidValueError, match="these embeddings"):
        ca.Probe(model).fit(embeddings, labels)


def test_an_index_keeps_their_names_and_where_they_come_from(tmp_path):
    names, values = films(20, 32, 128)
    embeddings = ca.Embeddings(names, values, kind="contrastive")
    index = ca.Index.create(tmp_path / "films", vectors=embeddings[:15])
    index.add(embeddings[15:], metadata={"view": ["PA"] * 5})
    index = ca.Index.open(tmp_path / "films")
    assert index.fingerprint == "cxr-foundation:contrastive"
    assert len(index) == 20
    query = values[17, 5]
    found = index.search(query, k=3)
    assert found["key"][0] == names[17]
    best = embeddings.similarity(query)
    np.testing.assert_allclose(found["score"], np.sort(best)[::-1][:3], atol=1e-5)
    assert index.search(embeddings[3:5], k=1)["key"].tolist() == names[3:5]

    pooled = ca.Embeddings(names, values.mean(axis=1), kind="pooled")
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        index.search(pooled)
    more = ca.Embeddings(["x"], values[:1], kind="contrastive", recipe="other")
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        index.add(more)
    model = ca.create("elixr")
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        ca.Index.open(tmp_path / "films", model)
    with pytest.raises(InvalidValueError, match="these embeddings"):
        ca.Index.create(tmp_path / "mixed", model, vectors=embeddings)
    ours = ca.Index.create(tmp_path / "ours", model, dimension=128)
    with pytest.raises(InvalidValueError, match="cannot be mixed"):
        ours.add(more)
    with pytest.raises(InvalidValueError, match="expected a name for each row"):
        index.add(values)


def test_an_index_that_knows_no_model_takes_no_embeddings(tmp_path):
    names, values = films(4, 1376)
    embeddings = ca.Embeddings(names, values, kind="pooled")
    bare = ca.Index.create(tmp_path / "bare", vectors=values, keys=list("abcd"))
    empty = ca.Index.create(tmp_path / "empty", dimension=1376)
    advice = r"does not know which model .*make it by Index\.create\(path, vectors="
    for index in (bare, empty):
        with pytest.raises(InvalidValueError, match=advice):
            index.add(embeddings)
        with pytest.raises(InvalidValueError, match=advice):
            index.search(embeddings)
        index.add(values, keys=names)
    assert bare.search(values[1], k=1)["score"][0] == pytest.approx(1)
    assert len(empty) == 4


def test_similarity_is_the_largest_cosine_over_a_films_vectors():
    names, values = films(5, 32, 128)
    embeddings = ca.Embeddings(names, values, kind="contrastive")
    queries = numbers(3, 128, seed=1)
    length = np.linalg.norm
    cosines = np.einsum("nvd,md->nvm", values, queries)
    cosines /= length(values, axis=2)[:, :, None] * length(queries, axis=1)
    np.testing.assert_allclose(
        embeddings.similarity(queries), cosines.max(axis=1), atol=1e-5
    )
    with pytest.raises(ShapeError, match=r"expected shape \(m, 128\)"):
        embeddings.similarity(numbers(7))


def test_films_are_chosen_by_name_and_shown_without_them():
    names, values = films(5, 1376)
    embeddings = ca.Embeddings(names, values, kind="pooled")
    chosen = embeddings.take([names[3], names[0]])
    assert chosen.ids == [names[3], names[0]]
    np.testing.assert_array_equal(chosen.pooled, values[[3, 0]])
    with pytest.raises(InvalidValueError, match="1 of 2 are not there"):
        embeddings.take([names[0], "nobody"])
    assert repr(chosen) == "Embeddings(2 films, pooled 1376, cxr-foundation)"
    assert names[0] not in embeddings._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        embeddings.values[0] = 0
    assert not np.shares_memory(embeddings.values, values)


def test_names_that_repeat_and_numbers_that_are_none_are_refused():
    names, values = films(2, 1376)
    with pytest.raises(InvalidValueError, match="some are there twice"):
        ca.Embeddings(["a", "a"], values, kind="pooled")
    with pytest.raises(ShapeError, match="ids: expected 2, got 1"):
        ca.Embeddings(["a"], values, kind="pooled")
    for wrong in ([["a"], ["b"]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(InvalidValueError, match="values: not an array of numbers"):
            ca.Embeddings(names, wrong, kind="pooled")
    found = ca.Embeddings(names, values, kind="pooled")
    with pytest.raises(InvalidValueError, match="queries: not an array of numbers"):
        found.similarity(["effusion"])
    values[1, 7] = np.nan
    with pytest.raises(InvalidValueError, match="row 1 has others"):
        ca.Embeddings(names, values, kind="pooled")
    with pytest.raises(ShapeError, match="with n > 0"):
        ca.Embeddings([], np.zeros((0, 3)), kind="pooled")
