"""Questions asked, answers graded: by rule, by a judge, by topic."""

from dataclasses import dataclass

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError, ShapeError


@dataclass
class Said:
    text: str = ""
    error: str | None = None


class Fake:
    """A model that answers from the truth that it is given."""

    def __init__(self, answers, errors=()):
        self.answers, self.errors, self.calls = answers, set(errors), []

    def ask(self, studies, question=None, *, task="vqa", progress=None):
        self.calls.append(task)
        assert len(studies) == len(question)
        return [
            Said(error="cannot be read") if number in self.errors else Said(answer)
            for number, answer in enumerate(self.answers)
        ]


@pytest.fixture(scope="module")
def films():
    return ca.phantom(80, seed=2, size=32, progress=False)


@pytest.fixture(scope="module")
def truths(films):
    return [question.answer for study in films for question in study.questions]


def test_the_truth_is_right_in_every_topic(films, truths):
    fake = Fake(truths)
    result = ca.evaluate(fake, films, "vqa", n=50, progress=False)
    names = [row.finding for row in result]
    assert names == ["all", "presence", "location", "severity"]
    assert all(row.value == 1 and row.low == 1 for row in result)
    assert fake.calls == ["vqa"]
    assert result.rows[0].n == len(truths)


def test_the_baseline_is_the_commonest_answer_of_a_topic(films, truths):
    train = ca.phantom(80, seed=9, size=32, progress=False)
    nothing = ca.evaluate(None, films, "vqa", answers=[""] * len(truths), n=20)
    assert all(row.value == 0 for row in nothing)
    assert "the data themselves" in nothing.protocol.data
    other = ca.evaluate(None, films, "vqa", answers=truths, train=_renamed(train), n=20)
    assert "other data" in other.protocol.data
    presence = other.get("grade", "presence")
    closed = [q.answer for s in films for q in s.questions if q.topic == "presence"]
    assert presence.baseline in (
        pytest.approx(np.mean([a == "yes" for a in closed])),
        pytest.approx(np.mean([a == "no" for a in closed])),
    )


def _renamed(films):
    return ca.Dataset.concat([films], names=["train"])


def test_answers_may_come_study_by_study(films, truths):
    nested = [[question.answer for question in study.questions] for study in films]
    flat = ca.evaluate(None, films, "vqa", answers=truths, n=20)
    assert ca.evaluate(None, films, "vqa", answers=nested, n=20) == flat
    with pytest.raises(
        ShapeError, match=r"answers: expected \d+, one for each question"
    ):
        ca.evaluate(None, films, "vqa", answers=truths[1:])


def test_films_that_cannot_be_read_are_left_out(films, truths):
    result = ca.evaluate(Fake(truths, errors=[0, 3]), films, "vqa", n=20)
    assert result.rows[0].n == len(truths) - 2
    assert "2 films could not be read" in result.rows[0].note


def test_open_questions_go_to_the_judge(tmp_path):
    rows = [
        {
            "study": str(number),
            "patient": str(number),
            "image": np.zeros((4, 4), np.float32),
            "questions": [
                {"question": "What is wrong?", "answer": "Pneumoperitoneum"},
                {"question": "Which side?", "answer": "left", "topic": "POS"},
            ],
        }
        for number in range(3)
    ]
    films = ca.open_dataset(rows, root=tmp_path, findings=[], progress=False)
    said = ["free air", "left"] * 3
    alone = ca.evaluate(None, films, "vqa", answers=said, n=20)
    assert alone.get("grade", "location").value == 1
    assert alone.get("grade", "other").note == "3 open questions need a judge"
    asked = []

    def judge(question, truth, answer):
        asked.append((question, truth, answer))
        return 0.5

    judged = ca.evaluate(None, films, "vqa", answers=said, judge=judge, n=20)
    assert judged.get("grade", "other").value == 0.5
    assert asked == [("What is wrong?", "Pneumoperitoneum", "free air")] * 3
    for odd in (0.7, True, None, "1"):
        with pytest.raises(
            InvalidValueError, match=r"judge: gave .*, expected 0, 0\.5"
        ):
            ca.evaluate(None, films, "vqa", answers=said, judge=lambda *_, odd=odd: odd)


def mixed(tmp_path, truths):
    """Studies with an open and a closed question of one topic each."""
    rows = [
        {
            "study": str(number),
            "patient": str(number),
            "image": np.zeros((4, 4), np.float32),
            "questions": [
                {"question": "What is wrong?", "answer": truth},
                {"question": "Is it normal?", "answer": "no"},
            ],
        }
        for number, truth in enumerate(truths)
    ]
    return ca.open_dataset(rows, root=tmp_path, findings=[], progress=False)


def test_without_a_judge_open_questions_take_no_part_however_answered(tmp_path):
    films = mixed(tmp_path, ["free air", "pneumoperitoneum", "scoliosis"])
    for said in ("free air", "nothing"):
        result = ca.evaluate(None, films, "vqa", answers=[said, "yes"] * 3, n=20)
        row = result.get("grade", "other")
        assert (row.value, row.n) == (0, 3)
        assert row.note == "3 open questions need a judge"
    words = {"free air": 1, "pneumoperitoneum": 0}
    judged = ca.evaluate(
        None,
        films,
        "vqa",
        answers=["Free air.", "yes"] * 3,
        judge=lambda _, truth, answer: words.get(truth, 0.5),
        n=20,
    )
    row = judged.get("grade", "other")
    assert (row.value, row.n, row.note) == (pytest.approx(1.5 / 6), 6, "")


def test_the_baseline_guesses_at_the_questions_that_take_part(tmp_path):
    films = mixed(tmp_path, ["free air"] * 3)
    said = ["free air", "no"] * 3
    alone = ca.evaluate(None, films, "vqa", answers=said, n=20).get("grade", "other")
    assert (alone.value, alone.baseline, alone.n) == (1, 1, 3)
    judged = ca.evaluate(None, films, "vqa", answers=said, judge=lambda *_: 0.5, n=20)
    row = judged.get("grade", "other")
    assert (row.value, row.baseline, row.n) == (1, 0.5, 6)
    assert "by the truth's own words only" in judged.protocol.data


def test_models_without_words_and_data_without_questions_are_refused(films):
    with pytest.raises(InvalidValueError, match="model: it cannot answer"):
        ca.evaluate(object(), films, "vqa")
    ct = ca.phantom(2, kind="ct", size=32, slices=8, progress=False)
    bare = ca.open_dataset(
        [{"study": "a", "patient": "a", "image": np.zeros((4, 4), np.float32)}],
        root=".",
        findings=[],
        progress=False,
    )
    with pytest.raises(InvalidValueError, match="dataset: found no questions"):
        ca.evaluate(None, bare, "vqa", answers=[])
    assert len(ct) == 2


def test_one_answer_is_graded_by_rule():
    grade = ca.metrics.grade_answer
    assert grade("Is there an effusion?", "yes", "There is an effusion.") == 1
    assert grade("How large is it?", "14 mm", "1.8 cm") == 0.5
    assert grade("How large is it?", "14 mm", "1.8 cm", tolerance=(0.3, 0.5)) == 1
    assert grade("What is it?", "A mass", "cancer") is None
    assert grade("What is it?", "A mass", "cancer", judge=lambda *_: 0.5) == 0.5
    with pytest.raises(InvalidValueError, match=r"tolerance: found 0\.5 and 0\.1"):
        grade("?", "yes", "yes", tolerance=(0.5, 0.1))
