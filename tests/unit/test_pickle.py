"""What a process may hand to another, and what says why it may not."""

import copy
import pickle

import carina as ca
import numpy as np
import pytest


def through(thing):
    return pickle.loads(pickle.dumps(thing))


def test_a_study_travels_alone_with_all_that_it_hands_out():
    ds = ca.phantom(3, seed=2, size=32, progress=False)
    study = ds[-1]
    there = through(study)
    assert (there.id, there.patient, repr(there)) == (
        ds[2].id,
        ds[2].patient,
        repr(study),
    )
    np.testing.assert_equal(there.labels, study.labels)
    assert there.report == study.report
    assert there.boxes == study.boxes
    np.testing.assert_array_equal(through(study.images)[0], study.images[0])
    assert len(pickle.dumps(study)) < len(pickle.dumps(ds)) / 2
    assert copy.deepcopy(study).id == study.id
    assert through(study.follow_up) == study.follow_up
    for one, other in zip(study.follow_up, through(study.follow_up), strict=True):
        np.testing.assert_equal(other.targets(3), one.targets(3))


@pytest.mark.parametrize("kind", ["film", "ct"])
def test_masks_and_volumes_of_a_study_travel(kind):
    size = {"size": 32} if kind == "film" else {"size": 32, "slices": 8}
    ds = ca.phantom(8, kind=kind, seed=1, progress=False, **size)
    study = next(one for one in ds if one.masks)
    for one, other in zip(study.masks, through(study.masks), strict=True):
        assert other.finding == one.finding
        np.testing.assert_array_equal(other.to_numpy(), one.to_numpy())
    for one, other in zip(study.volumes, through(study.volumes), strict=True):
        np.testing.assert_array_equal(other, one)
    if kind == "ct":
        organs = study.volumes[0].organs()
        assert study.volumes[0].show(boxes=through(organs)).legend


def test_what_cannot_travel_says_what_to_do(ct, store):
    found = ca.read_series(store(ct()), progress=False)
    for series in (found, found[0]):
        with pytest.raises(ca.CarinaError, match="a series is not pickled, for its"):
            pickle.dumps(series)
    volume = ca.Volume.from_array(np.zeros((3, 4, 5)), spacing=1)
    with pytest.raises(ca.CarinaError, match="a slider is not pickled, for it paints"):
        pickle.dumps(volume.slider())
