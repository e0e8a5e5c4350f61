"""Models in use: encode, plan, zero-shot, classify, save."""

import html
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._arrays import sigmoid
from carina._choice import options_of
from carina._failures import report_failures
from carina._files import PathLike
from carina._films import as_dataset
from carina._progress import Bar
from carina._stages import stage_like
from carina.asking import Asking
from carina.errors import InvalidValueError
from carina.plan import Plan
from carina.prompts import PromptBank, PromptsLike
from carina.recipe import Recipe
from carina.table import Table

Precision = Literal["f32", "bf16"]
Level = Literal["pooled", "queries", "contrastive", "tokens", "logits"]


class Model(Asking):
    """A model that can be trained and asked; made by :func:`create` or :func:`load`."""

    def __init__(
        self,
        core: _core.Model,
        *,
        report: str | None = None,
        source: Path | None = None,
    ) -> None:
        self._core = core
        self._source = source
        self.report = report

    @property
    def spec(self) -> dict[str, Any]:
        """The specification: system and sizes, recipe, licence, lineage."""
        spec: dict[str, Any] = json.loads(self._core.spec())
        return spec

    @property
    def recipe(self) -> Recipe:
        """How pixels are made right for this model."""
        return Recipe.from_json(self._core.recipe())

    @property
    def recipe_hash(self) -> str:
        """Hash of the recipe; embeddings made with another never mix with these."""
        return self._core.recipe_hash()

    @property
    def findings(self) -> list[str]:
        """What the classification head scores; empty before a supervised stage."""
        return self._core.findings()

    @property
    def device(self) -> str:
        """Where the model computes."""
        return self._core.device()

    def fingerprint(self) -> str:
        """Hash of all weights and settings."""
        return self._core.fingerprint()

    def parameter(self, name: str) -> NDArray[np.float32]:
        """Copy one parameter; :meth:`parameters` lists the names."""
        return self._core.parameter(name)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters by name."""
        return {name: tuple(shape) for name, shape in self._core.parameters()}

    def save(self, folder: PathLike, *, licence: str | None = None) -> Path:
        """Write the model's folder.

        Parameters
        ----------
        folder : path-like
            Made if it is not there.
        licence : str, optional
            Licence of the weights; kept with them.

        Returns
        -------
        Path
            The folder.
        """
        if licence is not None:
            self._core.set_licence(licence)
        self._core.save(Path(folder))
        self._source = Path(folder)
        return Path(folder)

    def encode(
        self,
        data: Any,
        *,
        level: Level = "pooled",
        precision: Precision = "f32",
        batch_size: int = 64,
        cache: str = "none",
        progress: bool | None = None,
        errors: Literal["raise", "nan"] = "nan",
    ) -> NDArray[np.float32]:
        """Encode films.

        Parameters
        ----------
        data : Dataset, Study, Image, path, array, or a sequence of them
            The films; the first film of every study.
        level : str, default="pooled"
            ``"pooled"`` (N, D) for probes; ``"queries"`` (N, Q, D); ``"contrastive"``
            (N, Q, E), unit vectors in the space shared with text; ``"tokens"``
            (N, T, D); ``"logits"`` (N, L) of the classification head.
        precision : {"f32", "bf16"}, default="f32"
            What matrices are multiplied in. ``"bf16"`` is faster on a GPU, and for
            transformers on a CPU with units for it (``carina doctor`` names them); on
            others linear maps stay in float32.
        batch_size : int, default=64
            Films at a time.
        cache : {"none", "memory"} or path, default="none"
            A folder keeps prepared films, named by their content and the recipe.
        progress : bool, optional
            Whether to show a bar; by default in notebooks and terminals.
        errors : {"nan", "raise"}, default="nan"
            What a film that cannot be read becomes: a row of NaN and a warning, or an
            exception.

        Returns
        -------
        ndarray of shape (N, …), float32
            Rows in the order of `data`.
        """
        dataset = as_dataset(data)
        with Bar("encode", show=progress, unit="film") as bar:
            values, failures = self._core.encode(
                dataset._core,
                level=level,
                precision=precision,
                batch_size=batch_size,
                cached=cache,
                watch=bar,
            )
        report_failures(failures, raises=errors == "raise")
        return values

    def plan(
        self,
        batch: int,
        shape: tuple[int, int] | None = None,
        *,
        training: bool | str | Mapping[str, Any] = False,
        level: Level = "pooled",
        precision: Precision = "f32",
        texts: bool = False,
        asking: tuple[int, int] | None = None,
        recompute_blocks: bool = False,
    ) -> Plan:
        """Predict how much memory a call will hold, without allocating anything of it.

        Every layer says what it holds for inputs of a shape; nothing is measured or
        fitted. Not counted are the decoding of files (a few times a film's pixels for
        each worker), films that a cache in memory keeps, and the freed pages that the
        allocator holds for ten seconds: the peak of the process lies above the total
        (``tests/compare/memory.py`` says how far).

        Parameters
        ----------
        batch : int
            Films (or texts) at a time.
        shape : (height, width), optional
            Pixels of a film; by default what the recipe makes.
        training : bool, str or mapping, default=False
            A stage, as :func:`carina.train` takes it, for a step of training;
            ``True`` is ``"contrastive"``. Texts count as long as the model reads.
        level : str, default="pooled"
            What :meth:`encode` is asked for; without `training`.
        precision : {"f32", "bf16"}, default="f32"
            As for :meth:`encode`; a stage has a precision of its own.
        texts : bool, default=False
            Plan :meth:`encode_text` in place of :meth:`encode`.
        asking : (tokens of the question, tokens of the answer), optional
            Plan :meth:`ask` in place of :meth:`encode`.
        recompute_blocks : bool, default=False
            As for :func:`carina.train`.

        Returns
        -------
        Plan

        Raises
        ------
        InvalidValueError
            If `batch` is below 1.

        Examples
        --------
        >>> import carina as ca
        >>> plan = ca.create("elixr").plan(64)
        >>> plan.bytes["packed"] > 0, plan.bytes["gradients"]
        (True, 0)
        """
        if batch < 1:
            msg = f"batch: found {batch}, expected at least 1"
            raise InvalidValueError(msg)
        if asking is not None:
            text = _core.plan_asking(
                self._core,
                batch,
                tokens=asking[0],
                options=options_of(asking[1], {}),
                size=shape,
            )
        elif training is False:
            text = self._core.plan(
                batch, size=shape, level=level, precision=precision, texts=texts
            )
        else:
            base = "contrastive" if training is True else training
            text = self._core.plan_training(
                json.dumps(stage_like(base, {"batch_size": batch})),
                size=shape,
                recompute=recompute_blocks,
            )
        return Plan.from_json(text)

    def embed(
        self, data: Any, *, batch_size: int = 64, progress: bool | None = None
    ) -> NDArray[np.float32]:
        """Encode films to unit vectors in the space shared with text.

        Parameters
        ----------
        data : Dataset, Study, Image, path, array, or a sequence of them
            The films.
        batch_size : int, default=64
            Films at a time.
        progress : bool, optional
            Whether to show a bar.

        Returns
        -------
        ndarray of shape (N, Q, E), float32
            One vector a query; the similarity to a text is the largest over them.
        """
        return self.encode(
            data, level="contrastive", batch_size=batch_size, progress=progress
        )

    def encode_text(self, texts: str | Sequence[str]) -> NDArray[np.float32]:
        """Encode texts to unit vectors in the space shared with films.

        Parameters
        ----------
        texts : str or sequence of str
            One with more tokens than the model reads is cut after a sentence, or within
            the first, and a warning says so.

        Returns
        -------
        ndarray of shape (T, E), float32
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        cut, most = self._core.overlong(texts)
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts have more than {most} tokens: cut after "
                "a sentence",
                stacklevel=2,
            )
        return self._core.encode_text(texts)

    def zero_shot(
        self,
        data: Any,
        prompts: PromptsLike,
        *,
        scoring: Literal["margin", "softmax"] = "margin",
        batch_size: int = 64,
        progress: bool | None = None,
    ) -> Table:
        """Score findings by words alone, without a label.

        Parameters
        ----------
        data : Dataset, Study, Image, path, array, sequence, or ndarray (N, Q, E)
            The films, or their embeddings at the contrastive level.
        prompts : PromptBank, str, mapping or sequence of str
            What to look for; see :meth:`carina.PromptBank.of`.
        scoring : {"margin", "softmax"}, default="margin"
            ``"margin"``: largest cosine over queries and phrases of presence, less
            that of absence [1]_. ``"softmax"``: phrases averaged, then a softmax over
            the two sides [2]_.
        batch_size : int, default=64
            Films at a time.
        progress : bool, optional
            Whether to show a bar.

        Returns
        -------
        Table
            One row a film, one column a finding. Scores, not probabilities: they order
            films, and are not calibrated.

        References
        ----------
        .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317.
        .. [2] Sellergren et al., "MedGemma Technical Report", 2025. arXiv:2507.05201.
        """
        bank = PromptBank.of(prompts)
        if isinstance(data, np.ndarray) and data.ndim == 3:
            films = np.ascontiguousarray(data, dtype=np.float32)
        else:
            films = self.embed(data, batch_size=batch_size, progress=progress)
        columns = {
            p.finding: self._core.zero_shot(
                films, present=list(p.present), absent=list(p.absent), scoring=scoring
            )
            for p in bank
        }
        return Table(columns)

    def classify(
        self, data: Any, *, batch_size: int = 64, progress: bool | None = None
    ) -> Table:
        """Score the findings of the classification head.

        Parameters
        ----------
        data : Dataset, Study, Image, path, array, or a sequence of them
            The films.
        batch_size : int, default=64
            Films at a time.
        progress : bool, optional
            Whether to show a bar.

        Returns
        -------
        Table
            One row a film, one column a finding, sigmoid outputs in [0, 1]; scores
            until they are calibrated.
        """
        logits = self.encode(
            data, level="logits", batch_size=batch_size, progress=progress
        )
        scores = sigmoid(logits.astype(np.float64))
        return Table({f: scores[:, i] for i, f in enumerate(self.findings)})

    def __reduce__(self) -> tuple[Callable[[str, str], "Model"], tuple[str, str]]:
        if self._source is None:
            msg = "a model is pickled as its folder: call model.save(folder) first"
            raise TypeError(msg)
        from carina.opening import reopen

        return reopen, (str(self._source), self._core.fingerprint())

    def __repr__(self) -> str:
        count = self._core.parameter_count()
        shape = self.recipe.output_shape
        size = "×".join(map(str, shape)) if shape else "any size"
        return (
            f"Model({self._core.system()}, {count / 1e6:.1f} M parameters, "
            f"input {size}, {self.device})"
        )

    def _repr_html_(self) -> str:
        spec = self.spec
        rows = {
            "system": self._core.system(),
            "parameters": f"{self._core.parameter_count():,}",
            "recipe": str(self.recipe),
            "findings": ", ".join(self.findings) or "none yet",
            "decoder": "yes" if "decoder" in spec["system"] else "none",
            "licence": spec["licence"],
            "lineage": "; ".join(spec["lineage"]) or "untrained",
            "device": self.device,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th>"
            f"<td style='text-align:left'>{html.escape(v)}</td></tr>"
            for k, v in rows.items()
        )
        return f"<table>{cells}</table>"
