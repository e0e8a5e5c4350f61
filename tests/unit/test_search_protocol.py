"""Search by words and by films, graded; and what single prompts do."""

import carina as ca
import numpy as np
import pytest
from carina.errors import InvalidValueError, ShapeError
from carina.prompts import Prompt
from carina.result import MACRO, Result
from carina.searching import _shared


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
    grades["two"] = ["good"] * len(films)
    with pytest.raises(InvalidValueError, match="grades: column 'two': not an array"):
        ca.evaluate(model, films, "search", grades=grades)
    with pytest.raises(InvalidValueError, match="grades: not an array of numbers"):
        ca.evaluate(model, films, "search", queries=["one"], grades=["good"])
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


@pytest.mark.filterwarnings("ignore:.* tokens. cut after a sentence")
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


def test_films_are_graded_by_what_is_known_of_both():
    nan = np.nan
    own = np.array([1, 0, nan])
    others = np.array([[1, 1, 0], [0, nan, 1], [nan, 0, 1], [nan, nan, 0], [1, 0, nan]])
    np.testing.assert_array_equal(_shared(own, others), [1, 0, nan, nan, 1])
    whole = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(_shared(whole[1], whole), [0, 2, 0])
    np.testing.assert_array_equal(_shared(whole[0], whole), [2, 0, 1])


class Known:
    """A model to which films are the more alike, the nearer their numbers."""

    def __init__(self, unread=()):
        self.unread = list(unread)

    def encode(self, data, *, progress=None):
        angle = np.array([int(study.id) for study in data]) / 10
        films = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        films[[study.id in self.unread for study in data]] = np.nan
        return films

    def embed(self, data, *, progress=None):
        return self.encode(data)[:, None, :]

    def encode_text(self, texts):
        return np.eye(2, dtype=np.float32)[np.zeros(len(texts), int)]


def labelled(tmp_path, labels, patients=None):
    rows = [
        {
            "study": str(number),
            "patient": str(number if patients is None else patients[number]),
            "image": np.zeros((4, 4), np.float32),
            "report": f"Report {number}.",
            **{f: v for f, v in zip("abc", row, strict=True) if v is not None},
        }
        for number, row in enumerate(labels)
    ]
    return ca.open_dataset(rows, root=tmp_path, findings=list("abc"), progress=False)


def test_unknown_and_uncertain_labels_are_not_absent_ones(tmp_path):
    # The film most alike has no known label in common with the first.
    bare = (None, None, None)
    labels = [(1, 0, None), (None, None, 1), (-1, -1, 0), (1, 0, 1)]
    films = labelled(tmp_path, [*labels, *[bare] * 8, (0, 1, None), (-1, -1, -1)])
    options = {"direction": "image_to_image", "k": 1, "n": 20}
    found = ca.evaluate(Known(), films[[0, 1, 2]], "search", **options)
    assert found.get("ndcg@1").n == 0
    found = ca.evaluate(Known(), films[[0, 1, 3, 12, 13]], "search", **options)
    # 0 and 1 find 3, which finds both; nothing is like 12, and of 13 nothing is known.
    assert (found.get("ndcg@1").value, found.get("ndcg@1").n) == (1, 3)
    assert found.protocol.clusters == 4


def test_a_film_may_find_all_reports_but_no_film_of_its_patient(tmp_path):
    films = labelled(tmp_path, [(1, 0, 0), (1, 0, 0)], patients=[7, 7])
    own = {"n": 20, "k": 1, "progress": False}
    by_film = ca.evaluate(Known(), films, "search", direction="image_to_image", **own)
    assert by_film.get("ndcg@1").n == 0
    words = ca.evaluate(Known(), films, "search", direction="image_to_report", **own)
    assert (words.get("ndcg@1").value, words.get("ndcg@1").n) == (1, 2)


@pytest.mark.parametrize("direction", ["image_to_image", "image_to_report"])
def test_films_none_of_which_can_be_read_are_an_error(tmp_path, direction):
    films = labelled(tmp_path, [(1, 0, 0), (1, 0, 0)])
    with pytest.raises(InvalidValueError, match="found no film that can be read"):
        ca.evaluate(Known(unread="01"), films, "search", direction=direction)


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
