"""How a decoder chooses tokens."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class Choice(TypedDict, total=False):
    """How tokens are chosen; every field may be left out.

    The default is greedy: the most likely token, always.

    Parameters
    ----------
    temperature : float
        Logits are divided by it before a token is drawn; 0 takes the most likely one.
    top_k : int
        Draw from this many of the most likely tokens only.
    top_p : float
        Draw from the fewest likely tokens that have this probability together.
    repetition_penalty : float
        Logits of tokens that are there already are divided by it.
    no_repeat_ngram : int
        No run of this many tokens comes twice.
    beams : int
        Texts followed at once by beam search.
    length_penalty : float
        Scores of finished beams are divided by their length to this power.
    stopping : {"usual", "early", "never"}
        When a beam search ends: by its best beam of now, as soon as there are enough
        finished texts, or when no beam can improve on them at any length.
    stop : sequence of int
        Tokens that end a text besides the decoder's own.
    seed : int
        Seed of the draws.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    no_repeat_ngram: int
    beams: int
    length_penalty: float
    stopping: Literal["usual", "early", "never"]
    stop: Sequence[int]
    seed: int


def options_of(max_new_tokens: int, choice: Mapping[str, Any]) -> str:
    """Write options as the core reads them."""
    unknown = set(choice) - set(Choice.__annotations__)
    if unknown:
        known = ", ".join(Choice.__annotations__)
        raise TypeError(f"unknown options {sorted(unknown)}, expected some of {known}")
    options = {"max_new_tokens": max_new_tokens} | dict(choice)
    return json.dumps(options | {"stop": list(choice.get("stop", ()))})
