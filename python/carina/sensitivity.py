"""How much zero-shot scores depend on the words chosen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina.classification import classification_result
from carina.dataset import Dataset
from carina.errors import InvalidValueError
from carina.metrics import Policy
from carina.prompts import PromptBank, PromptsLike
from carina.result import MACRO, Measurement, Protocol, Result
from carina.searching import similarity
from carina.table import Table


def prompt_sensitivity(
    model: Any,
    dataset: Dataset,
    prompts: PromptsLike,
    *,
    policy: Policy = "ignore",
    n: int = 1000,
    seed: int = 0,
    data: str = "",
    command: str = "",
    progress: bool | None = None,
) -> Result:
    """Measure what each phrase of a prompt bank does alone.

    Every phrase of presence is paired with every phrase of absence, and each pair
    scores by its own margin of cosines.

    Parameters
    ----------
    model : Model
        A model that knows words.
    dataset : Dataset
        Studies with labels.
    prompts : PromptBank, str, mapping or sequence of str
        What to vary; see :meth:`carina.PromptBank.of`.
    policy : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain label counts as.
    n, seed : int
        Bootstrap resamples of patients for the whole bank's AUROC, and their seed.
    data, command : str
        Notes kept with the numbers.
    progress : bool, optional
        Whether to show bars.

    Returns
    -------
    Result
        For each finding the AUROC of the whole bank (with its interval) and of the
        best and the worst pair, and their spread; ``tables["pairs"]`` has all pairs.
        The best pair is found on these very data: it flatters, and is no estimate.

    Raises
    ------
    InvalidValueError
        If the bank names a finding that the data lack.
    """
    bank = PromptBank.of(prompts)
    unknown = [name for name in bank.findings if name not in dataset.findings]
    if unknown:
        raise InvalidValueError(
            f"prompts: found {unknown}, the data know: {', '.join(dataset.findings)}"
        )
    films = model.embed(dataset, progress=progress)
    whole = model.zero_shot(films, bank)
    columns = [dataset.findings.index(name) for name in bank.findings]
    labels = dataset.labels[:, columns].astype(np.float64)
    read = ~np.isnan(films).any(axis=(1, 2))
    labels, films = labels[read], films[read]
    scored = classification_result(
        bank.findings,
        labels,
        whole.to_numpy()[read],
        groups=dataset.patients[read],
        metrics=["auroc"],
        policy=policy,
        n=n,
        seed=seed,
        progress=progress,
    )
    rows = list(scored)
    pairs: dict[str, list[Any]] = {
        name: [] for name in ("finding", "present", "absent", "auroc")
    }
    spreads = []
    for column, prompt in enumerate(bank):
        yes = similarity(films, model.encode_text(list(prompt.present)))
        no = similarity(films, model.encode_text(list(prompt.absent)))
        found = []
        for i, present in enumerate(prompt.present):
            for j, absent in enumerate(prompt.absent):
                value = _auroc(labels[:, column], yes[:, i] - no[:, j], policy)
                found.append((value, present, absent))
                for name, cell in zip(
                    pairs, (prompt.finding, present, absent, value), strict=True
                ):
                    pairs[name].append(cell)
        spreads.append(_spread(prompt.finding, found, scored))
        rows.extend(spreads[-1])
    if len(bank) > 1:
        for place, metric in enumerate(("best pair", "worst pair", "spread")):
            values = [spread[place].value for spread in spreads]
            known = [value for value in values if not np.isnan(value)]
            mean = float(np.mean(known)) if known else float("nan")
            rows.append(Measurement(MACRO, metric, mean, n=len(labels), positives=None))
    return Result(
        rows,
        protocol=Protocol(
            "prompt sensitivity",
            data or f"{len(labels)} studies",
            command,
            model.fingerprint() if hasattr(model, "fingerprint") else None,
            seed,
            n,
            0.95,
            scored.protocol.clusters,
            policy,
        ),
        tables={"pairs": Table(pairs)},
    )


def _auroc(truth: NDArray[np.float64], score: NDArray[Any], policy: Policy) -> float:
    ranked = np.ascontiguousarray(score, dtype=np.float64)
    value, _ = _core.measure(
        "auroc", np.ascontiguousarray(truth), ranked, policy=policy
    )
    return value


def _spread(
    finding: str, found: list[tuple[float, str, str]], scored: Result
) -> list[Measurement]:
    """Best and worst pair of a finding, and how far they are apart."""
    counts = scored.get("auroc", finding)
    least, most = min(found), max(found)
    good, bad = (f"{present} | {absent}" for _, present, absent in (most, least))
    count = f"{len(found)} pair{'s' if len(found) > 1 else ''}"
    rows, positives = counts.n, counts.positives
    values = [
        ("best pair", most[0], 0.5, good),
        ("worst pair", least[0], 0.5, bad),
        ("spread", most[0] - least[0], float("nan"), count),
    ]
    return [
        Measurement(
            finding,
            metric,
            value,
            baseline=baseline,
            n=rows,
            positives=positives,
            note=note,
        )
        for metric, value, baseline, note in values
    ]
