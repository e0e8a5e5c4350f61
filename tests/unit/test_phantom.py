"""Synthetic studies: exact truth, honest words, refusal of absurd wishes."""

import math
import re

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError
from carina.phantom import FINDINGS

MENTIONS = {
    "pleural effusion": r"effusion|pleural fluid|fluid (lies|is)|costophrenic",
    "pneumothorax": r"pneumothora",
    "cardiomegaly": r"cardiomegaly|enlarge|heart|cardiac|cardiothoracic",
    "consolidation": r"consolidation|airspace disease",
    "lung nodule": r"nodule|\bmass\b",
    "edema": r"edema|pulmonary vascularity|pulmonary vessels",
    "atelectasis": r"atelecta|lung volumes|well expanded",
    "pneumonia": r"pneumonia",
    "support devices": r"tube|catheter|venous line|pacemaker|support devices",
    "fracture": r"fracture|bones|osseous",
}
DENIAL = re.compile(
    r"\b(no|negative for)\b|normal|are (sharp|clear|intact)|within|well expanded"
)
DOUBT = re.compile(r"possible|questionable|cannot be excluded|may represent")
CLEAR_OF = [
    "consolidation",
    "lung nodule",
    "edema",
    "atelectasis",
    "pneumonia",
    "pleural effusion",
]


def sentences(report):
    text = re.sub(r"\b\d\. ", "", f"{report.findings} {report.impression}".lower())
    return [s for s in re.split(r"(?<=\.)\s+", text) if s]


def stance(sentence):
    """How a sentence speaks of what it mentions: 1, 0 or -1."""
    if DOUBT.search(sentence):
        return -1
    return 0 if DENIAL.search(sentence) else 1


@pytest.fixture(scope="module")
def ds():
    return ca.phantom(300, seed=2, size=64)


@pytest.fixture(scope="module")
def doubtful():
    return ca.phantom(300, seed=3, size=32, uncertain=0.4, missing=0.15)


@pytest.mark.parametrize("name", ["ds", "doubtful"])
def test_reports_say_what_is_true_and_nothing_else(name, request):
    for study in request.getfixturevalue(name):
        spoken = sentences(study.report)
        assert spoken
        for finding, label in study.labels.items():
            said = {stance(s) for s in spoken if re.search(MENTIONS[finding], s)}
            if math.isnan(label):
                assert not said, (finding, study.report)
            elif label == 0:
                assert said <= {0}, (finding, study.report)
            else:
                assert said == {label}, (finding, study.report)


def test_reports_give_the_right_side(ds):
    checked = 0
    for study in ds:
        sides = {a.finding: a.side for a in study.attributes}
        for sentence in sentences(study.report):
            if stance(sentence) == 0 or "vascular congestion" in sentence:
                continue
            named = [
                f
                for f, pattern in MENTIONS.items()
                if f in sides and re.search(pattern, sentence)
            ]
            for finding in named:
                side = sides[finding]
                said = {
                    word
                    for word in ("left", "right")
                    if re.search(rf"\b{word}\b", sentence)
                }
                wanted = {side} if side in ("left", "right") else set()
                assert said == wanted, (finding, side, sentence)
                checked += bool(wanted)
    assert checked > 200


def test_a_clear_lung_is_said_only_of_a_clear_lung(ds, doubtful):
    for study in [*ds, *doubtful]:
        text = study.report.text.lower()
        if "lungs are clear" in text or "clear lungs" in text:
            assert all(study.labels[finding] == 0 for finding in CLEAR_OF)
        if "no acute cardiopulmonary" in text or "normal study" in text:
            assert all(label == 0 for label in study.labels.values())


def test_reports_vary_in_their_words(ds):
    texts = [study.report.text for study in ds]
    assert len(set(texts)) > 0.95 * len(texts)


def test_films_carry_what_a_reader_must_know(ds):
    film = ds[0].images[0]
    pixels = film.to_numpy()
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert film.view in ("PA", "AP")
    assert 300 < 64 * film.spacing[0] < 500
    assert {study.images[0].modality for study in ds} == {"DX", "CR"}
    assert "synthetic" in film.history


def test_the_same_seed_gives_the_same_films_and_another_seed_does_not():
    def first(seed):
        return ca.phantom(2, seed=seed, size=48)[0].images[0].to_numpy()

    np.testing.assert_array_equal(first(4), first(4))
    assert not np.array_equal(first(4), first(5))


def test_patients_come_back_and_are_kept_together(ds):
    patients = set(ds.patients)
    assert 0.6 * len(ds) < len(patients) < len(ds)
    assert all(name.startswith("phantom-") for name in [*patients, *ds.ids])
    train, test = ds.split((0.7, 0.3))
    assert not set(train.patients) & set(test.patients)


def test_labels_are_in_the_order_of_the_findings(ds):
    assert tuple(ds.findings) == FINDINGS
    assert ds.labels.shape == (300, 10)
    assert set(np.unique(ds.labels)) == {0.0, 1.0}


def test_masks_hold_the_findings_and_the_structures(ds):
    study = ds[int(np.flatnonzero(ds.labels[:, 0] == 1)[0])]
    masks = {mask.finding: mask.to_numpy() for mask in study.masks}
    assert masks["pleural effusion"].shape == (64, 64)
    assert {"left lung", "right lung", "heart"} <= masks.keys()
    assert any(box.finding == "pleural effusion" for box in study.boxes)
    bare = ca.phantom(3, size=32, structures=False, normal_share=1.0)
    assert all(not study.masks for study in bare)


def test_cardiomegaly_is_a_wide_heart(ds):
    def ratio(study):
        masks = {mask.finding: mask.to_numpy() for mask in study.masks}
        lungs = np.flatnonzero((masks["left lung"] | masks["right lung"]).any(0))
        heart = np.flatnonzero(masks["heart"].any(0))
        return np.ptp(heart) / np.ptp(lungs)

    ratios = np.array([ratio(study) for study in ds])
    large = ds.labels[:, FINDINGS.index("cardiomegaly")] == 1
    others_clear = ds.labels.sum(1) == large
    assert ratios[large & others_clear].min() > ratios[~large & others_clear].max()


def test_nodules_are_as_large_as_their_attribute_says():
    ds = ca.phantom(150, seed=8, size=256)
    errors = []
    for study in ds:
        sizes = [a.severity for a in study.attributes if a.finding == "lung nodule"]
        boxes = [box.corners for box in study.boxes if box.finding == "lung nodule"]
        if sizes and boxes:
            edge = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
            millimetres = edge * study.images[0].spacing[0]
            errors.append(millimetres / float(sizes[0].removesuffix(" mm")))
    assert len(errors) > 5
    assert 0.9 < np.median(errors) < 1.25


def test_questions_are_answered_by_the_labels(ds):
    for study in ds:
        for question in study.questions:
            if question.topic == "presence":
                name = next(f for f in FINDINGS if f in question.question)
                assert (study.labels[name] == 1) == (question.answer == "yes")


def test_the_view_can_be_chosen():
    ds = ca.phantom(12, size=32, view="AP")
    assert {study.images[0].view for study in ds} == {"AP"}


def test_nothing_but_normal_films_on_request():
    assert ca.phantom(20, size=32, normal_share=1.0).labels.sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n: found 0, expected at least 1"),
        ({"seed": -1}, "seed: found -1, expected at least 0"),
        ({"size": 16}, "size: found 16 pixels, expected 32 to 2048"),
        ({"size": 4096}, "size: found 4096 pixels, expected 32 to 2048"),
        ({"uncertain": 1.5}, "uncertain: found 1.5, expected a share from 0 to 1"),
        ({"view": "LATERAL"}, 'view: found \'LATERAL\', expected "PA", "AP" or None'),
        ({"n": 10**9}, "studies: 1000000000 studies of 128 x 128 pixels need about"),
        ({"missing": float("nan")}, "missing: found nan, expected a share from 0 to 1"),
    ],
)
def test_absurd_wishes_are_refused_by_name(options, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        ca.phantom(**options)


def test_a_repr_holds_no_identifier(ds):
    assert "phantom-0" not in repr(ds) + repr(ds[0])
