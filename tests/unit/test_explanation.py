"""Maps of what a phrase is told by."""

import carina as ca
import numpy as np
import pytest


class Seeing:
    """Says a phrase as loudly as a part of the film is bright."""

    def __init__(self, rows, columns):
        self.part = (rows, columns)

    def encode(self, films, **_):
        bright = [film.to_numpy()[self.part].mean() / 1000 for film in films]
        return np.array([[[b, 0.5, 0]] for b in bright], dtype=np.float32)

    def encode_text(self, texts):
        return np.eye(3, dtype=np.float32)[: len(texts)]


@pytest.mark.parametrize("shape", [(90, 60), (31, 64), (5, 40)])
def test_the_map_points_at_what_the_phrase_is_told_by(shape):
    rows, columns = slice(0, shape[0] // 3), slice(shape[1] // 2, None)
    pixels = np.zeros(shape, np.float32)
    pixels[rows, columns] = 1000
    for against in (None, "no such thing"):
        found = ca.phrase_map(
            Seeing(rows, columns), pixels, "bright", against=against, progress=False
        )
        assert (found.shape, found.dtype) == (shape, np.float32)
        outside = pixels == 0
        assert found[~outside].mean() > 2.5 * found[outside].mean()
        inside = np.unravel_index(found.argmax(), shape)
        assert pixels[inside] == 1000


def test_a_real_model_is_asked_with_the_film_as_it_is():
    model = ca.create("elixr", image_size=32, text={"depth": 1})
    [study] = ca.phantom(1, seed=2, size=48, progress=False)
    found = ca.phrase_map(model, study, "effusion", grid=4, progress=False)
    assert found.shape == study.images[0].shape
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phrase": " "}, "phrase: found an empty text, expected words"),
        ({"against": ""}, "phrase: found an empty text, expected words"),
        ({"grid": 1}, "grid: found 1, expected 2 to 64"),
        ({"reach": 0}, "reach: found 0, expected 1 to 12"),
    ],
)
def test_what_means_nothing_is_named(change, message):
    given = {"phrase": "a", "film": np.zeros((8, 8), np.float32)} | change
    with pytest.raises(ca.CarinaError) as caught:
        ca.phrase_map(Seeing(slice(2), slice(2)), **given)
    assert str(caught.value) == message
