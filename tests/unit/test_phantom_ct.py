"""CT phantoms: volumes that know where they lie, exact truth, honest follow-up."""

import pickle

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError
from carina.phantom import CT_FINDINGS


@pytest.fixture(scope="module")
def ds():
    return ca.phantom(60, kind="ct", seed=4, size=96, slices=48, progress=False)


def test_a_volume_is_rendered_alike_each_time_and_knows_its_place(ds):
    first, other = ds[0].volumes[0], ds[1].volumes[0]
    again = ds[0].volumes[0]
    voxels = first.to_numpy()
    assert voxels.shape == first.shape == (48, 96, 96)
    assert voxels.dtype == np.float32
    assert (first.orientation, first.modality) == ("LPS", "CT")
    np.testing.assert_array_equal(voxels, again.to_numpy())
    assert not np.array_equal(voxels, other.to_numpy())
    assert -1024 <= voxels.min() < -900
    assert voxels.max() > 300
    assert first.spacing[1] == first.spacing[2]
    assert 260 < first.spacing[0] * 48 < 340
    assert repr(ds[0]).startswith("Study(1 volume, ")


def test_structures_are_named_and_lie_where_they_should(ds):
    study = ds[0]
    masks = {mask.finding: mask.to_numpy() for mask in study.masks}
    voxels = study.volumes[0].to_numpy()
    assert voxels[masks["left lung"]].mean() < -700
    assert abs(voxels[masks["heart"]].mean()) < 100
    x = {name: np.argwhere(masks[name])[:, 2].mean() for name in masks}
    # x grows to the patient's left.
    assert x["right lung"] < x["heart"] < x["left lung"]
    assert x["right lower lobe"] < x["left lower lobe"]
    np.testing.assert_array_equal(
        masks["right lung"],
        masks["right upper lobe"]
        | masks["right middle lobe"]
        | masks["right lower lobe"],
    )


def test_nodules_have_attributes_and_a_mask_each(ds):
    seen = 0
    for study in ds:
        nodules = [a for a in study.attributes if a.finding == "lung nodule"]
        named = [m for m in study.masks if m.finding == "lung nodule"]
        assert len(nodules) == len(named)
        assert (len(nodules) > 0) == (study.labels["lung nodule"] == 1)
        for nodule in nodules:
            seen += 1
            assert nodule.attenuation in ("solid", "part-solid", "ground glass")
            assert nodule.margin
            assert nodule.severity.endswith(" mm")
            assert f"{nodule.side} {nodule.zone}" in study.report.findings
    assert seen > 10


def test_the_record_has_the_elements_of_m3fm():
    whole = ca.phantom(1, kind="ct", size=32, slices=8, missing_record=0.0)
    assert len(whole[0].record) == 47
    assert whole[0].record["smoking_status"] in ("never", "former", "current")
    bare = ca.phantom(1, kind="ct", size=32, slices=8, missing_record=1.0)
    assert sorted(bare[0].record) == ["age_years", "gender"]


def test_follow_up_gives_labels_and_masks_of_six_years(ds):
    for study in ds:
        names = [f.outcome for f in study.follow_up]
        assert names == ["lung cancer", "cardiovascular death"]
        for follow_up in study.follow_up:
            y, mask = follow_up.targets()
            assert y.shape == mask.shape == (6,)
            assert (np.diff(y) >= 0).all()
            assert (np.diff(mask) <= 0).all()
            assert follow_up.event == bool(y.any()) or follow_up.years > 6
    with pytest.raises(InvalidValueError, match="horizon: found 0"):
        ds[0].follow_up[0].targets(0)


def test_a_data_set_pickles_as_its_options(ds):
    text = pickle.dumps(ds[:3])
    assert len(text) < 60_000
    again = pickle.loads(text)
    assert again.findings == list(CT_FINDINGS)
    assert again[2].follow_up == ds[2].follow_up
    assert again[2].attributes == ds[2].attributes
    np.testing.assert_array_equal(
        again[2].volumes[0].to_numpy(), ds[2].volumes[0].to_numpy()
    )


def test_fewer_studies_are_the_first_of_more(ds):
    few = ca.phantom(2, kind="ct", seed=4, size=96, slices=48, progress=False)
    assert few.reports == ds[:2].reports


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mri"}, 'kind: found \'mri\', expected "film" or "ct"'),
        ({"kind": "ct", "size": 4}, "size: found 4, expected 32 to 1024"),
        ({"kind": "ct", "slices": 3}, "slices: found 3, expected 8 to 2048"),
        ({"kind": "ct", "contrast": 2}, "contrast: found 2"),
        ({"kind": "ct", "n": 0}, "n: found 0, expected at least 1"),
        ({"kind": "ct", "noise": -1}, "noise: found -1"),
    ],
)
def test_absurd_wishes_are_refused_by_name(options, message):
    with pytest.raises(InvalidValueError, match=message):
        ca.phantom(**options)
