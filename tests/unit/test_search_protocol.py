"""Search by words and by films, graded; and what single prompts do."""

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError, ShapeError
from carina.prompts import Prompt
from carina.result import MACRO, Result


class Oracle:
    """A model whose vectors are the grades themselves: its search is perfect."""

    def __init__(self, queries, films, noise=0.0):
        self.grades = {q.text: q.grades(films) for q in queries}
        self.rows = {study.id: row for row, study in enumerate(films)}
        self.noise = noise

    def embed(self, data, *, progress=None):
        table = np.array([grades[self._rows(data)] for grades in self.grades.values()])
        draw = np.random.default_rng(0).normal(size=table.shape)
        return (table + self.noise * draw).T[:, None, :].astype(np.float32)

    def encode(self, data, *, progress=None):
        table = np.array([grades[self._rows(data)] for grades in self.grades.values()])
        return table.T.astype(np.float32)

    def encode_text(self, texts):
        order = list(self.grades)
        out = np.zeros((len(texts), len(order)), np.float32)
        for row, text in enumerate(texts):
            out[row, order.index(text) if text in order else row % len(order)] = 1
        return out

    def _rows(self, data):
        return [self.rows[study.id] for study in data]


@pytest.fixture(scope="module")
def films():
    return ca.phantom(250, seed=4, size=32, progress=False)


@pytest.fixture(scope="module")
def queries():
    return ca.queries("phantom19")


@pytest.fixture(scope="module")
def tiny():
    return ca.create("elixr", size="tiny", image_size=32, seed=0)


def test_there_are_nineteen_queries_in_four_groups(queries, films):
    assert ca.list_queries() == ["chexpert19", "phantom19"]
    assert len(queries) == 19
    assert len({query.group for query in queries}) == 4
    for query in queries:
        grades = query.grades(films)
        assert set(np.unique(grades)) <= {0, 1, 2}
        assert (grades == 2).any(), query.text


def test_grades_follow_the_truth(queries, films):
    left = next(q for q in queries if q.text == "There is a left pleural effusion.")
    for study, grade in zip(films, left.grades(films), strict=True):
        has = study.labels["pleural effusion"] == 1
        sides = {a.side for a in study.attributes if a.finding == "pleural effusion"}
        expected = 2 if sides & {"left", "bilateral"} else 1
        assert grade == (expected if has else 0)


def test_a_perfect_search_is_perfect_and_chance_is_the_baseline(queries, films):
    result = ca.evaluate(Oracle(queries, films), films, "search", queries=queries, n=50)
    for metric in ("ndcg@5", "ndcg@5 linear"):
        mean = result.get(metric)
        assert mean.value == pytest.approx(1)
        assert 0.05 < mean.baseline < 0.7
    perfect = result.get("perfect@5")
    assert (perfect.value, perfect.n) == (19, 19)
    assert perfect.baseline < 3
    assert result.get("ndcg@5", "laterality").n == 5
    assert "19 queries" in repr(result)
    assert Result.from_json(_written(result)) == result


def _written(result):
    import tempfile
    from pathlib import Path

    path = Path(tempfile.mkdtemp()) / "result.json"
    result.to_json(path)
    return path


def test_a_random_search_scores_as_the_baseline_says(queries, films):
    model = Oracle(queries, films, noise=1e4)
    result = ca.evaluate(model, films, "search", queries=queries, n=200)
    mean = result.get("ndcg@5")
    assert mean.low - 0.1 < mean.baseline < mean.high + 0.1


def test_grades_may_be_a_table(films, queries):
    texts = ["one", "two"]
    grades = {text: np.arange(len(films)) % 3 for text in texts}
    model = Oracle(queries, films)
    result = ca.evaluate(model, films, "search", grades=grades, k=3, n=20)
    assert [r.finding for r in result if r.metric == "ndcg@3"] == [*texts, MACRO]
    same = ca.evaluate(
        model,
        films,
        "search",
        queries=texts,
        grades=np.array(list(grades.values())),
        k=3,
        n=20,
    )
    assert same == result
    with pytest.raises(ShapeError, match=r"grades: expected shape \(2, 250\)"):
        ca.evaluate(model, films, "search", queries=texts, grades=np.zeros((2, 3)))
    with pytest.raises(InvalidValueError, match="grades: found -1, expected 0 to 64"):
        ca.evaluate(model, films, "search", queries=texts, grades=-np.ones((2, 250)))
    with pytest.raises(InvalidValueError, match=r"grades: none for \['three'\]"):
        ca.evaluate(model, films, "search", queries=["three"], grades=grades)


def test_unknown_findings_and_sets_are_named(films, queries):
    model = Oracle(queries, films)
    odd = ca.Query(text="situs inversus", findings=["situs inversus"])
    with pytest.raises(InvalidValueError, match='"situs inversus", the data know: ple'):
        ca.evaluate(model, films, "search", queries=[odd])
    with pytest.raises(InvalidValueError, match='queries: found "nineteen"'):
        ca.queries("nineteen")
    with pytest.raises(InvalidValueError, match="none of the built-in sets"):
        ca.evaluate(model, films.with_findings(["edema"]), "search")
    with pytest.raises(InvalidValueError, match="k: found 0"):
        ca.evaluate(model, films, "search", k=0)
    with pytest.raises(InvalidValueError, match="direction: found 'sideways'"):
        ca.evaluate(model, films, "search", direction="sideways")
    with pytest.raises(InvalidValueError, match="found \\['edema'\\] twice"):
        ca.evaluate(model, films, "search", queries=["edema", "edema"])


@pytest.mark.parametrize("name", ["findings", "partly", "severity"])
def test_one_text_is_no_sequence_of_texts(name):
    with pytest.raises(InvalidValueError) as caught:
        ca.Query(text="a large effusion", **{name: "large"})
    assert str(caught.value) == (
        f"query 'a large effusion': {name}: found one text, expected a sequence of them"
    )


def test_queries_and_phrases_without_words_are_refused(films, queries):
    model = Oracle(queries, films)
    for empty in ("", " \n"):
        with pytest.raises(InvalidValueError, match="query: found an empty text, exp"):
            ca.evaluate(model, films, "search", queries=["edema", empty])
    empty = r"prompts of 'edema': found an empty phrase, expected words"
    for sides in (("edema", ""), (["edema", " "], "no edema")):
        with pytest.raises(InvalidValueError, match=empty):
            ca.PromptBank.of({"edema": sides})
    with pytest.raises(InvalidValueError, match="prompts of '': found an empty phrase"):
        ca.PromptBank.of([""])
    with pytest.raises(InvalidValueError, match="prompts of 'mass': found one text"):
        ca.PromptBank([Prompt("mass", "mass", ("no mass",))])
    with pytest.raises(
        InvalidValueError, match=r"prompts: found \['mass'\] twice, expected each once"
    ):
        ca.PromptBank.of(["mass", "edema", "mass"])


def test_films_find_films_and_reports(films, queries, tiny):
    close = Oracle(queries, films)
    by_film = ca.evaluate(close, films, "search", direction="image_to_image", n=50)
    ndcg = by_film.get("ndcg@5", "all films")
    assert ndcg.low > ndcg.baseline
    assert "patients" in repr(by_film)
    words = ca.evaluate(
        tiny, films[:60], "search", direction="image_to_report", n=50, progress=False
    )
    found = words.get("ndcg@5", "all films")
    assert 0 <= found.low <= found.value <= found.high <= 1
    with pytest.raises(InvalidValueError, match="queries, grades: expected none"):
        ca.evaluate(
            close, films, "search", direction="image_to_image", queries="phantom19"
        )


def test_single_prompts_are_told_apart(films, tiny):
    part = films[:80]
    result = ca.prompt_sensitivity(tiny, part, "phantom", n=20, progress=False)
    bank = ca.prompts("phantom")
    pairs = result.tables["pairs"]
    assert len(pairs) == sum(len(p.present) * len(p.absent) for p in bank)
    for prompt in bank:
        of = pairs["auroc"][pairs["finding"] == prompt.finding]
        best = result.get("best pair", prompt.finding)
        assert best.value == of.max()
        spread = result.get("spread", prompt.finding).value
        assert spread == pytest.approx(of.max() - of.min())
    single = {"edema": ("edema", "no edema")}
    lone = ca.prompt_sensitivity(tiny, part, single, n=20, progress=False)
    assert lone.get("best pair").value == pytest.approx(lone.get("auroc").value)
    with pytest.raises(InvalidValueError, match=r"prompts: found \['gout'\], the data"):
        ca.prompt_sensitivity(tiny, part, ["edema", "gout"])
    with pytest.raises(InvalidValueError, match=r"prompts: found \['gout'\], expected"):
        ca.evaluate(tiny, part, prompts=["edema", "gout"], progress=False)
