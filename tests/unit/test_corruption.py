"""Reports made wrong on purpose: one fact, wherever it is stated."""

import carina as ca
import pytest
from carina.corruption import CORRUPTIONS
from carina.errors import InvalidValueError, ShapeError

REPORT = (
    "1. There is a small LEFT pleural effusion. 2. The heart is mildly enlarged. "
    "3. No pneumothorax or edema."
)


@pytest.fixture(scope="module")
def films():
    return ca.phantom(60, seed=5, size=32, progress=False)


def one(text, kind, seed=0):
    return ca.corrupt(text, kind, seed=seed)[0]


def test_none_is_the_report_byte_for_byte(films):
    for made, report in zip(ca.corrupt(films, "none"), films.reports, strict=True):
        assert made.text == report
        assert made.answer == "none"
        assert not made.changes
    odd = " \n 1.x 5.2 cm \u2028é  "
    assert one(odd, "none").text == odd


def test_changing_sides_twice_gives_the_report_back():
    made = one(REPORT, "laterality")
    assert made.text == REPORT.replace("LEFT", "RIGHT")
    assert one(made.text, "laterality").text == REPORT
    assert made.answer == "laterality: There is a small LEFT pleural effusion."
    assert made.finding == "pleural effusion"


def test_every_other_kind_changes_a_report_or_says_why(films):
    applied = dict.fromkeys(CORRUPTIONS[1:], 0)
    for kind in applied:
        for made, report in zip(ca.corrupt(films, kind), films.reports, strict=True):
            assert made.kind == kind
            if made:
                applied[kind] += 1
                assert made.text != report
                assert made.changes
                assert made.answer.startswith(f"{kind}: ")
            else:
                assert made.reason
                assert made.text is None
    assert min(applied.values()) >= 20, applied


def test_what_is_put_in_is_never_what_is_there(films):
    for seed in range(3):
        made = ca.corrupt(films, "inserted", seed=seed)
        for study, corruption in zip(films, made, strict=True):
            if corruption:
                assert study.labels.get(corruption.finding, 0) == 0
    devices = {"endotracheal tube", "central venous catheter", "pacemaker"}
    for study, corruption in zip(films, ca.corrupt(films, "device"), strict=True):
        there = {a.finding for a in study.attributes}
        if corruption.detail == "added":
            assert corruption.finding not in there
        elif corruption and corruption.finding in devices:
            assert corruption.finding in there


def test_a_kind_is_drawn_from_those_that_fit(films):
    drawn = ca.corrupt(films, seed=1)
    assert all(drawn)
    assert len({made.kind for made in drawn}) >= 5
    assert drawn == ca.corrupt(films, seed=1)
    assert drawn != ca.corrupt(films, seed=2)


def test_reports_do_not_show_in_the_repr():
    shown = repr(one(REPORT, "laterality"))
    assert "effusion'" in shown
    assert "small" not in shown


def test_bad_kinds_are_named():
    with pytest.raises(InvalidValueError, match='kind: found "flip", expected'):
        ca.corrupt(REPORT, "flip")
    with pytest.raises(ShapeError, match=r"kinds: expected shape \(1,\)"):
        ca.corrupt([REPORT], ["none", "none"])
    with pytest.raises(InvalidValueError, match="seed: found -1"):
        ca.corrupt(REPORT, seed=-1)
    assert ca.corrupt([]) == []
    assert one("", "dropped").reason == "no finding is affirmed in sentences of its own"
