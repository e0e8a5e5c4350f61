"""A decoder behind a model: graft, learn, ask, prefer, and the model's folder."""

import json
import re
import shutil

import carina as ca
import numpy as np
import pytest
from carina.errors import (
    CarinaError,
    ConfigError,
    FormatError,
    InvalidValueError,
    TrainingError,
)

SMALL = {
    "image": {"widths": [8, 16], "depths": [1, 1], "stem_width": 8},
    "text": {"dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32},
    "queries": 4,
    "embedding": 8,
}
SIZES = {"dim": 32, "depth": 2, "heads": 2, "kv_heads": 1, "mlp_dim": 64}
QUICK = {"epochs": 2, "batch_size": 16, "progress": False}
QUESTION = "Is there evidence of pneumothorax?"


def decoder(seed=3, **changes):
    return ca.create_decoder(
        "1m", seed=seed, device="cpu", max_positions=128, **SIZES | changes
    )


def small(size="qformer", **graft):
    model = ca.create("elixr", size=size, image_size=32, seed=0, device="cpu", **SMALL)
    model.graft(decoder(), **graft)
    return model


def tensors(model):
    return {name: model.parameter(name) for name in model.parameters()}


def moved(before, model):
    now = tensors(model)
    return {name for name in before if not np.array_equal(before[name], now[name])}


@pytest.fixture(scope="module")
def films():
    return ca.phantom(48, seed=3, size=32, progress=False)


@pytest.fixture(scope="module")
def trained(films):
    model = small()
    ca.train(model, films, "language", **QUICK)
    ca.train(model, films, "graft", **QUICK)
    return model


def test_a_grafted_decoder_is_a_copy_of_any_width():
    model, own = small(adapter_dim=24), decoder()
    shapes = model.parameters()
    assert shapes["adapter.fc1.weight"] == (24, 16)
    assert shapes["adapter.fc2.weight"] == (32, 24)
    assert shapes["decoder.model.embed_tokens.weight"] == (4160, 32)
    assert sum(np.prod(s) for n, s in shapes.items() if n.startswith("decoder.")) == (
        own.parameters
    )
    model.graft(decoder(dim=48))
    assert model.parameters()["adapter.fc2.weight"] == (48, 48)


@pytest.mark.parametrize("size", ["qformer", "tiny"])
def test_an_adapter_speaks_about_as_loudly_as_the_words(size, films):
    model = small(size)
    words = model.parameter("decoder.model.embed_tokens.weight").std()
    x = model.encode(films, level="queries", progress=False)
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    p = tensors(model)
    inner = x @ p["adapter.fc1.weight"].T + p["adapter.fc1.bias"]
    inner = inner / (1 + np.exp(-1.702 * inner))
    spoken = inner @ p["adapter.fc2.weight"].T + p["adapter.fc2.bias"]
    assert 0.5 < spoken.std() / words < 2


def test_language_teaches_the_decoder_and_graft_the_adapter_alone(films):
    model = small(lora_rank=2)
    before = tensors(model)
    with pytest.raises(TrainingError, match=r"call model\.merge_lora\(\) first"):
        ca.train(model, films, "language", **QUICK)
    ca.train(model, films, "graft", **QUICK)
    changed = moved(before, model)
    assert changed == {n for n in before if n.startswith(("adapter.", "lora."))}
    model = small()
    before = tensors(model)
    ca.train(model, films, "language", **QUICK)
    assert moved(before, model) == {n for n in before if n.startswith("decoder.")}


def test_the_queries_may_learn_beside_the_adapter(films):
    model = small("tiny")
    before = tensors(model)
    ca.train(model, films, "graft", train=["adapter.*", "pool.*"], **QUICK)
    changed = moved(before, model)
    assert changed == {n for n in before if n.startswith(("adapter.", "pool."))}


def test_a_run_that_is_taken_up_again_ends_with_the_same_bits(films, tmp_path):
    for stage in ("language", "graft"):
        whole = small(lora_rank=2 if stage == "graft" else 0)
        ca.train(whole, films, stage, **QUICK)
        parts = small(lora_rank=2 if stage == "graft" else 0)
        options = QUICK | {"out": tmp_path / stage, "checkpoint_steps": 1}
        ca.train(parts, films, stage, stop_after=2, **options)
        parts = small(lora_rank=2 if stage == "graft" else 0)
        ca.train(parts, films, stage, **options)
        assert whole.fingerprint() == parts.fingerprint(), stage


def test_answers_are_texts_with_a_score_in_the_order_of_the_films(trained, films):
    answers = trained.ask(films[:5], QUESTION, batch_size=2, progress=False)
    assert [a.task for a in answers] == ["vqa"] * 5
    assert all(a.score < 0 and a.error is None for a in answers)
    one = trained.ask(films[3], QUESTION, progress=False)
    assert one.text == answers[3].text
    assert one.score == pytest.approx(answers[3].score, abs=1e-4)
    assert repr(one).startswith("Answer(vqa, ")
    assert films[3].id not in repr(one)
    assert trained.ask(films[0], progress=False).task == "report"
    report = trained.ask(films[0], max_tokens=7, progress=False)
    assert "cut" in report._repr_html_() or report.ended


def test_each_film_may_have_a_question_of_its_own(trained, films):
    questions = ["Is there edema?", QUESTION, "How large is the effusion?"]
    together = trained.ask(films[:3], questions, progress=False)
    for film, question, answer in zip(films[:3], questions, together, strict=True):
        alone = trained.ask(film, question, progress=False)
        assert alone.text == answer.text
        assert alone.score == pytest.approx(answer.score, abs=1e-4)


def test_draws_depend_on_the_seed_and_beams_are_searched(trained, films):
    options = {"temperature": 1.5, "max_tokens": 8, "progress": False}

    def draw(seed):
        return [a.text for a in trained.ask(films[:6], QUESTION, seed=seed, **options)]

    assert draw(1) == draw(1) != draw(2)
    assert trained.ask(films[0], QUESTION, beams=3, progress=False).score < 0


def test_answers_in_bfloat16_are_close(trained, films):
    def ask(precision):
        return trained.prefer(
            films[:4], QUESTION, ["yes", "no"], precision=precision, progress=False
        )

    np.testing.assert_allclose(ask("bf16").to_numpy(), ask("f32").to_numpy(), atol=0.05)
    with pytest.raises(InvalidValueError, match="found q8_0, expected f32 or bf16"):
        ask("q8_0")


def test_preferences_add_up_and_follow_the_scores(trained, films):
    table = trained.prefer(films[:4], QUESTION, ["yes", "no"], progress=False)
    rows = table.to_numpy()
    assert table.columns == ("yes", "no")
    np.testing.assert_allclose(rows.sum(1), 1)
    small = trained.prefer(
        films[:4], QUESTION, ["yes", "no"], batch_size=1, progress=False
    )
    np.testing.assert_allclose(rows, small.to_numpy(), atol=1e-5)
    best = trained.ask(films[0], QUESTION, progress=False).text
    if best in ("yes", "no"):
        assert table[best][0] >= 0.5


def test_a_bad_film_costs_its_own_answer(trained, films, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no film")
    mixed = [films[0], bad, films[1]]
    answers = trained.ask(mixed, QUESTION, progress=False)
    assert "bad.png" in answers[1].error
    assert answers[1].text == ""
    assert repr(answers[1]) == "Answer(vqa, error)"
    assert answers[0].error is answers[2].error is None
    with pytest.warns(UserWarning, match="row 1: "):
        table = trained.prefer(mixed, QUESTION, ["yes", "no"], progress=False)
    assert np.isnan(table["yes"]).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("question", "options", "text"),
    [
        ("", {}, "question: found an empty one in row 0"),
        (["Edema?"] * 3, {}, "found 3, expected one, or one for each of 2 films"),
        (None, {"task": "vqa"}, 'found none, expected one for the task "vqa"'),
        (
            "Edema?",
            {"task": "report"},
            'found one, expected none for the task "report"',
        ),
        ("Edema?", {"task": "poem"}, 'found "poem", expected one of report, vqa'),
        ("edema " * 120, {}, "question: found 125 tokens, expected at most 100"),
        ("Edema?", {"max_tokens": 0}, "max_new_tokens: found 0"),
        ("Edema?", {"batch_size": 0}, "batch_size: found 0"),
        ("Edema?", {"temperature": -1.0}, "temperature: found -1"),
    ],
)
def test_a_question_that_cannot_be_asked_says_why(
    trained, films, question, options, text
):
    with pytest.raises(InvalidValueError, match=re.escape(text)):
        trained.ask(films[:2], question, progress=False, **options)


def test_a_question_without_room_costs_its_own_answer(trained, films):
    short, long = "Is there edema?", "edema " * 120
    alone = trained.ask(films[:1], [short], progress=False)
    for asked in ([short, long, short], [long, short, short]):
        at = asked.index(long)
        said = trained.ask(films[:3], asked, batch_size=2, progress=False)
        assert "question: found 125 tokens, expected at most 100" in said[at].error
        assert [one.error for one in said].count(None) == 2
        if at:
            assert said[0].text == alone[0].text
        with pytest.warns(UserWarning, match="found 125 tokens"):
            chances = trained.prefer(films[:3], asked, ["yes", "no"], progress=False)
        assert [np.isnan(share) for share in chances["yes"]] == [
            q == long for q in asked
        ]
    with pytest.raises(InvalidValueError, match="found 125 tokens"):
        trained.ask(films[:2], [long, long], progress=False)


def test_options_that_cannot_be_chosen_from_say_why(trained, films):
    for options, text in [
        (["yes"], "found 1, expected two or more"),
        (["yes", " "], "found an empty one at place 1"),
        (["no", "no"], "expected every one once"),
    ]:
        with pytest.raises(InvalidValueError, match=text):
            trained.prefer(films[:1], QUESTION, options, progress=False)


def test_a_model_without_a_decoder_says_how_to_get_one(films):
    model = ca.create("elixr", size="qformer", image_size=32, **SMALL)
    calls = [
        lambda: model.ask(films[0], QUESTION, progress=False),
        lambda: model.prefer(films[0], QUESTION, ["yes", "no"], progress=False),
        lambda: ca.train(model, films, "graft", progress=False),
        lambda: model.plan(2, asking=(8, 8)),
        model.merge_lora,
    ]
    for call in calls:
        with pytest.raises(InvalidValueError, match=r"model\.graft\(decoder\)"):
            call()


def test_merged_updates_answer_as_before(films):
    model = small(lora_rank=4, lora_targets=["q_proj", "v_proj", "down_proj"])
    ca.train(model, films, "graft", **QUICK)
    before = model.prefer(films[:6], QUESTION, ["yes", "no"], progress=False)
    base = tensors(model)
    model.merge_lora()
    assert not any(name.startswith("lora.") for name in model.parameters())
    changed = moved({n: v for n, v in base.items() if not n.startswith("lora.")}, model)
    assert {n.rsplit(".", 2)[1] for n in changed} == {"q_proj", "v_proj", "down_proj"}
    after = model.prefer(films[:6], QUESTION, ["yes", "no"], progress=False)
    np.testing.assert_allclose(before.to_numpy(), after.to_numpy(), atol=1e-5)
    with pytest.raises(InvalidValueError, match="found none; give the decoder some"):
        model.merge_lora()


def test_a_folder_brings_the_decoder_its_tokenizer_and_its_answers(
    trained, films, tmp_path
):
    trained.save(tmp_path / "a")
    again = ca.load(tmp_path / "a", device="cpu")
    assert again.fingerprint() == trained.fingerprint()

    def ask(model):
        return [a.text for a in model.ask(films[:4], QUESTION, progress=False)]

    assert ask(again) == ask(trained)
    again.save(tmp_path / "b")
    assert ca.load(tmp_path / "b").fingerprint() == trained.fingerprint()


def test_a_folder_without_its_tokenizer_or_with_another_names_the_file(
    trained, tmp_path
):
    trained.save(tmp_path / "model")
    file = tmp_path / "model" / "decoder" / "tokenizer.json"
    text = file.read_text()
    file.write_text(text.replace('"effusion"', '"effusionx"'))
    with pytest.raises(FormatError, match=r"decoder/tokenizer\.json: found another"):
        ca.load(tmp_path / "model")
    file.write_text("{")
    with pytest.raises(FormatError, match=r"decoder/tokenizer\.json"):
        ca.load(tmp_path / "model")
    shutil.rmtree(file.parent)
    with pytest.raises(CarinaError, match=r"decoder.*tokenizer\.json"):
        ca.load(tmp_path / "model")


def test_a_folder_from_before_decoders_opens_as_it_was(tmp_path):
    model = ca.create("elixr", size="qformer", image_size=32, **SMALL)
    model.save(tmp_path)
    assert "decoder" not in json.loads((tmp_path / "config.json").read_text())["system"]
    assert ca.load(tmp_path).fingerprint() == model.fingerprint()


@pytest.mark.parametrize("precision", ["bf16", "q8_0"])
def test_a_decoder_in_fewer_bits_is_refused_by_name(precision, tmp_path):
    decoder().save(tmp_path)
    short = ca.load_decoder(tmp_path, precision=precision, device="cpu")
    model = ca.create("elixr", size="qformer", image_size=32, device="cpu", **SMALL)
    with pytest.raises(InvalidValueError, match=f"opened in {precision}, expected f32"):
        model.graft(short)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"adapter_dim": 0}, "decoder.adapter_dim"),
        ({"lora_rank": 5000}, "lora.rank"),
        ({"lora_rank": 2, "lora_alpha": -1.0}, "lora.alpha"),
        ({"lora_rank": 2, "lora_targets": ["lm_head"]}, "expected some of q_proj"),
    ],
)
def test_a_refused_graft_leaves_the_model_as_it_was(options, text):
    model = small()
    before = model.fingerprint()
    with pytest.raises(ConfigError, match=text):
        model.graft(decoder(dim=48), **options)
    assert model.fingerprint() == before


def test_a_decoder_with_too_few_positions_is_refused():
    model = ca.create("elixr", size="qformer", image_size=32, **SMALL)
    with pytest.raises(ConfigError, match="too many for a decoder of 4 positions"):
        model.graft(ca.create_decoder("1m", max_positions=4, **SIZES))


def test_studies_without_words_are_left_out_and_long_reports_are_counted(films):
    model = small()
    run = ca.train(
        model, films, "graft", objective__max_tokens=24, stop_after=1, **QUICK
    )
    assert any("lessons have more than 24 tokens: cut" in f for f in run.failures)
    bare = ca.open_dataset(
        [
            {"study": str(i), "patient": str(i), "image": films[i].images[0]}
            for i in range(4)
        ],
        root=".",
        progress=False,
    )
    with pytest.raises(
        InvalidValueError, match="needs 1 or more studies with a report"
    ):
        ca.train(model, bare, "graft", progress=False)


def test_plans_count_the_decoder():
    model = small()
    bare = ca.create("elixr", size="qformer", image_size=32, device="cpu", **SMALL)
    more = 4 * sum(
        np.prod(shape)
        for name, shape in model.parameters().items()
        if name.startswith(("decoder.", "adapter."))
    )

    def weights(model):
        return model.plan(4).bytes["weights"]

    assert weights(model) - weights(bare) == more
    asking = model.plan(4, asking=(16, 24))
    assert asking.bytes["cache"] > 0
    assert asking.total > model.plan(4).total
    plan = model.plan(8, training="graft")
    assert plan.bytes["optimiser"] < plan.bytes["weights"]
    assert plan.total > asking.total
    language = model.plan(8, training="language")
    assert language.bytes["gradients"] > plan.bytes["gradients"]
