"""Prompt banks: what a report says when a finding is there, and when it is not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from carina import _core
from carina.errors import InvalidValueError


@dataclass(frozen=True)
class Prompt:
    """The phrases of one finding.

    Parameters
    ----------
    finding : str
        What the phrases are about.
    present : tuple of str
        Phrases of a film that has the finding.
    absent : tuple of str
        Phrases of a film that does not have it.
    """

    finding: str
    present: tuple[str, ...]
    absent: tuple[str, ...]


class PromptBank(Sequence[Prompt]):
    """Prompts of several findings, in order.

    Parameters
    ----------
    prompts : sequence of Prompt

    Raises
    ------
    InvalidValueError
        If there is no prompt, a finding is there twice, or a side has no phrase or an
        empty one.

    Examples
    --------
    >>> bank = PromptBank.of({"effusion": ("pleural effusion", "no pleural effusion")})
    >>> bank.findings
    ['effusion']
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        if not prompts:
            msg = "prompts: found none, expected at least one finding"
            raise InvalidValueError(msg)
        for prompt in prompts:
            if not prompt.present or not prompt.absent:
                msg = (
                    f"prompts of {prompt.finding!r}: expected at least one phrase of "
                    f"presence and one of absence, found {len(prompt.present)} and "
                    f"{len(prompt.absent)}"
                )
                raise InvalidValueError(msg)
            for phrases in (prompt.present, prompt.absent):
                _check_phrases(prompt.finding, phrases)
        names = [prompt.finding for prompt in prompts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidValueError(f"prompts: found {twice} twice, expected each once")
        self._prompts = tuple(prompts)

    @classmethod
    def of(cls, prompts: "PromptsLike") -> "PromptBank":
        """Make a bank of whatever names prompts.

        Parameters
        ----------
        prompts : PromptBank, str, mapping or sequence of str
            A bank; the name of a built-in bank; a mapping of each finding to its
            phrases of presence and of absence (a phrase or a sequence of phrases
            each); or finding names, whose phrases become ``x`` and ``no x``.
        """
        if isinstance(prompts, PromptBank):
            return prompts
        if isinstance(prompts, str):
            rows = _core.prompt_bank(prompts)
            return cls([Prompt(f, tuple(p), tuple(a)) for f, p, a in rows])
        if isinstance(prompts, Mapping):
            return cls([_prompt(name, sides) for name, sides in prompts.items()])
        return cls([Prompt(name, (name,), (f"no {name}",)) for name in prompts])

    @property
    def findings(self) -> list[str]:
        """The findings' names, in order."""
        return [prompt.finding for prompt in self._prompts]

    def select(self, findings: Sequence[str]) -> "PromptBank":
        """Take the prompts of some findings, in the order given."""
        known = {prompt.finding: prompt for prompt in self._prompts}
        missing = [name for name in findings if name not in known]
        if missing:
            msg = f"findings: found {missing}, expected some of {self.findings}"
            raise InvalidValueError(msg)
        return PromptBank([known[name] for name in findings])

    def __len__(self) -> int:
        return len(self._prompts)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prompt, ...]: ...
    def __getitem__(self, index: int | slice) -> Prompt | tuple[Prompt, ...]:
        return self._prompts[index]

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts)

    def __repr__(self) -> str:
        return f"PromptBank({', '.join(self.findings)})"


PromptsLike = (
    PromptBank
    | str
    | Mapping[str, tuple[str | Sequence[str], str | Sequence[str]]]
    | Sequence[str]
)


def prompts(name: str) -> PromptBank:
    """Open a built-in prompt bank.

    Parameters
    ----------
    name : str
        One of :func:`list_prompts`; ``"chexpert13"`` holds the thirteen findings of
        the zero-shot protocol of CXR Foundation and MedSigLIP.

    Raises
    ------
    InvalidValueError
        If there is no bank of that name.

    References
    ----------
    .. [1] Sellergren et al., "MedGemma Technical Report", 2025. arXiv:2507.05201.
    """
    return PromptBank.of(name)


def list_prompts() -> list[str]:
    """List the built-in prompt banks."""
    return list(_core.list_prompts())


def _check_phrases(finding: str, phrases: Sequence[str]) -> None:
    if isinstance(phrases, str):
        raise InvalidValueError(
            f"prompts of {finding!r}: found one text, expected a sequence of them"
        )
    if not all(isinstance(text, str) and text.strip() for text in phrases):
        raise InvalidValueError(
            f"prompts of {finding!r}: found an empty phrase, expected words"
        )


def _prompt(
    name: str, sides: tuple[str | Sequence[str], str | Sequence[str]]
) -> Prompt:
    if isinstance(sides, str) or len(sides) != 2:
        msg = f"prompts of {name!r}: expected (present, absent), found {sides!r}"
        raise InvalidValueError(msg)
    present, absent = ((s,) if isinstance(s, str) else tuple(s) for s in sides)
    return Prompt(name, present, absent)
