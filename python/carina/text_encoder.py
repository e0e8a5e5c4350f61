"""Texts to vectors, from a folder with a published encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._core import LoadReport
from carina._files import PathLike
from carina._progress import Bar
from carina.errors import CheckpointError


class TextEncoder:
    """A BERT, RoBERTa, T5 or SigLIP encoder that gives one vector for a text.

    Open one with :meth:`load`. Pickling keeps the path and a hash, never the
    weights: the copy opens the folder again and fails if it has changed.

    Examples
    --------
    >>> encoder = TextEncoder.load("all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode(["No pleural effusion."]).shape  # doctest: +SKIP
    (1, 384)
    """

    def __init__(self, core: _core.TextEncoder, *, folder: Path, device: str) -> None:
        self._core = core
        self._folder = folder
        self._device = device

    @classmethod
    def load(cls, folder: PathLike, *, device: str = "auto") -> "TextEncoder":
        """Open a folder; nothing is fetched from anywhere.

        Parameters
        ----------
        folder : path
            Holds ``config.json`` (Hugging Face; the encoder of T5 or the text tower of
            SigLIP, of a whole model or alone, besides BERT), ``tokenizer.json``
            or ``vocab.txt``, and ``model.safetensors`` or shards with their index.
            ``modules.json`` and what it names (sentence-transformers) decide pooling
            and normalisation; without it the mean of the tokens is taken as it is.
        device : str, default "auto"
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.

        Returns
        -------
        TextEncoder

        Raises
        ------
        CheckpointError
            The weights do not fit: the text names keys, found and expected shapes.
        ConfigError
            A field of ``config.json`` has a value that no model can be built from.
        FormatError
            A file is not what it should be.
        MissingFileError
            A file is not there.
        DeviceError
            The device asked for is not there.

        References
        ----------
        Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.
        """
        path = Path(folder).absolute()
        return cls(_core.TextEncoder.load(path, device), folder=path, device=device)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        progress: bool | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts, order kept.

        Parameters
        ----------
        texts : sequence of str
            Longer ones than :attr:`max_length` tokens are cut.
        batch_size : int, default 32
            Texts at once; the result does not depend on it.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.

        Returns
        -------
        ndarray of shape (n, d), float32
            One row a text, of length one if :attr:`normalises`.

        Raises
        ------
        InvalidValueError
            A text of over a million bytes, or a batch size below one.
        TypeError
            A single string, or an item that is not a string.
        """
        if isinstance(texts, str):
            raise TypeError("texts: found one str, expected a sequence of them")
        with Bar("embed texts", show=progress, unit="text") as bar:
            rows: NDArray[np.float32] = self._core.encode(list(texts), batch_size, bar)
        return rows

    def tokenize(self, text: str) -> list[str]:
        """Show the pieces that a text is read as, special ones included.

        Parameters
        ----------
        text : str
            Cut at :attr:`max_length` pieces.

        Returns
        -------
        list of str
        """
        return self._core.tokenize(text)

    @property
    def report(self) -> LoadReport:
        """What loading matched, renamed and dropped, as a table."""
        return self._core.report

    @property
    def dim(self) -> int:
        """Features of an embedding."""
        return self._core.dim

    @property
    def max_length(self) -> int:
        """The longest text, in tokens."""
        return self._core.max_length

    @property
    def pooling(self) -> str:
        """How tokens become one vector: ``"mean"``, ``"class"`` or ``"last"``."""
        return self._core.pooling

    @property
    def normalises(self) -> bool:
        """Whether embeddings have length one."""
        return self._core.normalises

    def fingerprint(self) -> str:
        """Hash options, tokenizer and weights (SHA-256, as they are on disk).

        Embeddings of encoders with different fingerprints must not be mixed.
        """
        return self._core.fingerprint()

    def __repr__(self) -> str:
        unit = ", unit length" if self.normalises else ""
        return (
            f"TextEncoder(dim={self.dim}, pooling={self.pooling!r}{unit}, "
            f"max_length={self.max_length}, device={self._device!r})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "features": self.dim,
            "pooling": self.pooling,
            "unit length": "yes" if self.normalises else "no",
            "longest text": f"{self.max_length} tokens",
            "device": self._device,
        }
        cells = "".join(
            f'<tr><th style="text-align:left">{name}</th><td>{value}</td></tr>'
            for name, value in rows.items()
        )
        return f"<table><caption>TextEncoder</caption>{cells}</table>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._folder, self._device, self.fingerprint())


def _reopen(folder: Path, device: str, fingerprint: str) -> TextEncoder:
    encoder = TextEncoder.load(folder, device=device)
    if encoder.fingerprint() != fingerprint:
        message = f"{folder}: the files have changed since the encoder was pickled"
        raise CheckpointError(message)
    return encoder
