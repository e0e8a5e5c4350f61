"""Training: stages as data, a live table, runs that can be taken up again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carina import _core
from carina._files import PathLike
from carina._progress import Bar, shown
from carina._stages import Stage, stage_like
from carina.dataset import Dataset
from carina.model import Model
from carina.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def stage(name: str, **changes: Any) -> Stage:
    """Take a stage of training from the presets.

    Parameters
    ----------
    name : str
        One of :func:`list_stages`.
    **changes
        Fields to put in place of the preset's; a nested field is written with two
        underscores (``schedule__peak=3e-4``).

    Returns
    -------
    dict
        The stage; it can be edited and stored as JSON. ``precision``, and ``restate``,
        ``wrong``, ``together`` and ``blind`` of an objective, stand in it where they
        are not off.

    Raises
    ------
    InvalidValueError
        If there is no stage of that name.

    Notes
    -----
    All stages have a ``name``, an ``objective``, ``train`` and ``freeze`` (names of
    parameters, ``*`` for any run of characters), ``epochs``, ``batch_size``,
    ``accumulate``, ``clip_norm``, ``optimiser`` (AdamW), ``schedule`` (``peak``,
    ``warmup``, ``floor``), ``average`` (the decay of a running mean of the weights),
    ``precision``, ``augment`` and ``seed``.

    An objective has these fields beside its ``kind``. Chances are from 0 to below 1.
    A validation set is read whole, without left-out sentences or wrong texts, so that
    its loss is not that of training.

    contrastive
        - ``loss``: ``"clip"`` [1]_ or ``"siglip"`` [2]_.
        - ``same``, which pairs of different studies belong together: ``"nothing"``,
          those of equal ``"text"``, of equal ``"labels"``, or by ``"claims"``: all that
          the text says of findings and devices holds by the film's report, which is
          read by word lists, in English, and has not got what it does not name.
        - ``text``: the ``"report"``, its ``"findings"`` or its ``"impression"``.
        - ``drop_sentence``: the chance that a sentence is left out.
        - ``restate``: that one says one of its claims again in the plainest words
          ("Small left pleural effusion."), where the word lists can.
        - ``drop_detail``: that one is read without its side; zone, degree, size and
          what else is seen alike.
        - ``wrong``: errors of :func:`corrupt`, with one of which each film's text is
          also shown, where one can be made, to be told from the true text as in
          NegCLIP [3]_. It still belongs to other films that it is true of. Meant
          for a model that knows the findings by now.
        - ``together``: see :func:`train`.
    qformer
        - ``same``, ``text``, ``drop_sentence``, ``restate`` and ``drop_detail``.
        - ``weights`` of contrast, match and caption; ``contrast_smoothing`` and
          ``caption_smoothing``.
        - ``gather``: ``"learns"``, or ``"constant"`` where only one side of the
          contrast is to learn.
    supcon
        - ``temperature``.
        - ``positives``: labels all ``"equal"``, or ``"shared"``, finding by finding.
        - ``uncertain``: ``"ignore"``, ``"zeros"`` or ``"ones"``.
    supervised
        - ``uncertain``; ``smoothing`` of the targets.
        - ``balance``: weighs both classes of a finding alike.
    instruct (the stages ``"language"`` and ``"graft"``)
        - ``tasks``: ``"report"``, ``"impression"``, ``"vqa"``, ``"reading"``,
          ``"report_check"`` and ``"comparison"``.
        - ``per_study``: how many are drawn for a study in an epoch.
        - ``max_tokens`` of prompt and answer.
        - ``blind``: texts alone.

    References
    ----------
    .. [1] Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", 2021. arXiv:2103.00020.
    .. [2] Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023.
       arXiv:2303.15343.
    .. [3] Yuksekgonul et al., "When and Why Vision-Language Models Behave like
       Bags-of-Words, and What to Do About It?", 2022. arXiv:2210.01936.

    Examples
    --------
    >>> import carina as ca
    >>> ca.stage("contrastive", objective__same="text")["objective"]["same"]
    'text'
    """
    return stage_like(name, changes)


def list_stages() -> list[str]:
    """List the stages of training."""
    return list(_core.list_stages())


def train(
    model: Model,
    dataset: Dataset,
    stage: str | Mapping[str, Any] = "contrastive",
    *,
    validation: Dataset | None = None,
    out: PathLike | None = None,
    resume: bool = True,
    checkpoint_steps: int = 0,
    stop_after: int | None = None,
    cache: str = "memory",
    workers: int = 2,
    recompute_blocks: bool = False,
    progress: bool | None = None,
    **changes: Any,
) -> "Run":
    """Train a model in place.

    Parameters
    ----------
    model : Model
        The model; its weights change.
    dataset : Dataset
        The studies to learn from.
    stage : str or mapping, default="contrastive"
        A preset's name or a stage from :func:`stage`.
    validation : Dataset, optional
        Studies to measure on after every epoch, never learnt from.
    out : path-like, optional
        A folder for the checkpoint and the trained model. With it, a run that was
        killed goes on where its last checkpoint stands, bit by bit.
    resume : bool, default=True
        Whether to go on from the folder's checkpoint when there is one.
    checkpoint_steps : int, default=0
        Steps between checkpoints, besides the end of every epoch.
    stop_after : int, optional
        Stop after this many steps in all, and keep the checkpoint.
    cache : {"memory", "none"} or path, default="memory"
        Where decoded films wait for the next epoch.
    workers : int, default=2
        Threads that decode and augment.
    recompute_blocks : bool, default=False
        Whether transformer blocks keep only their results and run again in the
        backward: about a third more time for a fraction of the memory, and the same
        gradients [1]_. :meth:`Model.plan` says what it saves.
    progress : bool, optional
        Whether to show a live table; by default in notebooks and terminals.
    **changes
        Fields of the stage to change, as :func:`stage` takes them:
        ``epochs=5, batch_size=64, seed=1, schedule__peak=3e-4``;
        ``precision="bf16"`` multiplies matrices in bfloat16 and keeps the weights
        in float32; ``accumulate=8, objective__together=True`` makes the eight
        micro-batches of a contrastive step one large batch, with the memory of
        one of them and the gradients of all [2]_.

    Returns
    -------
    Run
        The history, ready to print and plot.

    Raises
    ------
    ConfigError
        If a field of the stage is unknown or out of range.
    TrainingError
        If the loss is not finite, or a trainable parameter gets no gradient.
    KeyboardInterrupt
        On Ctrl-C, within a second; the checkpoint stands.

    Notes
    -----
    Processes that were started together (``torchrun`` sets ``WORLD_SIZE``, ``RANK``,
    ``MASTER_ADDR`` and ``MASTER_PORT``) and call this with the same arguments train
    one model: each learns from its share of every batch, and all take the same steps.
    The first of them writes `out`. In contrastive stages a film meets the texts of its
    own share.

    References
    ----------
    .. [1] Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
       arXiv:1604.06174.
    .. [2] Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory
       Limited Setup", 2021. arXiv:2101.06983.
    """
    base = stage_like(stage, changes)
    live = LiveTable(base, show=progress)
    with Bar(base["name"], show=progress, unit="step", on_event=live) as bar:
        history = model._core.train(
            dataset._core,
            json.dumps(base),
            validation=None if validation is None else validation._core,
            out=None if out is None else Path(out),
            resume=resume,
            checkpoint_steps=checkpoint_steps,
            stop_after=stop_after,
            cached=cache,
            workers=workers,
            recompute=recompute_blocks,
            watch=bar,
        )
        live.flush()
    return Run(base, json.loads(history))


class LiveTable:
    """Prints one line an epoch while a run goes on."""

    def __init__(self, stage: Stage, *, show: bool | None) -> None:
        self._show = shown(show)
        self._stage = stage
        self._epoch = 0
        self._losses: list[float] = []
        self._rate = 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in one record of the core."""
        if not self._show:
            return
        from tqdm.auto import tqdm

        if "failure" in event:
            tqdm.write(f"  skipped: {event['failure']}")
        elif "epoch" in event:
            self.flush()
            row = event["epoch"]
            auroc = "" if row["auroc"] is None else f"  AUROC {row['auroc']:.3f}"
            tqdm.write(
                f"  epoch {row['epoch']:>3}  validation {row['loss']:.4f}{auroc}"
            )
        elif "step" in event:
            row = event["step"]
            if row["epoch"] != self._epoch:
                self.flush()
            self._epoch, self._rate = row["epoch"], row["films_per_second"]
            self._losses.append(row["loss"])

    def flush(self) -> None:
        """Print the epoch gathered so far, if there is any."""
        if not self._losses:
            return
        from tqdm.auto import tqdm

        mean = sum(self._losses) / len(self._losses)
        tqdm.write(
            f"  epoch {self._epoch:>3}  loss {mean:.4f}  {self._rate:5.0f} films/s"
        )
        self._losses.clear()


class Run:
    """What a training run measured.

    Parameters
    ----------
    stage : dict
        The stage, every field spelled out.
    history : dict
        Rows for steps and epochs, and the studies that could not be read.
    """

    def __init__(self, stage: Stage, history: dict[str, Any]) -> None:
        self.stage = stage
        self._history = history

    @property
    def history(self) -> Table:
        """One row a step: step, epoch, loss, rate, gradient norm, films a second."""
        return _table(self._history["steps"])

    @property
    def validation(self) -> Table:
        """One row an epoch: epoch, loss, mean AUROC; empty without a validation set."""
        return _table(self._history["epochs"])

    @property
    def failures(self) -> list[str]:
        """Studies that could not be read, and why; and what else is to be known."""
        return list(self._history["failures"])

    @property
    def films_per_second(self) -> float:
        """Median speed of the steps."""
        speeds = sorted(row["films_per_second"] for row in self._history["steps"])
        return float(speeds[len(speeds) // 2]) if speeds else float("nan")

    def epoch_losses(self) -> list[float]:
        """Mean training loss of each epoch."""
        sums: dict[int, list[float]] = {}
        for row in self._history["steps"]:
            sums.setdefault(row["epoch"], []).append(row["loss"])
        return [sum(losses) / len(losses) for _, losses in sorted(sums.items())]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Plot the losses; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots(figsize=(5, 3))[1]
        steps = self._history["steps"]
        ax.plot([r["step"] for r in steps], [r["loss"] for r in steps], lw=0.8)
        if self._history["epochs"]:
            last = {row["epoch"]: row["step"] for row in steps}
            rows = [row for row in self._history["epochs"] if row["epoch"] in last]
            x = [last[row["epoch"]] for row in rows]
            ax.plot(x, [row["loss"] for row in rows], "o-", label="validation")
            ax.legend()
        ax.set(xlabel="step", ylabel="loss", title=self.stage["name"])
        return ax

    def __repr__(self) -> str:
        steps = self._history["steps"]
        losses = self.epoch_losses()
        tail = f", loss {losses[0]:.3f} → {losses[-1]:.3f}" if losses else ""
        return (
            f"Run({self.stage['name']}: {len(steps)} steps{tail}, "
            f"{self.films_per_second:.0f} films/s)"
        )


def _table(rows: list[dict[str, Any]]) -> Table:
    names = list(rows[0]) if rows else []
    nan = float("nan")
    return Table(
        {n: [nan if row[n] is None else row[n] for row in rows] for n in names}
    )
