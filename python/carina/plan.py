"""What a call will hold in memory, before anything of it is allocated."""

import html
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The memory that a call will hold at its peak.

    Made by :meth:`Model.plan` and :meth:`Decoder.plan`.

    Attributes
    ----------
    what : str
        ``"encode"``, ``"encode_text"``, ``"generate"``, ``"score"`` or the name of a
        stage.
    batch : int
        Films or texts at a time.
    shape : tuple of int
        The shape of one: (C, H, W) of a film, (N,) tokens of a text.
    bytes : dict of str to int
        Bytes by kind at the moment when the most are held. ``weights`` are the model's
        own; ``packed`` a copy of them laid out for speed, see
        :func:`carina.prepare_weights`; ``gradients`` and ``optimiser`` those of the
        parameters; ``activations`` what layers put out, and its gradients;
        ``workspace`` what kernels need while they run; ``cache`` keys and values of the
        tokens that a decoder has read; ``data`` films that wait, and results.
    """

    what: str
    batch: int
    shape: tuple[int, ...]
    bytes: dict[str, int]

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read what the core gives."""
        fields = json.loads(text)
        return cls(
            what=fields["what"],
            batch=fields["batch"],
            shape=tuple(fields["shape"]),
            bytes=dict(fields["bytes"]),
        )

    @property
    def total(self) -> int:
        """Bytes in all, the model's weights included."""
        return sum(self.bytes.values())

    @property
    def beside_the_model(self) -> int:
        """Bytes beside the weights, which are there before the call."""
        return self.total - self.bytes["weights"]

    def __repr__(self) -> str:
        parts = ", ".join(f"{k} {size(v)}" for k, v in self.bytes.items() if v)
        return f"Plan({self._asked}: {size(self.total)} = {parts})"

    def _repr_html_(self) -> str:
        rows = [(k, v) for k, v in self.bytes.items() if v] + [("total", self.total)]
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td>{size(value)}</td></tr>"
            for name, value in rows
        )
        return f"<table><caption>{html.escape(self._asked)}</caption>{cells}</table>"

    @property
    def _asked(self) -> str:
        return f"{self.what}, {self.batch} of {'×'.join(map(str, self.shape))}"


def size(count: int) -> str:
    """Write a number of bytes with its unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"
