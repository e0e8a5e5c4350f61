"""Decoders: writing, scoring, conversations and their folders."""

import json
import pickle

import carina
import numpy as np
import pytest
from carina.errors import ConfigError, InvalidValueError

SMALL = {"depth": 2, "dim": 32, "heads": 4, "kv_heads": 2, "mlp_dim": 48}
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'].strip() }} . "
    "{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}"
)


@pytest.fixture(scope="module")
def decoder():
    return carina.create_decoder("1m", seed=3, device="cpu", max_positions=64, **SMALL)


@pytest.fixture
def folder(decoder, tmp_path):
    decoder.save(tmp_path)
    return tmp_path


def test_the_same_seed_makes_the_same_decoder(decoder):
    same = carina.create_decoder("1m", seed=3, device="cpu", max_positions=64, **SMALL)
    other = carina.create_decoder("1m", seed=4, device="cpu", max_positions=64, **SMALL)
    logits = decoder.logits("no effusion")
    np.testing.assert_array_equal(logits, same.logits("no effusion"))
    assert np.abs(logits - other.logits("no effusion")).max() > 1e-3


def test_prompts_are_answered_in_their_order_whatever_the_batch(decoder):
    prompts = ["no effusion", "the heart", "clear lungs and no pleural effusion"]
    options = {"max_new_tokens": 6, "temperature": 1.0, "seed": 1}
    together = decoder.generate(prompts, **options)
    assert together == decoder.generate(prompts, batch_size=1, **options)
    assert together != decoder.generate(prompts, **(options | {"seed": 2}))
    assert decoder.generate("no effusion", **options) == together[:1]
    assert decoder.generate([]) == []


def test_greedy_and_one_wide_searches_take_the_most_likely_token(decoder):
    best = int(decoder.logits("no effusion")[-1].argmax())
    written = decoder.generate("no effusion", max_new_tokens=1)
    assert written == decoder.generate("no effusion", max_new_tokens=1, beams=1)
    assert decoder.generate("no effusion", max_new_tokens=1, stop=[best]) == [""]


def test_scores_follow_from_the_logits(decoder):
    text = "no pleural effusion"
    logits = decoder.logits(text).astype(np.float64)
    pieces = decoder.tokenize(text)
    assert pieces[0] == "[CLS]"
    assert len(pieces) == len(logits) == 4
    table = decoder.score([text, "clear"], batch_size=1)
    both = decoder.score([text, "clear"], batch_size=2)
    np.testing.assert_allclose(
        table["log_probability"], both["log_probability"], atol=1e-5
    )
    assert list(table["tokens"]) == [3, 1]
    np.testing.assert_allclose(
        table["perplexity"], np.exp(-table["log_probability"]), rtol=1e-12
    )
    # A random decoder knows nothing: its perplexity is near the size of the vocabulary.
    assert 0.3 * logits.shape[1] < table["perplexity"][0] < 3 * logits.shape[1]


def test_a_saved_decoder_is_the_same_in_float32_and_near_in_fewer_bits(decoder, folder):
    text = "the lungs are clear"
    exact = decoder.logits(text)
    again = carina.load_decoder(folder, device="cpu")
    np.testing.assert_array_equal(again.logits(text), exact)
    assert again.report.complete
    for precision in ("bf16", "q8_0"):
        short = carina.load_decoder(folder, precision=precision, device="cpu")
        assert short.precision == precision
        off = np.sqrt(((short.logits(text) - exact) ** 2).mean())
        assert off < 0.05 * exact.std()
        assert len(short.generate(text, max_new_tokens=3)) == 1
        with pytest.raises(InvalidValueError, match="expected one opened in f32"):
            short.save(folder / "copy")


def test_a_saved_folder_is_written_in_the_published_layout(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["num_key_value_heads"] == 2
    names = {"config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == names


def test_conversations_go_through_the_template_of_the_folder(folder):
    settings = {"chat_template": TEMPLATE, "bos_token": "[CLS]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    decoder = carina.load_decoder(folder, device="cpu")
    turns = [{"role": "user", "content": " is there an effusion "}]
    answer = decoder.chat(turns, max_new_tokens=4)
    assert isinstance(answer, str)
    assert answer == decoder.chat(" is there an effusion ", max_new_tokens=4)
    with pytest.raises(InvalidValueError, match="message 0: found no 'content'"):
        decoder.chat([{"role": "user"}])
    decoder.save(folder / "again")
    again = carina.load_decoder(folder / "again", device="cpu")
    assert again.chat(turns, max_new_tokens=4) == answer


def test_without_a_template_there_is_no_conversation(decoder):
    with pytest.raises(InvalidValueError, match="chat template: found none"):
        decoder.chat("hello")


def test_the_repr_shows_sizes_and_no_text(decoder):
    assert repr(decoder) == (
        "Decoder(llama, 0.1 M parameters, precision='f32', positions=64, device='cpu')"
    )
    assert "<td>64</td>" in decoder._repr_html_()


def test_the_bar_counts_tokens(decoder, capsys):
    decoder.generate(["no"] * 3, max_new_tokens=4, batch_size=2, progress=True)
    assert "8/8" in capsys.readouterr().err


def test_options_without_meaning_are_refused(decoder):
    with pytest.raises(InvalidValueError, match="temperature: found -1"):
        decoder.generate("no", temperature=-1.0)
    with pytest.raises(InvalidValueError, match="max_new_tokens: found 100 after a"):
        decoder.generate("no", max_new_tokens=100)
    with pytest.raises(InvalidValueError, match="batch_size: found 0"):
        decoder.generate("no", batch_size=0)
    with pytest.raises(InvalidValueError, match="beams: found 3 with a temperature"):
        decoder.generate("no", beams=3, temperature=1.0)
    with pytest.raises(TypeError, match=r"unknown options \['top'\]"):
        decoder.generate("no", top=3)
    with pytest.raises(TypeError, match="found one str"):
        decoder.score("no")
    with pytest.raises(InvalidValueError, match="text 0: found one token"):
        decoder.score([""])
    with pytest.raises(InvalidValueError, match="text 0: found 202 tokens, expected 1"):
        decoder.score(["no " * 201])


def test_sizes_and_fields_that_do_not_exist_are_refused():
    assert carina.list_decoder_sizes()[0] == "1m"
    with pytest.raises(InvalidValueError, match='decoder size: found "9b"'):
        carina.create_decoder("9b")
    with pytest.raises(ConfigError, match="unknown field `width`"):
        carina.create_decoder("1m", width=3)
    with pytest.raises(ConfigError, match="`heads`: found 5"):
        carina.create_decoder("1m", heads=5)
    with pytest.raises(ConfigError, match="`vocab_size`: found vocab_size 50"):
        carina.create_decoder("1m", vocab_size=50)


def test_a_decoder_is_not_pickled_by_its_weights(decoder):
    with pytest.raises(TypeError):
        pickle.dumps(decoder)


def test_a_plan_of_writing_counts_what_is_kept_of_each_text(decoder):
    few, many = decoder.plan(8, max_new_tokens=4), decoder.plan(8, max_new_tokens=50)
    assert (few.what, few.batch, few.shape) == ("generate", 8, (8,))
    assert few.bytes["cache"] > 0
    assert few.bytes["weights"] == 4 * decoder.parameters
    beams = decoder.plan(8, max_new_tokens=4, beams=3)
    assert beams.bytes["cache"] > 2 * few.bytes["cache"]
    assert decoder.plan(8, max_new_tokens=0).what == "score"
    assert decoder.plan(8, max_new_tokens=0).bytes["cache"] == 0
    assert many.total >= few.total


@pytest.mark.parametrize(("tokens", "batch"), [(0, 1), (61, 1), (8, 0)])
def test_no_plan_is_made_of_what_cannot_be_written(decoder, tokens, batch):
    with pytest.raises(InvalidValueError, match=r"plan: found .* expected at least 1"):
        decoder.plan(tokens, batch_size=batch, max_new_tokens=4)
