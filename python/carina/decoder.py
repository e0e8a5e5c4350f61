"""Texts from texts: decoders of the LLaMA family, from a folder or a preset."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._choice import Choice, options_of
from carina._core import LoadReport
from carina._files import PathLike
from carina._progress import Bar
from carina.errors import InvalidValueError
from carina.plan import Plan
from carina.table import Table

Precision = Literal["f32", "bf16", "q8_0"]


class Decoder:
    """A decoder of the LLaMA family: it writes on, and says how likely a text is.

    Open one with :func:`load_decoder`, or make one with :func:`create_decoder`.

    Examples
    --------
    >>> decoder = create_decoder("1m", seed=0)
    >>> decoder.score(["No pleural effusion."]).columns
    ['tokens', 'log_probability', 'perplexity']
    """

    def __init__(self, core: _core.Decoder, *, device: str) -> None:
        self._core = core
        self._device = device

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        max_new_tokens: int = 128,
        batch_size: int = 8,
        progress: bool | None = None,
        **choice: Unpack[Choice],
    ) -> list[str]:
        """Write after each prompt, order kept.

        The same prompts, options and seed give the same texts.

        Parameters
        ----------
        prompts : str or sequence of str
            What the decoder reads first.
        max_new_tokens : int, default=128
            The most tokens that are written for a prompt; with the prompt they must fit
            in the decoder's positions.
        batch_size : int, default=8
            Prompts at once.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.
        **choice
            How tokens are chosen: see :class:`Choice`.

        Returns
        -------
        list of str
            What was written, without the prompts and special tokens.

        Raises
        ------
        InvalidValueError
            An option without meaning, or more tokens than the decoder has positions.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        options = options_of(max_new_tokens, choice)
        with Bar("write", show=progress, unit="token") as bar:
            written = self._core.generate(
                texts, options=options, batch_size=batch_size, watch=bar
            )
        return [text for text, _, _ in written]

    def chat(
        self,
        messages: str | Sequence[Mapping[str, str]],
        *,
        max_new_tokens: int = 128,
        progress: bool | None = None,
        **choice: Unpack[Choice],
    ) -> str:
        """Answer a conversation, by the chat template of the decoder's folder.

        Parameters
        ----------
        messages : str or sequence of mapping
            What the user says, or turns with ``"role"`` (``"system"``, ``"user"``,
            ``"assistant"``) and ``"content"``.
        max_new_tokens : int, default=128
            The most tokens of the answer.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.
        **choice
            How tokens are chosen: see :class:`Choice`.

        Returns
        -------
        str

        Raises
        ------
        InvalidValueError
            There is no template, it refuses the conversation, or a turn lacks a field.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        turns = [_turn(i, message) for i, message in enumerate(messages)]
        options = options_of(max_new_tokens, choice)
        with Bar("answer", show=progress, unit="token") as bar:
            return self._core.chat(turns, options=options, watch=bar)[0]

    def logits(self, text: str) -> NDArray[np.float32]:
        """Return what the decoder expects after each token of a text.

        Parameters
        ----------
        text : str
            Read with the token that begins a text: see :meth:`tokenize`.

        Returns
        -------
        ndarray of shape (T, V), float32
            Logits over the vocabulary after each of the T tokens.
        """
        rows: NDArray[np.float32] = self._core.logits(text)
        return rows

    def score(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 8,
        progress: bool | None = None,
    ) -> Table:
        """Say how likely texts are.

        Parameters
        ----------
        texts : sequence of str
            Each of at least one token after the one that begins a text.
        batch_size : int, default=8
            Texts at once; the result does not depend on it.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.

        Returns
        -------
        Table
            For each text the tokens predicted (all but the first), the mean of their
            natural log-probabilities, and the perplexity, e to minus that mean.
        """
        if isinstance(texts, str):
            raise TypeError("texts: found one str, expected a sequence of them")
        with Bar("score texts", show=progress, unit="text") as bar:
            means, tokens = self._core.score(
                list(texts), batch_size=batch_size, watch=bar
            )
        columns = {
            "tokens": tokens,
            "log_probability": means,
            "perplexity": np.exp(-means),
        }
        return Table(columns)

    def plan(
        self,
        tokens: int,
        *,
        batch_size: int = 8,
        max_new_tokens: int = 128,
        beams: int = 1,
    ) -> Plan:
        """Say how much memory :meth:`generate` or :meth:`score` will take.

        Both check it themselves, and refuse what the system has no room for.

        Parameters
        ----------
        tokens : int
            Tokens of the longest prompt or text: see :meth:`tokenize`.
        batch_size : int, default=8
            Texts at once.
        max_new_tokens : int, default=128
            The most tokens that are written; 0 for :meth:`score`.
        beams : int, default=1
            Texts followed at once by beam search.

        Returns
        -------
        Plan
            Bytes by kind. ``cache`` are keys and values of the tokens read; ``packed``
            are the weights laid out for products, all that is kept of them in bfloat16
            and eight bits.

        Raises
        ------
        InvalidValueError
            More tokens than the decoder has positions, or none.
        """
        room = self.config["max_position_embeddings"]
        if not 0 < tokens <= room - max_new_tokens or batch_size < 1:
            raise InvalidValueError(
                f"plan: found {batch_size} texts of {tokens} and {max_new_tokens} new "
                f"tokens, expected at least 1 text of 1 to {room} in all"
            )
        options = (
            options_of(max_new_tokens, {"beams": beams}) if max_new_tokens else None
        )
        return Plan.from_json(self._core.plan(batch_size, tokens, options=options))

    def tokenize(self, text: str) -> list[str]:
        """Show the pieces that a prompt is read as.

        Parameters
        ----------
        text : str
            The prompt.

        Returns
        -------
        list of str
        """
        return self._core.tokenize(text)

    def save(self, folder: PathLike) -> None:
        """Write a folder that :func:`load_decoder` and other software read.

        Parameters
        ----------
        folder : path-like
            Made if it is not there; ``config.json``, ``tokenizer.json`` and
            ``model.safetensors`` (float32) in Hugging Face's layout.

        Raises
        ------
        InvalidValueError
            The decoder was opened in fewer bits, or shared: it has no float32 weights.
        """
        self._core.save(Path(folder))

    @property
    def config(self) -> dict[str, Any]:
        """Sizes and options, as ``config.json`` says them."""
        found: dict[str, Any] = json.loads(self._core.config)
        return found

    @property
    def parameters(self) -> int:
        """How many numbers the weights hold."""
        return self._core.parameters

    @property
    def precision(self) -> str:
        """What matrices are multiplied in: ``"f32"``, ``"bf16"`` or ``"q8_0"``."""
        return self._core.precision

    @property
    def report(self) -> LoadReport | None:
        """What loading matched and dropped; ``None`` for a decoder that was created."""
        return self._core.report

    def __repr__(self) -> str:
        config, millions = self.config, self.parameters / 1e6
        return (
            f"Decoder({config['model_type']}, {millions:.1f} M parameters, "
            f"precision={self.precision!r}, "
            f"positions={config['max_position_embeddings']}, device={self._device!r})"
        )

    def _repr_html_(self) -> str:
        config = self.config
        rows = {
            "family": config["model_type"],
            "parameters": f"{self.parameters:,}",
            "layers": config["num_hidden_layers"],
            "features": config["hidden_size"],
            "positions": config["max_position_embeddings"],
            "precision": self.precision,
            "chat template": "yes" if self._core.chats else "no",
            "device": self._device,
        }
        cells = "".join(
            f'<tr><th style="text-align:left">{name}</th><td>{value}</td></tr>'
            for name, value in rows.items()
        )
        return f"<table><caption>Decoder</caption>{cells}</table>"


def load_decoder(
    folder: PathLike,
    *,
    precision: Precision = "f32",
    device: str = "auto",
    shared: PathLike | None = None,
) -> Decoder:
    """Open the folder of a LLaMA, Mistral or Qwen2 model; nothing is fetched.

    Parameters
    ----------
    folder : path-like
        Holds ``config.json`` (Hugging Face), ``tokenizer.json`` or ``vocab.txt``, and
        ``model.safetensors`` or shards with their index.
    precision : {"f32", "bf16", "q8_0"}, default="f32"
        What matrices are multiplied in. In ``"bf16"`` and ``"q8_0"`` (eight bits, on
        the CPU) weights take half and a quarter of the memory, and cannot be saved.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.
    shared : path-like, optional
        A file for the weights as this processor multiplies them. All processes of a
        machine that name it hold them in memory once, and open them at once. It is
        written if it is not there, or is of other weights, another precision or
        another kind of processor; a file ``.<name>.lock`` stays beside it. The decoder
        is on the CPU, and its weights cannot be saved. The file may be deleted, never
        changed: keep it where only those you trust can write.

    Returns
    -------
    Decoder

    Raises
    ------
    CheckpointError
        The weights do not fit: the text names keys, found and expected shapes.
    ConfigError
        Another architecture, or a field that no model can be built from.
    FormatError
        A file is not what it should be, such as a template or a tokenizer.
    MissingFileError
        A file or a shard is not there.
    InvalidValueError
        An unknown precision; weights to share on a GPU.
    """
    path = None if shared is None else Path(shared)
    core = _core.Decoder.load(Path(folder), precision, device, path)
    return Decoder(core, device=device if shared is None else "cpu")


def create_decoder(
    size: str = "1m", *, seed: int = 0, device: str = "auto", **overrides: Any
) -> Decoder:
    """Make an untrained decoder that reads radiology English.

    Parameters
    ----------
    size : str, default="1m"
        About its parameters; see :func:`list_decoder_sizes`.
    seed : int, default=0
        Seed of the weights; the same seed gives the same model on every machine.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.
    **overrides
        Fields of the options to change, such as ``depth=4, max_positions=1024``.

    Returns
    -------
    Decoder

    Raises
    ------
    InvalidValueError
        If there is no such size.
    ConfigError
        If an override is unknown or out of range.
    """
    changes = json.dumps(overrides) if overrides else None
    core = _core.Decoder.create(size, seed=seed, device=device, overrides=changes)
    return Decoder(core, device=device)


def list_decoder_sizes() -> list[str]:
    """List the sizes that :func:`create_decoder` knows, small ones first."""
    return list(_core.decoder_sizes())


def _turn(i: int, message: Mapping[str, str]) -> tuple[str, str]:
    try:
        return message["role"], message["content"]
    except KeyError as error:
        raise InvalidValueError(
            f"message {i}: found no {error}, expected 'role' and 'content'"
        ) from error
