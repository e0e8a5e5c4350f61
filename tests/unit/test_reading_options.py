"""What the readers are told: every option is known, and every path is one."""

import carina as ca
import numpy as np
import pytest

HU = np.random.default_rng(0).integers(-1000, 600, (4, 5, 6))


@pytest.fixture
def nifti(tmp_path):
    path = tmp_path / "scan.nii.gz"
    ca.Volume.from_array(HU, spacing=2.0, modality="CT").save(path)
    return path


def test_a_modality_can_be_told_of_files_that_cannot_say(nifti):
    silent = ca.read(nifti)
    assert silent.modality == ""
    assert "shown from -9" in repr(silent.show())
    for told in (
        ca.read(nifti, modality="CT", progress=False),
        ca.read_volume(nifti, modality="CT", orientation="RAS"),
    ):
        assert told.modality == "CT"
        assert "window lung" in repr(told.show())
        assert told.history[-1] == "modality told: CT"
        assert told.geometry.original_shape == told.shape
    np.testing.assert_array_equal(ca.read(nifti, modality="MR"), silent)
    assert ca.read_volume(nifti, modality="CT").geometry == silent.geometry


def test_what_a_file_says_is_not_overruled(ct, store):
    folder = store(ct())
    assert ca.read(folder, modality="CT").history == ca.read(folder).history
    series = ca.read_series(folder, progress=False)[0]
    for read in (
        lambda: ca.read(folder, modality="MR"),
        lambda: series.read(modality="MR"),
    ):
        with pytest.raises(ca.CarinaError, match="found 'MR', expected what the files"):
            read()
    for wrong in ("ct", "", 5):
        with pytest.raises(ca.CarinaError, match="modality: expected one of DICOM's"):
            ca.read_volume(folder, modality=wrong)


def test_an_unknown_option_names_the_call_and_the_known_ones(nifti, ct, store):
    series = ca.read_series(store(ct()), progress=False)[0]
    known = "found the option 'oriantation', expected one of"
    for call, read in (
        ("read", lambda: ca.read(nifti, oriantation="RAS")),
        ("read", lambda: ca.read(np.eye(3), oriantation="RAS")),
        ("read_volume", lambda: ca.read_volume(nifti, oriantation="RAS")),
        ("Series.read", lambda: series.read(oriantation="RAS")),
    ):
        own = "window, frame, orientation" if call == "read" else "orientation"
        with pytest.raises(ca.CarinaError, match=f"^{call}: {known} {own}, rep"):
            read()
    with pytest.raises(ca.CarinaError, match="options of a film, found fill: they"):
        ca.read(np.eye(3), fill=0)


def test_an_empty_text_is_no_path_and_a_folder_has_no_frames(ct, store, tmp_path):
    for read in (ca.read, ca.read_volume, ca.read_series):
        with pytest.raises(ca.CarinaError, match="expected a path, found an empty te"):
            read("")
    with pytest.raises(ca.CarinaError, match="src: expected a path, found an empty"):
        ca.deidentify("", tmp_path)
    with pytest.raises(ca.CarinaError, match="frame: expected none for a folder"):
        ca.read(store(ct()), frame=0)
