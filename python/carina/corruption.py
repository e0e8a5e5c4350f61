"""Reports made wrong on purpose, in one known way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from carina import _core
from carina._progress import Bar
from carina.dataset import Dataset
from carina.errors import InvalidValueError

CORRUPTIONS: tuple[str, ...] = tuple(_core.corruption_kinds())
"""The kinds of :func:`corrupt`; the first, ``"none"``, changes nothing."""


@dataclass(frozen=True)
class Corruption:
    """A report with at most one wrong fact.

    Parameters
    ----------
    kind : str
        One of :data:`CORRUPTIONS`.
    text : str or None
        The report, findings and impression joined; None if it has none of this kind.
    sections : tuple of str
        Findings and impression; of a plain text, the text.
    finding : str
        What the changed fact is about; empty where no list of words knows it.
    detail : str
        ``"affirmed"`` or ``"denied"`` of a negation; ``"added"``, ``"removed"`` or
        ``"moved"`` of a device.
    changes : tuple of (before, after)
        The sentences that changed; one side is empty where a sentence was put in or
        left out.
    answer : str
        What a check of the report should answer: ``"none"``, or the kind, a colon and
        the sentences as they were.
    reason : str
        Why there is no text.
    """

    kind: str
    text: str | None = field(repr=False)
    sections: tuple[str, ...] = field(default=(), repr=False)
    finding: str = ""
    detail: str = ""
    changes: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    answer: str = field(default="", repr=False)
    reason: str = ""

    def __bool__(self) -> bool:
        return self.text is not None


def corrupt(
    reports: Dataset | str | Sequence[str],
    kind: str | Sequence[str | None] | None = None,
    *,
    seed: int = 0,
    progress: bool | None = None,
) -> list[Corruption]:
    """Make one fact of each report wrong.

    Every sentence that states the fact is changed, so that a report does not give its
    error away by contradicting itself; all other bytes stay. What is put in are
    sentences of the other reports where they have them, so that it sounds like the
    rest. A report that has nothing of a kind says so, in ``reason``.

    Parameters
    ----------
    reports : Dataset, str or sequence of str
        The reports. Of a data set, labels and attributes say what must not be put in
        as an error; of a text, only what it denies counts as absent.
    kind : str, sequence of str, or None
        One of :data:`CORRUPTIONS` for all, or one each: ``"laterality"`` (sides
        changed), ``"dropped"`` and ``"inserted"`` (a finding left out, put in),
        ``"severity"`` (another degree or size), ``"negation"`` (denied, or affirmed),
        ``"device"`` (added, removed or moved) or ``"none"``. By default a kind is
        drawn for each report from those that fit it.
    seed : int, default=0
        The same seed makes the same errors.
    progress : bool, optional
        Whether to show a bar.

    Returns
    -------
    list of Corruption
        One a report, in order.

    Raises
    ------
    InvalidValueError
        If a kind is unknown.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317: report quality assurance.

    Examples
    --------
    >>> import carina as ca
    >>> ca.corrupt("Small left effusion.", "laterality")[0].text
    'Small right effusion.'
    """
    texts = [reports] if isinstance(reports, str) else reports
    kinds = [kind] * len(texts) if kind is None or isinstance(kind, str) else list(kind)
    if not 0 <= seed < 2**63:
        raise InvalidValueError(f"seed: found {seed}, expected at least 0")
    with Bar("corrupt", show=progress, unit="report") as bar:
        if isinstance(texts, Dataset):
            rows = _core.corrupt_reports(texts._core, kinds, seed, bar)
        else:
            rows = _core.corrupt_texts([str(text) for text in texts], kinds, seed, bar)
    return [_corruption(*row) for row in rows]


def _corruption(
    kind: str,
    made: tuple[list[str], str, str, list[tuple[str, str]], str] | None,
    reason: str,
) -> Corruption:
    if made is None:
        return Corruption(kind, None, reason=reason)
    sections, finding, detail, changes, answer = made
    # One section is a text as it was given; two are joined as a data set joins them.
    text = sections[0]
    if len(sections) > 1:
        text = " ".join(part.strip() for part in sections if part.strip())
    return Corruption(
        kind, text, tuple(sections), finding, detail, tuple(changes), answer
    )
