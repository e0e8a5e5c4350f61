"""Films from rasters and arrays, and what a film can do."""

import pickle

import carina as ca
import numpy as np
import pytest
from PIL import Image as Pil


def test_sixteen_bit_files_are_exact(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (31, 17), dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        Pil.fromarray(pixels).save(tmp_path / name)
        film = ca.read(tmp_path / name)
        np.testing.assert_array_equal(film.to_numpy(), pixels)
        assert film.range == (0, 65535)


def test_colours_become_the_luma_of_pil_and_transparency_goes(tmp_path):
    rgba = np.random.default_rng(1).integers(0, 256, (9, 8, 4), dtype=np.uint8)
    Pil.fromarray(rgba).save(tmp_path / "a.png")
    film = ca.read(tmp_path / "a.png")
    grey = np.asarray(Pil.fromarray(rgba[..., :3]).convert("L"))
    np.testing.assert_array_equal(film.to_numpy(), grey)
    assert "transparency dropped" in film.history
    assert "colours reduced to luma (ITU-R BT.601)" in film.history


def test_a_jpeg_is_within_a_level_and_its_orientation_is_noted(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    exif = Pil.Exif()
    exif[0x0112] = 6
    Pil.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, exif=exif)
    film = ca.read(tmp_path / "a.jpg")
    reference = np.asarray(Pil.open(tmp_path / "a.jpg"), float)
    assert np.abs(film.to_numpy() - reference).max() <= 1
    assert "EXIF orientation 6 not applied" in film.history


def test_the_content_decides_the_format_not_the_name(tmp_path):
    Pil.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    assert ca.read(tmp_path / "a.dcm").history[0].startswith("PNG, 4 x 4")


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.ones((3, 4), np.uint8), (0, 255)),
        (np.ones((3, 4), np.uint16), (0, 65535)),
        (np.ones((3, 4), bool), (0, 1)),
        (np.asfortranarray(np.ones((3, 4))), None),
        ([[1, 2], [3, 4]], None),
    ],
)
def test_arrays_of_any_kind_become_films(pixels, expected):
    film = ca.read(pixels)
    np.testing.assert_array_equal(film.to_numpy(), np.asarray(pixels, np.float32))
    assert film.range == expected


def test_to_numpy_shares_memory_and_is_read_only():
    film = ca.read(np.arange(12.0).reshape(3, 4))
    first, second = film.to_numpy(), film.to_numpy()
    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1
    del film
    np.testing.assert_array_equal(first, np.arange(12.0).reshape(3, 4))


def test_a_film_reads_as_itself_and_converts_for_numpy():
    film = ca.read(np.eye(3))
    assert ca.read(film) is film
    np.testing.assert_array_equal(np.asarray(film), np.eye(3))
    assert np.asarray(film, dtype=np.float64).dtype == np.float64


def test_a_film_survives_pickling():
    film = ca.read(np.arange(6, dtype=np.uint8).reshape(2, 3))
    again = pickle.loads(pickle.dumps(film))
    np.testing.assert_array_equal(again.to_numpy(), film.to_numpy())
    assert (again.range, again.history) == (film.range, film.history)


def test_save_png_spreads_the_range_over_sixteen_bits(tmp_path):
    ca.read(np.array([[0, 255], [51, 102]], np.uint8)).save_png(tmp_path / "a.png")
    saved = ca.read(tmp_path / "a.png").to_numpy()
    np.testing.assert_array_equal(saved, [[0, 65535], [13107, 26214]])


def test_the_notebook_view_is_a_small_picture_with_the_history():
    film = ca.read(np.zeros((800, 400), np.uint8))
    page = film._repr_html_()
    assert "data:image/png;base64," in page
    assert "<li>array of uint8</li>" in page
    assert len(page) < 20_000
    assert repr(film) == "Image(800 x 400, range 0 to 255)"


def test_plot_draws_into_the_axes_given():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    assert ca.read(np.eye(4)).plot(ax=ax) is ax
    assert ax.images[0].get_array().shape == (4, 4)
    pyplot.close(figure)
