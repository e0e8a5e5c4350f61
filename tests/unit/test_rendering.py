"""Films and volumes as pictures: true to size, named, clear about what is drawn."""

import base64
import io
import itertools
import re
import subprocess
import sys

import carina as ca
import numpy as np
import pytest
from PIL import Image as Pil

ORANGE, BLUE = (230, 159, 0), (86, 180, 233)


def pictures(shown):
    """Decode the pictures of a page, those of the legend last."""
    found = re.findall(r"base64,([^']+)'", shown._repr_html_())
    return [np.asarray(Pil.open(io.BytesIO(base64.b64decode(part)))) for part in found]


def scan(shape=(9, 15, 21), spacing=(4.0, 2.0, 1.0), **facts):
    hu = np.random.default_rng(0).integers(-1000, 500, shape)
    return ca.Volume.from_array(hu, spacing=spacing, modality="CT", **facts)


def film(shape=(64, 64), **facts):
    pixels = np.random.default_rng(0).random(shape, dtype=np.float32)
    return ca.Image(ca._core.Image(pixels, range=(0.0, 1.0), **facts))


def test_a_film_is_shown_with_square_millimetres_and_its_sides():
    tall = film((100, 50), spacing=(1.0, 4.0), orientation="LI", view="PA")
    shown = tall.show(side=200)
    assert pictures(shown)[0].shape == (100, 200)
    page = shown._repr_html_()
    assert re.search(r"S<br>R <img [^>]*> L<br>I", page)
    assert "PA, 1 x 4 mm" in page
    assert "shown from 0 to 1" in page
    unknown = film((100, 50)).show()._repr_html_()
    assert "pixels taken as square" in unknown
    assert "<br>" not in unknown.split("</td>")[0]


def test_small_films_are_enlarged_eight_times_at_most():
    assert pictures(film((4, 6)).show())[0].shape == (32, 48)
    assert pictures(film((400, 100)).show(side=64))[0].shape == (64, 16)


def test_a_film_shows_its_range_and_any_window():
    ramp = ca.read(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))
    np.testing.assert_array_equal(
        pictures(ramp.show(side=64))[0][0], ramp.to_numpy()[0]
    )
    narrow = ramp.show((100, 104), side=64)
    assert set(pictures(narrow)[0][0].tolist()) == {0, 255}
    assert "shown from 100 to 104" in repr(narrow)
    with pytest.raises(ca.CarinaError, match="names are for CT, found 'lung'"):
        ramp.show("lung")
    slice_ = film(modality="CT")
    assert "window lung, -1350 to 150 HU" in repr(slice_.show("lung"))


def test_planes_of_a_volume_share_a_scale_that_is_true():
    axial, coronal, sagittal = pictures(scan().show(side=42))
    # 36 mm high, 30 mm deep, 21 mm wide.
    assert axial.shape == (35, 24)
    assert coronal.shape == (42, 24)
    assert sagittal.shape == (42, 35)


def test_a_volume_is_shown_the_same_way_however_its_axes_point():
    upright = scan()
    mask = upright.to_numpy() > 300
    box = (1, 2, 3, 7, 9, 12)
    heat = upright.to_numpy() ** 2
    first = upright.show(boxes=box, masks=mask, heatmap=heat)
    others = itertools.product("LR", "PA", "SI")
    for letters in (p for o in others for p in itertools.permutations(o)):
        turned = upright.reorient("".join(letters))
        there = turned.geometry
        shown = turned.show(
            boxes=there.box_to_model(box),
            masks=there.mask_to_model(mask),
            heatmap=turned.to_numpy() ** 2,
        )
        for one, two in zip(pictures(first), pictures(shown), strict=True):
            np.testing.assert_array_equal(one, two)


def test_planes_are_those_of_the_patient_and_say_where_they_are():
    hu = np.full((5, 5, 5), -1000.0)
    hu[4, 0, 3:] = 1000  # high, in front, left
    volume = ca.Volume.from_array(
        hu, spacing=(2, 2, 2), origin=(-10, 4, -30), modality="CT"
    )
    page = volume.show((-1000, 1000), at=(4, 0, 3))
    axial, coronal, sagittal = pictures(page)
    assert axial[0, -1] == coronal[0, -1] == sagittal[0, 0] == 255
    assert axial[-1, -1] == axial[0, 0] == coronal[-1, -1] == sagittal[0, -1] == 0
    text = page._repr_html_()
    assert "axial, z = 4 (I 22.0 mm)<br>A<br>R <img" in text
    assert "coronal, y = 0 (P 4.0 mm)<br>S<br>R <img" in text
    assert "sagittal, x = 3 (R 4.0 mm)<br>S<br>A <img" in text
    assert "window -1000 to 1000 HU" in text


def test_the_window_of_a_volume_is_named():
    volume = scan()
    assert "window lung, -1350 to 150 HU" in repr(volume.show())
    assert "window bone, -500 to 1300 HU" in repr(volume.montage(window="bone"))
    # In a window, and without a modality, there are no Hounsfield units.
    assert "window -500 to 1300, to [0, 1]" in repr(volume.window("bone").show())
    other = ca.Volume.from_array(volume.to_numpy(), spacing=(1, 1, 1))
    assert "shown from -1000 to 499" in repr(other.show())
    expected = "expected one of lung, mediastinum, bone, cancer, heart, found 'brain'"
    with pytest.raises(ca.CarinaError, match=expected):
        volume.show("brain")


def test_a_montage_goes_from_head_to_feet():
    volume = scan()
    page = volume.montage(3, columns=2, side=42)._repr_html_()
    assert re.findall(r"axial, z = (\d) [^)]*\)<br>", page) == ["7", "4", "1"]
    assert page.count("<tr>") == 2
    across = volume.montage(3, plane="sagittal")._repr_html_()
    assert re.findall(r"x = (\d+) [^)]*\)<br>", across) == ["3", "10", "17"]
    assert len(pictures(volume.montage(100))) == 9
    for letters, first in (("LPS", 2), ("LPI", 4)):
        some = volume.reorient(letters).montage(9, between=(first, first + 3))
        named = re.findall(r"z = (\d) [^)]*\)<br>", some._repr_html_())
        assert sorted(named) == [str(first + i) for i in range(3)]
        assert "S 16.0 mm" in some._repr_html_().split("<img")[0]


def test_boxes_stand_where_they_belong():
    shown = film().show(boxes={"mass": (10, 20, 30, 40), "none": None}, side=64)
    canvas, *swatches = pictures(shown)
    orange = (canvas == ORANGE).all(-1)
    frame = np.zeros_like(orange)
    frame[20:40, 10:30] = True
    frame[21:39, 11:29] = False
    np.testing.assert_array_equal(orange, frame)
    assert (swatches[0] == ORANGE).all()
    assert (swatches[1] == BLUE).all()
    page = shown._repr_html_()
    assert "> mass &nbsp;" in page
    assert "> none (not found)" in page


def test_boxes_of_a_volume_are_in_the_planes_that_cut_them():
    volume = scan()
    boxes = {"organ": (2, 3, 4, 6, 9, 12)}
    inside = volume.show(boxes=boxes, at=(2, 5, 8))
    assert all((p == ORANGE).all(-1).any() for p in pictures(inside))
    above = volume.show(boxes=boxes, at=(6, 5, 8))
    axial, coronal, _, _ = pictures(above)
    assert axial.ndim == 2  # grey: nothing lies over it
    assert (coronal == ORANGE).all(-1).any()
    away = volume.show(boxes=boxes, at=(0, 0, 0))._repr_html_()
    assert "organ (not in these planes)" in away
    assert re.search(
        r"z = 4 .*y = 6 .*x = 8 ", volume.show(at="organ", boxes=boxes)._repr_html_()
    )


def test_masks_are_filled_and_outlined_and_small_ones_stay():
    flat = ca.read(np.full((64, 64), 100, np.uint8))
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:40] = True
    canvas = pictures(flat.show(masks={"lesion": mask}, side=64))[0]
    assert tuple(canvas[10, 30]) == ORANGE
    np.testing.assert_allclose(canvas[15, 35], 75 + np.array(ORANGE) / 4, atol=1)
    assert tuple(canvas[9, 30]) == (100, 100, 100)
    dot = np.zeros((640, 640), bool)
    dot[333, 200] = True
    small = pictures(ca.read(np.zeros((640, 640))).show(masks=dot, side=64))[0]
    assert tuple(small[33, 20]) == ORANGE
    empty = flat.show(masks={"lesion": mask & False})._repr_html_()
    assert "lesion (empty mask)" in empty


def test_what_is_named_first_lies_above():
    one = np.ones((64, 64), bool)
    canvas = pictures(film().show(masks={"a": one, "b": one}, side=64))[0]
    assert tuple(canvas[0, 0]) == ORANGE


def test_a_heat_map_has_a_bar_with_numbers_and_is_clear_where_it_is_low():
    flat = ca.read(np.full((64, 64), 100, np.uint8))
    heat = np.zeros((64, 64))
    heat[:, 32:] = 3
    shown = flat.show(heatmap={"attention": heat}, side=64)
    canvas, bar = pictures(shown)
    assert tuple(canvas[0, 0]) == (100, 100, 100)
    assert canvas[0, -1].tolist() == pytest.approx([191, 190, 138], abs=1)
    page = shown._repr_html_()
    assert re.search(r"attention: 0 <img [^>]*> 3", page)
    light = bar[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(light) >= 0).all()
    wider = flat.show(heatmap=heat, heat_range=(-3, 6))
    assert re.search(r"heat map: -3 <img [^>]*> 6", wider._repr_html_())
    same = flat.show(heatmap=np.ones((64, 64)))
    assert "the same everywhere" in same._repr_html_()
    assert tuple(pictures(same)[0][5, 5]) == (100, 100, 100)


def test_studies_and_organs_are_drawn_as_they_are_handed_out():
    study = ca.phantom(1, seed=3, size=64)[0]
    shown = study.images[0].show(boxes=study.boxes, masks=study.masks)
    for name in ("right lung", "heart", *{box.finding for box in study.boxes}):
        assert f"> {name}" in shown._repr_html_()
    chest = ca.phantom(1, kind="ct", seed=3, size=96, slices=40)[0]
    volume = chest.volumes[0]
    organs = volume.organs()
    page = volume.show("mediastinum", boxes=organs, masks=organs)._repr_html_()
    assert "> right lung &nbsp;" in page
    truth = volume.show(masks=chest.masks, at="heart")
    largest = next(m for m in chest.masks if m.finding == "heart").to_numpy()
    highest = int(largest.sum(axis=(1, 2)).argmax())
    assert f"axial, z = {highest} " in truth._repr_html_()


def test_volumes_as_masks_are_mapped_through_their_geometry(tmp_path):
    volume = scan()
    mask = volume.to_numpy() > 0
    small = volume.resample(2.0)
    expected = small.show(masks=small.geometry.mask_to_model(mask))
    carried = small.show(masks=volume.with_voxels(mask))
    assert carried._repr_html_() == expected._repr_html_()
    volume.with_voxels(mask).save(tmp_path / "mask.nii.gz")
    read = ca.read(tmp_path / "mask.nii.gz")
    again = volume.show(masks=read)
    assert again._repr_html_() == volume.show(masks=mask)._repr_html_()
    heat = small.with_voxels(small.to_numpy() ** 2)
    back = small.geometry.heatmap_to_original(heat)
    assert (
        volume.show(heatmap=heat)._repr_html_()
        == volume.show(heatmap=back)._repr_html_()
    )
    with pytest.raises(
        ca.CarinaError, match="expected that of the picture or a picture"
    ):
        small.show(heatmap=volume)
    other = ca.Volume.from_array(mask, spacing=volume.spacing, origin=(5, 0, 0))
    with pytest.raises(ca.CarinaError, match=r"mask: lies on a grid of .* that is not"):
        volume.show(masks=other)


def test_names_are_text_and_never_markup():
    page = film().show(boxes={"<script>": (1, 1, 2, 2)})._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_volume_shows_itself_with_its_history():
    page = scan()._repr_html_()
    assert page.count("<img") == 3
    assert "<li>array of int64</li>" in page
    assert "Volume(9 x 15 x 21, CT, 4 x 2 x 1 mm, LPS)" in page


def test_galleries_show_ct_as_well():
    page = ca.phantom(2, kind="ct", seed=1, size=48, slices=24).show()._repr_html_()
    assert page.count("data:image/png;base64,") == 2
    assert "cannot be read" not in page


def test_plot_draws_in_the_coordinates_of_the_array():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    one = film((100, 50), spacing=(1.0, 4.0), orientation="LI")
    shown = one.show(boxes={"mass": (1, 2, 3, 4)}, heatmap=one.to_numpy())
    assert shown.plot(ax) is ax
    assert ax.images[0].get_extent() == [0, 50, 100, 0]
    assert ax.get_aspect() == 0.25
    assert [t.get_text() for t in ax.texts] == ["R", "L", "S", "I"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["mass"]
    pyplot.close(figure)
    axes = scan().reorient("RAI").montage(5, plane="coronal").plot()
    assert len(axes) == 5
    assert axes[0].images[0].get_extent() == [21, 0, 9, 0]
    assert axes[0].get_title().startswith("coronal, y = 13 ")
    pyplot.close(axes[0].figure)
    with pytest.raises(ca.CarinaError, match="ax: expected 3 axes, found 1"):
        scan().show().plot(pyplot.figure().subplots())
    pyplot.close("all")
    assert scan().show(heatmap=np.ones((9, 15, 21))).plot().shape == (3,)
    pyplot.close("all")


def test_all_planes_of_a_plot_have_one_scale_however_the_axes_point():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    for letters in ("LPS", "RAI", "SLP"):
        shown = scan().reorient(letters).show(boxes={"a": (1, 1, 1, 5, 5, 5)})
        axes = shown.plot()
        axes[0].figure.canvas.draw()
        scales = []
        for axis, panel in zip(axes, shown.panels, strict=True):
            seen = axis.images[0].get_window_extent()
            scales += [seen.height / panel.size[0], seen.width / panel.size[1]]
        # 36 mm high, 30 mm deep, 21 mm wide.
        assert [panel.size for panel in shown.panels] == [(30, 21), (36, 21), (36, 30)]
        np.testing.assert_allclose(scales, scales[0])
        pyplot.close(axes[0].figure)


def test_a_legend_of_any_length_stays_in_the_figure():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    long = {"a rather long name of a finding": None, "n" * 300: None}
    few = {"mass": None, "nodule": None}
    for boxes, lines in ((few, [1, 1]), (long, [2, 3])):
        figure = film().show(boxes=boxes).plot().figure
        figure.canvas.draw()
        (legend,) = figure.legends
        found = legend.get_window_extent()
        assert 0 <= found.x0 < found.x1 <= figure.bbox.width
        texts = [text.get_text() for text in legend.get_texts()]
        assert [text.count("\n") + 1 for text in texts] == lines
        assert "(not found)" in texts[0].replace("\n", " ")
        pyplot.close(figure)


def test_a_slider_keeps_a_still_picture_for_places_without_a_kernel(monkeypatch):
    from carina.rendering import slider

    shown = scan().slider(window="bone", boxes={"organ": (1, 1, 1, 5, 5, 5)})
    assert repr(shown).startswith("Slider(9 slices: Volume(9 x 15 x 21")
    monkeypatch.setattr(slider.importlib.util, "find_spec", lambda name: None)
    still = shown._repr_mimebundle_()
    assert set(still) == {"text/plain", "text/html"}
    assert still["text/html"].count("<img") == 9
    assert "window bone" in still["text/html"]


def test_a_slider_turns_to_the_slice_it_is_moved_to():
    pytest.importorskip("ipywidgets")
    shown = scan().slider(side=64)
    bundle = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<img" in bundle["text/html"]
    control, image, _ = shown.widget().children
    assert (control.min, control.max, control.value) == (0, 8, 4)
    first = image.value
    control.value = 0
    assert image.value != first
    top = scan().show(at=(8, 7, 10), side=64)
    np.testing.assert_array_equal(
        np.asarray(Pil.open(io.BytesIO(image.value))), pictures(top)[0]
    )


def test_pictures_need_neither_matplotlib_nor_ipywidgets():
    code = (
        "import sys, numpy as np, carina as ca\n"
        "v = ca.Volume.from_array(np.zeros((4, 4, 4)), spacing=(1, 1, 1))\n"
        "v._repr_html_(), v.montage()._repr_html_(), v.slider()._repr_html_()\n"
        "ca.read(np.eye(9))._repr_html_()\n"
        "assert not {'matplotlib', 'ipywidgets', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
