"""A judge of reports that only compares film and words, without a decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina.corruption import CORRUPTIONS
from carina.dataset import Dataset
from carina.errors import InvalidValueError, NotFittedError
from carina.probe import Probe
from carina.prompts import PromptBank, PromptsLike
from carina.searching import similarity

_SCALES = (("small", "mild"), ("moderate",), ("large", "severe"))


class SimilarityJudge:
    """Judge a report by how well the film bears out what it claims.

    A report is read into claims: which finding, present or absent, on which side, how
    much. Each is held against the film's similarity to phrases about that finding:
    presence against absence, left against right, little against much. The worst
    misfits of a report (and the best fit among findings that it does not name) are all
    that the judge learns from: it sees neither the report's words nor the report as it
    was. What is a misfit is learnt from the training set's own reports, with errors
    made in them.

    Parameters
    ----------
    model : Model
        A model that embeds films and texts in one space.
    prompts : PromptBank or what makes one, optional
        Phrases of presence and absence; by default ``x`` and ``no x``.
    seed : int, default=0
        Seed of the errors in the training set.
    progress : bool, optional
        Whether to show bars.
    """

    def __init__(
        self,
        model: Any,
        *,
        prompts: PromptsLike | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.seed = seed
        self.progress = progress
        self.names_: list[str] = []

    def fit(self, train: Dataset) -> "SimilarityJudge":
        """Learn from studies with reports.

        Raises
        ------
        InvalidValueError
            If the model has no words, or no finding of the prompts is one that reports
            are read for.
        """
        from carina.report_quality import report_checks

        for verb in ("embed", "encode_text"):
            if not hasattr(self.model, verb):
                raise InvalidValueError(
                    f"model: it has no `{verb}`, expected one of films and words"
                )
        bank = PromptBank.of(train.findings if self.prompts is None else self.prompts)
        called = {p.finding: _core.finding_name(p.finding) for p in bank}
        self._bank = [(name, p) for p in bank if (name := called[p.finding])]
        if not self._bank:
            raise InvalidValueError(
                f"prompts: found {bank.findings}, none of which reports are read for"
            )
        self.names_ = [name for name, _ in self._bank]
        checks = report_checks(train, seed=self.seed, progress=self.progress)
        evidence = self._evidence(train)
        with np.errstate(invalid="ignore"):
            self._mean = np.nanmean(evidence, axis=0)
            self._spread = np.maximum(np.nanstd(evidence, axis=0), 1e-6)
        features = self._features(evidence, checks)
        kept = np.isfinite(features).all(axis=1)
        kinds = np.array([check.kind for check in checks])[kept]
        options: dict[str, Any] = {
            "class_weight": "balanced",
            "C": 0.1,
            "progress": False,
        }
        self._wrong = Probe(**options).fit(features[kept], kinds != "none")
        wrong = kinds != "none"
        known = [kind for kind in CORRUPTIONS[1:] if (kinds == kind).any()]
        columns = {kind: (kinds[wrong] == kind).astype(float) for kind in known}
        self._kind = Probe(**options).fit(features[kept][wrong], columns)
        return self

    def answers(self, dataset: Dataset, checks: Sequence[Any]) -> list[str | None]:
        """Name what is wrong with each report; None where the film cannot be read."""
        if not self.names_:
            raise NotFittedError("this SimilarityJudge is not fitted; call fit first")
        features = self._features(self._evidence(dataset), checks)
        kept = np.isfinite(features).all(axis=1)
        out: list[str | None] = [None] * len(checks)
        if not kept.any():
            return out
        wrong = self._wrong.predict(features[kept]).astype(bool)
        likely = self._kind.predict_proba(features[kept]).argmax(axis=1)
        for row, is_wrong, kind in zip(
            np.flatnonzero(kept), wrong, likely, strict=True
        ):
            out[row] = self._kind.labels_[kind] if is_wrong else "none"
        return out

    def _evidence(self, dataset: Dataset) -> NDArray[np.float64]:
        """Return what films say of each finding (N, findings, 3): there, left, much."""
        films = self.model.embed(dataset, progress=self.progress)
        out = np.zeros((len(films), len(self._bank), 3))
        for column, (name, prompt) in enumerate(self._bank):
            sided = [f"{side} {name}" for side in ("left", "right")]
            much = [[f"{word} {name}" for word in words] for words in _SCALES]
            texts = [*prompt.present, *prompt.absent, *sided, *much[0], *much[2]]
            alike = similarity(films, self.model.encode_text(texts)).astype(np.float64)
            yes, no = len(prompt.present), len(prompt.present) + len(prompt.absent)
            of = {
                side: [
                    i for i, t in enumerate(texts[:yes]) if side in t.lower().split()
                ]
                for side in ("left", "right")
            }
            # The bank's own sentences about a side, where it has any.
            left, right = (of[s] or [no + i] for i, s in enumerate(("left", "right")))
            out[:, column, 0] = alike[:, :yes].max(1) - alike[:, yes:no].max(1)
            out[:, column, 1] = alike[:, left].max(1) - alike[:, right].max(1)
            little = alike[:, no + 2 : no + 2 + len(much[0])].max(1)
            out[:, column, 2] = alike[:, no + 2 + len(much[0]) :].max(1) - little
        return out

    def _features(
        self, evidence: NDArray[np.float64], checks: Sequence[Any]
    ) -> NDArray[np.float32]:
        """Misfits of each report (checks, 5)."""
        told = (evidence - self._mean) / self._spread
        out = np.zeros((len(checks), 5), dtype=np.float32)
        for number, check in enumerate(checks):
            film = told[check.row]
            if not np.isfinite(film).all():
                out[number] = np.nan
                continue
            present, absent, sides, levels = _claimed(check.text, self.names_)
            silent = [i for i in range(len(film)) if i not in present | absent]
            out[number] = (
                min((film[i, 0] for i in present), default=0.0),
                max((film[i, 0] for i in absent), default=0.0),
                max((film[i, 0] for i in silent), default=0.0),
                min((film[i, 1] * sign for i, sign in sides.items()), default=0.0),
                min(
                    (film[i, 2] * (level - 1) for i, level in levels.items()),
                    default=0.0,
                ),
            )
        return out


def _claimed(
    text: str, names: list[str]
) -> tuple[set[int], set[int], dict[int, int], dict[int, int]]:
    """Read which findings are present, absent, on a side (left 1), and how much."""
    present, absent = set(), set()
    sides: dict[int, int] = {}
    levels: dict[int, int] = {}
    for finding, there, (left, right), level in _core.report_claims(text):
        if finding not in names or there is None:
            continue
        place = names.index(finding)
        if not there:
            absent.add(place)
            continue
        present.add(place)
        if left != right:
            sides[place] = 1 if left else -1
        if level is not None:
            levels[place] = level
    return present, absent - present, sides, levels
