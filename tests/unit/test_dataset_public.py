import os
from pathlib import Path

import carina as ca
import numpy as np
import pytest

ROOT = Path(os.environ.get("CARINA_DATA", "../shared/data"))

COUNTS = {
    "pneumoniamnist": {"train": 4708, "val": 524, "test": 624},
    "kermany_224": {"train": 4617, "val": 599},
    "nih14_64": {"train": 1139, "val": 252},
    "nih512": {"train": 564, "val": 112},
    "tb_lung_masks": {"train": 470, "val": 85},
    "vqa_rad": {"train": 176, "val": 33},
}


@pytest.fixture
def opened(request) -> ca.Dataset:
    if not (ROOT / request.param).is_dir():
        pytest.skip(f"{request.param} is not below CARINA_DATA ({ROOT})")
    return ca.open_public(request.param, root=ROOT)


def only(name: str):
    return pytest.mark.parametrize("opened", [name], indirect=True)


def test_every_opener_is_tested():
    assert set(ca.list_public()) == set(COUNTS)


@pytest.mark.data
@pytest.mark.parametrize("opened", sorted(COUNTS), indirect=True, ids=str)
def test_the_parts_have_their_published_sizes(opened, request):
    name = request.node.callspec.params["opened"]
    for part, count in COUNTS[name].items():
        assert len(opened.split_named(part)) == count
    assert len(opened) == sum(COUNTS[name].values())
    parts = [opened.split_named(part) for part in COUNTS[name]]
    parts[0].check_disjoint(*parts[1:])
    _, failures = opened[:40].tensors(ca.Recipe.film(32))
    assert failures == []


@pytest.mark.data
@only("pneumoniamnist")
def test_pneumoniamnist_has_its_published_prevalence(opened):
    for part, positive in [("train", 3494), ("val", 389), ("test", 390)]:
        assert opened.split_named(part).labels.sum() == positive


@pytest.mark.data
@only("kermany_224")
def test_kermany_tells_bacteria_from_virus(opened):
    np.testing.assert_array_equal(opened.labels.sum(0), [3875, 2530, 1345])


@pytest.mark.data
@only("nih14_64")
def test_nih14_has_fourteen_findings_and_a_record(opened):
    assert len(opened.findings) == 14
    assert set(opened[0].record) == {"age", "sex", "view", "follow_up", "source"}
    assert len(np.unique(opened.patients)) == 659
    assert opened[0].images[0].shape == (64, 64)


@pytest.mark.data
@only("nih512")
def test_nih512_has_boxes_within_the_film(opened):
    boxes = [box for study in opened for box in study.boxes]
    assert len(boxes) == 36
    assert all(min(b.corners) >= 0 and max(b.corners) <= 512 for b in boxes)
    assert {box.finding for box in boxes} <= set(opened.findings)
    val = opened.split_named("val")
    assert sum(len(study.boxes) for study in val) == 6


@pytest.mark.data
@only("tb_lung_masks")
def test_tb_has_lung_masks_and_readings(opened):
    masked = [study for study in opened if study.masks]
    assert len(masked) == 485
    mask = masked[0].masks[0]
    assert mask.to_numpy().shape == masked[0].images[0].shape
    assert 0.1 < mask.to_numpy().mean() < 0.6
    assert sum(text != "" for text in opened.reports) >= 400


@pytest.mark.data
@only("vqa_rad")
def test_vqa_rad_has_its_questions(opened):
    count = {p: sum(len(s.questions) for s in opened.split_named(p)) for p in
             ("train", "val")}  # fmt: skip
    assert count == {"train": 1284, "val": 229}
    forms = {q.form for study in opened for q in study.questions}
    assert forms == {"closed", "open"}


def test_an_unknown_name_and_an_absent_folder_are_clear_errors(tmp_path):
    with pytest.raises(ca.CarinaError, match="found 'nih', expected one of kermany"):
        ca.open_public("nih", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of nih512"):
        ca.open_public("nih512", root=tmp_path)
    (tmp_path / "nih512").mkdir()
    with pytest.raises(FileNotFoundError, match=r"boxes\.csv: expected a file"):
        ca.open_public("nih512", root=tmp_path)
    (tmp_path / "nih512" / "boxes.csv").write_text("image,label\n")
    with pytest.raises(ValueError, match=r"found columns image, label, expected x too"):
        ca.open_public("nih512", root=tmp_path)
