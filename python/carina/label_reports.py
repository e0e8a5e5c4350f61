"""Reports in template sentences, for films that have labels only."""

import numpy as np

from carina import _core
from carina.dataset import Dataset
from carina.errors import InvalidValueError

_STATED, _DENIED = _core.plain_wordings()
_NORMAL = "No acute cardiopulmonary abnormality."


def label_reports(dataset: Dataset, *, denied: int = 3, seed: int = 0) -> list[str]:
    """Write the labels of studies as sentences, for stages that learn from reports.

    Every finding that is present is stated, and some of those that are absent are
    denied, in one of a few wordings each and in any order. What is uncertain or unknown
    is not spoken of. A finding is called by its label's name, in small letters and with
    spaces for underscores; a column "No Finding" says that nothing is wrong.

    Parameters
    ----------
    dataset : Dataset
        Studies with labels.
    denied : int, default=3
        The most absent findings that a report denies.
    seed : int, default=0
        The same seed writes the same reports.

    Returns
    -------
    list of str
        One a study, for :meth:`Dataset.with_reports`; empty where no label is known.

    Raises
    ------
    InvalidValueError
        If the data set has no findings, or `denied` or `seed` is negative.

    Examples
    --------
    >>> import carina as ca
    >>> films = ca.phantom(2, seed=1, size=32, progress=False)
    >>> told = films.with_reports(ca.label_reports(films))
    """
    if not dataset.findings:
        raise InvalidValueError("dataset: found no findings, expected labelled studies")
    for name, value in (("denied", denied), ("seed", seed)):
        if value < 0:
            raise InvalidValueError(f"{name}: found {value}, expected at least 0")
    names = [finding.replace("_", " ").lower() for finding in dataset.findings]
    normal = np.array([name == "no finding" for name in names])
    random = np.random.default_rng(seed)

    def one(labels: np.ndarray) -> str:
        told = bool((labels[normal] == 1).any())
        labels = np.where(normal, np.nan, labels)
        absent = random.permutation(np.flatnonzero(labels == 0))[:denied]
        said = [
            str(random.choice(wordings)).format(names[place])
            for wordings, places in (
                (_STATED, np.flatnonzero(labels == 1)),
                (_DENIED, absent),
            )
            for place in places
        ] + [_NORMAL] * told
        return " ".join(
            text[:1].upper() + text[1:] for text in random.permutation(said)
        )

    return [one(labels) for labels in dataset.labels]
