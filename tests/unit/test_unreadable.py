"""Films that cannot be read: left out of scores and indexes, and counted."""

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError


@pytest.fixture(scope="module")
def films():
    return ca.phantom(32, seed=3, size=32, progress=False)


@pytest.fixture(scope="module")
def trained(films):
    model = ca.create("elixr", size="tiny", image_size=32, seed=0, embedding=8)
    ca.train(model, films, "supervised", epochs=1, batch_size=16, progress=False)
    return model


def with_broken(tmp_path, films, broken):
    """The same films, some of them as files that cannot be read."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    rows = [
        {
            "study": f"study-{row}",
            "patient": f"patient-{row}",
            "image": "broken.png" if row in broken else study.images[0],
            **study.labels,
        }
        for row, study in enumerate(films)
    ]
    return ca.open_dataset(rows, root=tmp_path, findings=films.findings, progress=False)


@pytest.mark.parametrize("protocol", ["zero_shot", "classify"])
@pytest.mark.filterwarnings("ignore:.*its values are NaN")
def test_films_that_cannot_be_read_are_left_out_and_counted(
    trained, films, tmp_path, protocol
):
    options = {"n": 20, "progress": False}
    part = with_broken(tmp_path, films[:20], [3])
    found = ca.evaluate(trained, part, protocol, **options)
    kept = [row for row in range(20) if row != 3]
    whole = ca.evaluate(trained, films[kept], protocol, **options)
    assert [r.value for r in found] == pytest.approx(
        [r.value for r in whole], nan_ok=True, abs=1e-6
    )
    assert found.protocol.data == "20 studies; 1 film could not be read"
    two = with_broken(tmp_path, films[:20], [3, 7])
    named = ca.evaluate(trained, two, protocol, data="a set", **options)
    assert named.protocol.data == "a set; 2 films could not be read"
    none = with_broken(tmp_path, films[:2], [0, 1])
    with pytest.raises(
        InvalidValueError, match=r"^dataset: found no film that can be read$"
    ):
        ca.evaluate(trained, none, protocol, **options)


def test_an_index_is_made_without_films_that_cannot_be_read(trained, films, tmp_path):
    part = with_broken(tmp_path, films[:6], [1, 4])
    with pytest.warns(UserWarning, match="films") as warned:
        index = ca.Index.create(tmp_path / "i", trained, part)
    assert [str(warning.message) for warning in warned] == [
        "2 of 6 films cannot be read; the index is made without them"
    ]
    kept = [f"study-{row}" for row in (0, 2, 3, 5)]
    assert sorted(index.search(np.ones(8), k=9)["key"]) == kept
    keys, given = list("abcdef"), {"age": np.arange(6)}
    with pytest.warns(UserWarning, match="2 of 6 films"):
        own = ca.Index.create(tmp_path / "o", trained, part, keys=keys, metadata=given)
    assert sorted(own.search(np.ones(8), k=9, where="age < 4")["key"]) == list("acd")
    none = with_broken(tmp_path, films[:2], [0, 1])
    with pytest.raises(
        InvalidValueError, match=r"^dataset: found no film that can be read$"
    ):
        ca.Index.create(tmp_path / "n", trained, none)
    assert not (tmp_path / "n").exists()
