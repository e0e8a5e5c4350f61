"""How much a probe learns from how many films."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carina import _core
from carina._models import encode
from carina._progress import Bar
from carina.dataset import Dataset
from carina.errors import InvalidValueError, ShapeError
from carina.metrics import Policy
from carina.metrics._checks import codes
from carina.probe import Probe
from carina.result import Measurement, Protocol, Result
from carina.table import Table
from carina.training import train as train_model


@dataclass(frozen=True)
class Scratch:
    """A model that is trained anew on each number of films, for comparison.

    Parameters
    ----------
    make : callable
        ``make(seed)`` gives an untrained model, of :func:`carina.create`.
    stage : str or mapping, default="supervised"
        A stage that ends in a head for the findings, as for :func:`carina.train`.
    changes : mapping
        Changes to the stage, ``{"epochs": 20}`` say.
    """

    make: Callable[[int], Any]
    stage: str | Mapping[str, Any] = "supervised"
    changes: Mapping[str, Any] = field(default_factory=dict)


class LearningCurve(Result):
    """Mean AUROC by number of films, for one or more models."""

    @property
    def table(self) -> Table:
        """A row for each model and number of films."""
        named = [row.finding.rsplit(", ", 1) for row in self.rows]
        return Table(
            {
                "name": [name for name, _ in named],
                "films": [int(films) for _, films in named],
                "auroc": [row.value for row in self.rows],
                "low": [row.low for row in self.rows],
                "high": [row.high for row in self.rows],
                "note": [row.note for row in self.rows],
            }
        )

    def plot(self, ax: Any = None, *, metric: str | None = None) -> Any:
        """Draw mean AUROC over the number of films, each model a line with its band.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        metric : str, optional
            Only ``"auroc"``; here for the sake of :meth:`Result.plot`.

        Returns
        -------
        matplotlib Axes
        """
        import matplotlib.pyplot as plt

        if metric not in (None, "auroc"):
            raise InvalidValueError(f"metric: found {metric!r}, expected 'auroc'")
        table = self.table
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4))
        for number, name in enumerate(dict.fromkeys(table["name"].tolist())):
            rows = table["name"] == name
            films = table["films"][rows]
            color = f"C{number}"
            ax.plot(films, table["auroc"][rows], marker="o", color=color, label=name)
            low, high = table["low"][rows], table["high"][rows]
            ax.fill_between(films, low, high, color=color, alpha=0.15)
        ax.axhline(0.5, color="grey", lw=1, ls=":")
        ax.set_xscale("log", base=2)
        ax.set_xlabel("films to learn from")
        ax.set_ylabel("mean AUROC")
        ax.legend()
        return ax


def learning_curve(
    models: Mapping[str, Any],
    train: Dataset,
    test: Dataset,
    *,
    sizes: Sequence[int | Literal["all"]] | None = None,
    repeats: int = 5,
    kind: Literal["linear", "mlp"] = "linear",
    pooled: bool = True,
    policy: Policy = "ignore",
    n: int = 200,
    seed: int = 0,
    data: str = "",
    command: str = "",
    progress: bool | None = None,
    **options: Any,
) -> LearningCurve:
    """Train probes on more and more films, and score them on the same test set.

    The films of a size are the first of a random order of patients: a smaller set is
    part of a larger one, and labels are as frequent as chance draws them. Nothing is
    tuned: what `options` say holds for every size. A finding of which a set has only
    one class cannot be learnt from it and counts as 0.5.

    Parameters
    ----------
    models : mapping of str to model, pair of arrays, or Scratch
        What to compare, by name: anything with ``encode``, embeddings at hand
        ``(of train, of test)``, or a :class:`Scratch`. Films are encoded once.
    train, test : Dataset
        Studies with the same findings, and without a patient in common.
    sizes : sequence of int or "all", optional
        Numbers of films; by default 64, 512, 4096, … and all.
    repeats : int, default=5
        Random orders; with all films, and a linear probe, there is only one.
    kind : {"linear", "mlp"}, default="linear"
        The probe.
    pooled : bool, default=True
        Whether a film is one vector; else all its tokens side by side.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    n : int, default=200
        Bootstrap resamples of the test patients.
    seed : int, default=0
        Seed of orders, probes and resamples.
    data, command : str
        Notes kept with the numbers.
    progress : bool, optional
        Whether to show a bar.
    **options
        For :class:`Probe`: ``C=0.01``, ``hidden=(512, 256)``, …

    Returns
    -------
    LearningCurve
        A row for each model and size: the mean AUROC over findings and repeats. Its
        interval is for one such training: the variance between repeats and that of the
        patient-clustered bootstrap, added.

    Raises
    ------
    InvalidValueError
        If the two sets share a patient or differ in findings, or a size is beyond the
        training set.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317: data-efficient classification.
    """
    if kind not in ("linear", "mlp"):
        raise InvalidValueError(f"kind: found {kind!r}, expected 'linear' or 'mlp'")
    if repeats < 1:
        raise InvalidValueError(f"repeats: found {repeats}, expected at least 1")
    if not models:
        raise InvalidValueError("models: found none, expected at least one")
    if train.findings != test.findings:
        raise InvalidValueError(
            f"test: found findings {test.findings}, expected those of train "
            f"{train.findings}"
        )
    train.check_disjoint(test)
    counts = _sizes(sizes, len(train))
    orders = [_order(train.patients, seed + repeat) for repeat in range(repeats)]
    truth = test.targets(policy).astype(np.float64)
    patients = codes(test.patients, len(test))
    rows = []
    with Bar("learning curve", show=progress, unit="fit") as bar:
        done, total = 0, len(models) * len(counts) * repeats
        for name, model in models.items():
            given = _embeddings(name, model, train, test, pooled)
            for count in counts:
                # All films in any order teach a linear probe the same.
                once = count == len(train) and kind == "linear" and given is not None
                found = []
                for repeat, order in enumerate(orders[: 1 if once else repeats]):
                    chosen, own = order[:count], seed + repeat
                    if given is None:
                        scores = _from_scratch(model, train[chosen], test, own)
                    else:
                        probe = Probe(
                            kind="logistic" if kind == "linear" else "mlp",
                            policy=policy,
                            seed=own,
                            progress=False,
                            **options,
                        )
                        scores = _probed(probe, given, train, chosen, policy)
                    found.append(_auroc(truth, scores, patients, n, seed))
                    bar(done + len(found), total, [])
                done += repeats
                rows.append(_measured(name, count, found, len(test)))
    return LearningCurve(
        rows,
        protocol=Protocol(
            f"learning curve, {kind} probe",
            data or f"{len(train)} studies to learn from, {len(test)} to score",
            command,
            None,
            seed,
            n,
            0.95,
            len(np.unique(patients)),
            policy,
        ),
    )


def _sizes(sizes: Sequence[int | str] | None, most: int) -> list[int]:
    if sizes is None:
        found = [8**power for power in range(2, 9) if 8**power < most] + [most]
    else:
        found = [most if size == "all" else int(size) for size in sizes]
    if not found or min(found) < 2 or max(found) > most:
        raise InvalidValueError(
            f"sizes: found {found}, expected numbers from 2 to {most}, the training set"
        )
    return sorted(set(found))


def _order(patients: NDArray[Any], seed: int) -> NDArray[np.intp]:
    """Rows in a random order of patients, each patient's together."""
    number = codes(patients, len(patients))
    place = np.random.default_rng(seed).permutation(int(number.max()) + 1)
    return np.argsort(place[number], kind="stable")


def _embeddings(
    name: str, model: Any, train: Dataset, test: Dataset, pooled: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    if isinstance(model, Scratch):
        return None
    if isinstance(model, tuple):
        if len(model) != 2:
            msg = f"models[{name!r}]: expected (of train, of test), got {len(model)}"
            raise ShapeError(msg)
        parts = [_flat(array, pooled) for array in model]
    else:
        level = {} if pooled else {"level": "queries"}
        parts = []
        for dataset in (train, test):
            made = model.encode(dataset, **level) if level else encode(model, dataset)
            parts.append(_flat(made, pooled))
    for part, dataset, where in zip(
        parts, (train, test), ("train", "test"), strict=True
    ):
        if len(part) != len(dataset):
            raise ShapeError(
                f"models[{name!r}]: expected {len(dataset)} embeddings of {where}, "
                f"got {len(part)}"
            )
        if not np.isfinite(part).all():
            raise InvalidValueError(
                f"models[{name!r}]: found embeddings of {where} that are not finite "
                "(films that cannot be read?)"
            )
    return parts[0], parts[1]


def _flat(values: ArrayLike, pooled: bool) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim == 3 and pooled:
        array = array.mean(axis=1)
    return np.ascontiguousarray(array.reshape(len(array), -1))


def _probed(
    probe: Probe,
    given: tuple[NDArray[np.float32], NDArray[np.float32]],
    train: Dataset,
    chosen: NDArray[np.intp],
    policy: Policy,
) -> NDArray[np.float64]:
    """Logits of the test films; zero for what could not be learnt."""
    labels = train.targets(policy)[chosen]
    both = [bool((c == 1).any() and (c == 0).any()) for c in labels.T]
    scores = np.zeros((len(given[1]), labels.shape[1]))
    if any(both):
        names = [f for f, fits in zip(train.findings, both, strict=True) if fits]
        columns = dict(zip(names, labels[:, both].T, strict=True))
        probe.fit(given[0][chosen], columns, groups=train.patients[chosen])
        scores[:, both] = probe.decision_function(given[1])
    return scores


def _from_scratch(
    scratch: Scratch, part: Dataset, test: Dataset, seed: int
) -> NDArray[np.float64]:
    model = scratch.make(seed)
    train_model(
        model, part, scratch.stage, seed=seed, progress=False, **scratch.changes
    )
    found = model.classify(test, progress=False)
    scores = np.zeros((len(test), len(test.findings)))
    for column, finding in enumerate(test.findings):
        if finding in found.columns:
            scores[:, column] = found[finding]
    return scores


def _auroc(
    truth: NDArray[np.float64],
    scores: NDArray[np.float64],
    patients: NDArray[np.int64],
    n: int,
    seed: int,
) -> tuple[float, float]:
    """Give the mean AUROC and its variance over resampled patients."""
    found = _core.bootstrap_measure(
        "auroc", truth, np.ascontiguousarray(scores), patients, n=n, seed=seed
    )
    value, low, high, _ = found[-1]
    return value, ((high - low) / 3.92) ** 2


def _measured(
    name: str, films: int, found: list[tuple[float, float]], rows: int
) -> Measurement:
    values = np.array([value for value, _ in found])
    within = float(np.mean([variance for _, variance in found]))
    between = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    value, half = float(values.mean()), 1.96 * math.sqrt(within + between)
    return Measurement(
        f"{name}, {films}",
        "auroc",
        value,
        max(value - half, 0.0),
        min(value + half, 1.0),
        0.5,
        rows,
        None,
        f"{len(values)} repeat{'s' if len(values) != 1 else ''}",
    )
