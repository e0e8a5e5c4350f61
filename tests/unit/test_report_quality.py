"""Reports judged: noticed, named, corrected; and a judge without a decoder."""

from dataclasses import dataclass

import carina as ca
import numpy as np
import pytest
from carina.corruption import CORRUPTIONS
from carina.errors import InvalidValueError, NotFittedError, ShapeError
from carina.result import MACRO
from carina.similarity_judge import SimilarityJudge


@dataclass
class Said:
    text: str
    error: str | None = None


@pytest.fixture(scope="module")
def films():
    return ca.phantom(60, seed=6, size=32, progress=False)


@pytest.fixture(scope="module")
def checks(films):
    return ca.report_checks(films)


def judged(films, answers, **options):
    return ca.evaluate(
        None, films, "report_quality", answers=answers, n=30, progress=False, **options
    )


def test_each_report_is_asked_about_once_as_it_is_and_once_for_each_error(
    films, checks
):
    kinds = np.array([check.kind for check in checks])
    assert (kinds == "none").sum() == len(films)
    assert set(kinds) == set(CORRUPTIONS)
    pairs = [(check.row, check.kind) for check in checks]
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs, key=lambda p: (p[0], CORRUPTIONS.index(p[1])))


def test_the_right_answers_are_right(films, checks):
    result = judged(films, [check.answer for check in checks])
    for metric in ("detected", "named", "corrected"):
        rows = [row for row in result if row.metric == metric]
        assert rows[-1].finding == MACRO
        assert all(row.value == 1 for row in rows)
    confusion = next(iter(result.tables.values()))
    for row in confusion:
        assert row[row["true"]] == sum(v for k, v in row.items() if k != "true")


def test_the_baseline_says_none_always(films, checks):
    result = judged(films, [False] * len(checks))
    for row in result:
        assert row.value == row.baseline, row
    assert result.get("detected").value == 0.5


def test_noticing_is_less_than_naming(films, checks):
    result = judged(films, [check.kind != "none" for check in checks])
    assert result.get("detected").value == 1
    assert result.get("named").value == 0.5
    assert not [row for row in result if row.metric == "corrected"]


def test_a_correction_in_other_words_is_right_and_a_name_alone_is_none(films, checks):
    names = [check.kind for check in checks]
    assert judged(films, names).get("named").value == 1
    undone = [
        "inserted: No such thing." if check.kind == "inserted" else check.answer
        for check in checks
    ]
    result = judged(films, undone)
    assert result.get("named", "inserted").value == 1
    assert result.get("corrected", "inserted").value == 0
    shouted = [check.answer.replace("There is", "I SEE") for check in checks]
    assert judged(films, shouted).get("corrected").value == 1


def test_what_cannot_be_read_is_wrong_and_a_lost_film_is_left_out(films, checks):
    noise = judged(films, ["I cannot say"] * len(checks))
    assert all(row.value == 0 for row in noise)
    lost = [None if check.row == 0 else check.answer for check in checks]
    result = judged(films, lost)
    assert result.get("detected", "none").n == len(films) - 1
    assert result.get("detected").value == 1
    with pytest.raises(ShapeError, match=r"answers: expected \d+, one for each"):
        judged(films, [])


def test_a_model_with_a_decoder_is_asked(films, checks):
    class Fake:
        def ask(self, studies, question=None, *, task="vqa", progress=None):
            assert task == "report_check"
            assert list(question) == [check.text for check in checks]
            assert [s.id for s in studies] == [films[c.row].id for c in checks]
            return [Said(check.answer) for check in checks]

    result = ca.evaluate(Fake(), films, "report_quality", n=20, progress=False)
    assert result.get("named").value == 1

    class Short(Fake):
        def ask(self, studies, question=None, *, task="vqa", progress=None):
            errors = ["question: found 9 tokens", "xray.png: not found"]
            said = super().ask(studies, question, task=task, progress=progress)
            return [Said("", error) for error in errors] + said[2:]

    result = ca.evaluate(Short(), films, "report_quality", n=20, progress=False)
    lost = [row for row in result if row.metric == "named" and row.value < 1]
    assert [row.finding for row in lost] == [checks[0].kind, MACRO]
    assert result.get("named", checks[1].kind).n == sum(
        check.kind == checks[1].kind for check in checks[2:]
    )
    with pytest.raises(InvalidValueError, match="model: it cannot answer"):
        ca.evaluate(object(), films, "report_quality", progress=False)


class Knows:
    """A model to which a film is the phrases that are true of it."""

    def __init__(self, films, bank):
        self.films = {study.id: study for study in films}
        self.bank = bank

    def embed(self, data, *, progress=None):
        return np.array([self._film(self.films[study.id]) for study in data])[:, None]

    def _film(self, study):
        out = np.zeros(3 * len(self.bank), np.float32)
        for place, prompt in enumerate(self.bank):
            there = study.labels[prompt.finding] == 1
            out[3 * place] = 1 if there else -1
            sides = {a.side for a in study.attributes if a.finding == prompt.finding}
            out[3 * place + 1] = ("left" in sides) - 1.0 * ("right" in sides)
        return out

    def encode_text(self, texts):
        out = np.zeros((len(texts), 3 * len(self.bank)), np.float32)
        for row, text in enumerate(texts):
            for place, prompt in enumerate(self.bank):
                if prompt.finding in text:
                    out[row, 3 * place] = -1 if text.lower().startswith("no ") else 1
                    out[row, 3 * place + 1] = ("left" in text) - 1.0 * ("right" in text)
        return out


def test_similarity_alone_notices_what_does_not_fit_the_film(films):
    train = ca.Dataset.concat(
        [ca.phantom(800, seed=8, size=32, progress=False)], names=["train"]
    )
    bank = ca.PromptBank.of(films.findings)
    model = Knows([*films, *train], bank)
    result = ca.evaluate(
        model, films, "report_quality", train=train, prompts=bank, n=50, progress=False
    )
    balanced = result.get("detected")
    assert balanced.low > balanced.baseline == 0.5
    for kind in ("laterality", "inserted"):
        assert result.get("detected", kind).value > 0.8, kind
        assert result.get("corrected", kind).value > 0.5, kind
    assert "similarity" in result.protocol.data
    with pytest.raises(NotFittedError, match="call fit first"):
        SimilarityJudge(model).answers(films, [])
    with pytest.raises(InvalidValueError, match="model: it has no `embed`"):
        SimilarityJudge(object()).fit(train)
    with pytest.raises(InvalidValueError, match="none of which reports are read for"):
        SimilarityJudge(model, prompts=["gout"]).fit(train)


def test_patients_must_not_be_shared(films):
    with pytest.raises(InvalidValueError, match="patient"):
        ca.evaluate(None, films, "report_quality", answers=[], train=films)
