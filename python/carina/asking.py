"""Models with a decoder: put one behind a model, ask it, let it choose."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from carina import _core
from carina._choice import Choice, options_of
from carina._failures import report_failures
from carina._films import as_dataset
from carina._progress import Bar
from carina.decoder import Decoder
from carina.errors import InvalidValueError
from carina.image import Image
from carina.study import Study
from carina.table import Table

if TYPE_CHECKING:
    import os

    from carina.dataset import Dataset

Task = Literal["vqa", "report", "report_check"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered about a film.

    Parameters
    ----------
    text : str
        The answer; empty when the film could not be read.
    task : str
        What was asked for.
    score : float
        Mean log-probability of its tokens, the one that ends it among them; NaN when
        the film could not be read. It orders answers, and is no probability of truth.
    ended : bool
        Whether the decoder ended it; if not, there was no more room.
    error : str or None
        Why the film could not be read.
    """

    text: str
    task: str
    score: float
    ended: bool = True
    error: str | None = None

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Answer({self.task}, error)"
        more = "" if self.ended else ", cut"
        return f"Answer({self.task}, {self.text!r}, score={self.score:.2f}{more})"

    def _repr_html_(self) -> str:
        if self.error is not None:
            return f"<p><b>{self.task}</b> <i>{html.escape(self.error)}</i></p>"
        return (
            f"<p><b>{self.task}</b> {html.escape(self.text)}"
            f" <small>mean log-probability {self.score:.2f}"
            f"{'' if self.ended else ', cut'}</small></p>"
        )


class Asking:
    """What a model can do once a decoder stands behind it."""

    _core: _core.Model

    def graft(
        self,
        decoder: Decoder,
        *,
        adapter_dim: int | None = None,
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        lora_targets: Sequence[str] = ("q_proj", "v_proj"),
        seed: int = 0,
    ) -> None:
        """Put a copy of a decoder behind the model, by an adapter that is to learn.

        What the queries gather from a film becomes words of the decoder [1]_. The
        stage ``"graft"`` teaches the adapter to speak to it; the decoder stays as it
        is, and low-rank updates [2]_ learn in its place where there are some. A decoder
        that is behind the model already is replaced.

        Parameters
        ----------
        decoder : Decoder
            From :func:`load_decoder` in float32, or :func:`create_decoder`; its
            weights, tokenizer and chat template are copied.
        adapter_dim : int, optional
            Features between the two maps of the adapter; by default the decoder's.
        lora_rank : int, default=0
            Rank of the updates; 0 for none.
        lora_alpha : float, optional
            Updates are multiplied by this over the rank; by default twice the rank.
        lora_targets : sequence of str, default=("q_proj", "v_proj")
            The decoder's maps that get an update: some of ``q_proj``, ``k_proj``,
            ``v_proj``, ``o_proj``, ``gate_proj``, ``up_proj`` and ``down_proj``.
        seed : int, default=0
            Seed of the adapter and the updates.

        Raises
        ------
        InvalidValueError
            If the decoder was opened in fewer bits, or shared.
        ConfigError
            If a size is out of range, or a target is none of the decoder's maps.

        References
        ----------
        .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317.
        .. [2] Hu et al., "LoRA", 2022. arXiv:2106.09685.
        """
        lora = None
        if lora_rank:
            alpha = 2.0 * lora_rank if lora_alpha is None else lora_alpha
            fields = {"rank": lora_rank, "alpha": alpha, "targets": list(lora_targets)}
            lora = json.dumps(fields)
        _core.graft(
            self._core, decoder._core, adapter_dim=adapter_dim, lora=lora, seed=seed
        )

    def merge_lora(self) -> None:
        """Add the low-rank updates to the decoder's weights, and drop them.

        Answers stay the same up to rounding, and come faster.

        Raises
        ------
        InvalidValueError
            If there are no updates.
        """
        _core.merge_lora(self._core)

    @overload
    def ask(
        self,
        studies: "Study | Image | os.PathLike[str] | str",
        question: str | None = None,
        *,
        task: Task | None = None,
        max_tokens: int | None = None,
        precision: Literal["f32", "bf16"] = "f32",
        batch_size: int = 16,
        cache: str = "none",
        progress: bool | None = None,
        **choice: Unpack[Choice],
    ) -> Answer: ...

    @overload
    def ask(
        self,
        studies: "Dataset | Sequence[Any]",
        question: str | Sequence[str] | None = None,
        *,
        task: Task | None = None,
        max_tokens: int | None = None,
        precision: Literal["f32", "bf16"] = "f32",
        batch_size: int = 16,
        cache: str = "none",
        progress: bool | None = None,
        **choice: Unpack[Choice],
    ) -> list[Answer]: ...

    def ask(
        self,
        studies: Any,
        question: str | Sequence[str] | None = None,
        *,
        task: Task | None = None,
        max_tokens: int | None = None,
        precision: Literal["f32", "bf16"] = "f32",
        batch_size: int = 16,
        cache: str = "none",
        progress: bool | None = None,
        **choice: Unpack[Choice],
    ) -> Answer | list[Answer]:
        """Ask about films in words.

        Parameters
        ----------
        studies : Study, Image, path, array (H, W), Dataset, or a sequence of them
            The films; the first film of every study.
        question : str or sequence of str, optional
            What is asked: of all films, or of each its own. None for a report.
        task : {"vqa", "report", "report_check"}, optional
            By default ``"vqa"`` with a question and ``"report"`` without. A
            ``"report_check"`` takes a report for the question, and answers ``none`` or
            what is wrong with it and how it should be: ``laterality: There is a small
            left effusion.``
        max_tokens : int, optional
            The most tokens of an answer; by default 24, and 192 of a report, but not
            more than half of what the decoder has room for.
        precision : {"f32", "bf16"}, default="f32"
            As for :meth:`Model.encode`.
        batch_size : int, default=16
            Films at a time.
        cache : {"none", "memory"} or path, default="none"
            As for :meth:`Model.encode`.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.
        **choice
            How tokens are chosen: see :class:`Choice`.

        Returns
        -------
        Answer or list of Answer
            One for one film, else a list in the order of `studies`. A film that
            cannot be read, or whose own question leaves no room for an answer, costs
            its own answer only, whose ``error`` says why.

        Raises
        ------
        InvalidValueError
            If the model has no decoder, the task is unknown, a question is missing or
            empty, or there is no room for any beside the film and the answer.
        """
        task = task or ("report" if question is None else "vqa")
        most = self._usual_tokens(task) if max_tokens is None else max_tokens
        with Bar("ask", show=progress, unit="film") as bar:
            answers, failures = _core.ask(
                self._core,
                as_dataset(studies)._core,
                task=task,
                questions=_texts(question),
                options=options_of(most, choice),
                precision=precision,
                batch_size=batch_size,
                cached=cache,
                watch=bar,
            )
        errors = dict(failures)
        rows = [
            Answer(text=one[0], task=task, score=one[1], ended=one[2])
            if one is not None
            else Answer(text="", task=task, score=float("nan"), error=errors.get(row))
            for row, one in enumerate(answers)
        ]
        return rows[0] if _is_one(studies) else rows

    def _usual_tokens(self, task: str) -> int:
        """Tokens of an answer, at most half of what the decoder has room for."""
        system = json.loads(self._core.spec())["system"]
        usual = dict(_core.film_tasks()).get(task, 1)
        if "decoder" not in system:
            return usual
        room = system["decoder"]["llama"]["max_positions"] - system["queries"]
        return max(1, min(usual, int(room) // 2))

    def prefer(
        self,
        studies: Any,
        question: str | Sequence[str],
        options: Sequence[str],
        *,
        precision: Literal["f32", "bf16"] = "f32",
        batch_size: int = 16,
        cache: str = "none",
        progress: bool | None = None,
    ) -> Table:
        """Say how likely each of a few answers is.

        Parameters
        ----------
        studies : Study, Image, path, array (H, W), Dataset, or a sequence of them
            The films; the first film of every study.
        question : str or sequence of str
            What is asked: of all films, or of each its own.
        options : sequence of str
            The answers to choose from, such as ``["yes", "no"]``.
        precision : {"f32", "bf16"}, default="f32"
            As for :meth:`Model.encode`.
        batch_size : int, default=16
            Films at a time.
        cache : {"none", "memory"} or path, default="none"
            As for :meth:`Model.encode`.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.

        Returns
        -------
        Table
            One row a film, one column an option: the likelihoods of the whole answers,
            divided by their sum. A film that cannot be read is a row of NaN, and a
            warning says why. Scores until they are calibrated.

        Raises
        ------
        InvalidValueError
            If the model has no decoder, there are fewer than two options, or two are
            the same.
        """
        choices = _texts(options)
        if len(set(choices)) < len(choices):
            msg = f"options: found {choices}, expected every one once"
            raise InvalidValueError(msg)
        with Bar("prefer", show=progress, unit="film") as bar:
            rows, failures = _core.prefer(
                self._core,
                as_dataset(studies)._core,
                task="vqa",
                questions=_texts(question),
                options=choices,
                precision=precision,
                batch_size=batch_size,
                cached=cache,
                watch=bar,
            )
        report_failures(failures, raises=False)
        unknown = [float("nan")] * len(choices)
        values = np.array([unknown if row is None else row for row in rows])
        return Table({name: values[:, i] for i, name in enumerate(choices)})


def _texts(given: str | Sequence[str] | None) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def _is_one(studies: Any) -> bool:
    """Say whether one film was given, not several."""
    if isinstance(studies, np.ndarray):
        return studies.ndim == 2
    return isinstance(studies, Study | Image | str) or hasattr(studies, "__fspath__")
