"""A judge of reports that only compares film and words, without a decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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

# A topic is judged if so many of the training set's reports affirm it; so many films
# teach a side or a degree.
_SEEN = 8
# What a report can be asked about a topic: there, on the left, little, much.
_THERE, _LEFT, _LITTLE, _MUCH = range(4)
# Odds of a claim are cut here, so that one film cannot rule out everything.
_SURE = 6.0


@dataclass(frozen=True)
class _Claims:
    """What a report says of topics by their places."""

    present: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    sides: dict[int, int] = field(default_factory=dict)  # 1 left, -1 right
    levels: dict[int, int] = field(default_factory=dict)


class SimilarityJudge:
    """Judge a report by how well the film bears out what it claims.

    A report is read into claims: which finding or device, present or absent, on which
    side, how much. What a film shows of each is found by its similarity to sentences
    that state it, deny it, name a side or a degree; how sure that makes of a claim is
    learnt from what the training set's reports claim of their films. The least likely
    claims of a report (and the likeliest findings that it does not name) are all that
    the judge learns from: it sees neither the report's words nor the report as it was.
    How unlikely is wrong is learnt from the training set's own reports, with errors
    made in them.

    Parameters
    ----------
    model : Model
        A model that embeds films and texts in one space.
    prompts : PromptBank or what makes one, optional
        Phrases of presence and absence, beside the sentences that the word lists of
        reports have.
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
            If the model has no words, the training set's reports claim nothing, or no
            finding of the prompts is one that reports are read for.
        """
        from carina.report_quality import report_checks

        for verb in ("embed", "encode_text"):
            if not hasattr(self.model, verb):
                raise InvalidValueError(
                    f"model: it has no `{verb}`, expected one of films and words"
                )
        self._texts = _Texts(self.prompts)
        checks = report_checks(train, seed=self.seed, progress=self.progress)
        own = [_core.report_claims(report) for report in train.reports]
        self.names_ = _spoken_of(own)
        if not self.names_:
            raise InvalidValueError(
                f"train: no finding is affirmed by {_SEEN} reports, expected reports "
                "that say what films show"
            )
        evidence = self._evidence(train)
        read = np.isfinite(evidence).all(axis=1)
        said = [_claimed(claims, self.names_) for claims in own]
        truth = _truth(said, len(self.names_))
        columns = {
            str(place): truth[read, place]
            for place in range(truth.shape[1])
            if min((truth[read, place] == one).sum() for one in (0, 1)) >= _SEEN
        }
        if not columns:
            raise InvalidValueError(
                f"train: no finding is affirmed by {_SEEN} reports and left out by as "
                "many, expected both"
            )
        options: dict[str, Any] = {"C": 1.0, "progress": False}
        self._sure = Probe(**options).fit(evidence[read], columns)
        features = self._features(self._odds(evidence), checks)
        kept = np.isfinite(features).all(axis=1)
        kinds = np.array([check.kind for check in checks])[kept]
        options["class_weight"] = "balanced"
        self._wrong = Probe(**options).fit(features[kept], kinds != "none")
        wrong = kinds != "none"
        known = [kind for kind in CORRUPTIONS[1:] if (kinds == kind).any()]
        named = {kind: (kinds[wrong] == kind).astype(float) for kind in known}
        self._kind = Probe(**options).fit(features[kept][wrong], named)
        return self

    def answers(self, dataset: Dataset, checks: Sequence[Any]) -> list[str | None]:
        """Name what is wrong with each report; None where the film cannot be read."""
        if not self.names_:
            raise NotFittedError("this SimilarityJudge is not fitted; call fit first")
        features = self._features(self._odds(self._evidence(dataset)), checks)
        kept = np.isfinite(features).all(axis=1)
        out: list[str | None] = [None] * len(checks)
        if not kept.any():
            return out
        wrong = self._wrong.predict(features[kept]).astype(bool)
        likely = _chances(self._kind, features[kept]).argmax(axis=1)
        for row, is_wrong, kind in zip(
            np.flatnonzero(kept), wrong, likely, strict=True
        ):
            out[row] = self._kind.labels_[kind] if is_wrong else "none"
        return out

    def _evidence(self, dataset: Dataset) -> NDArray[np.float32]:
        """Return how films compare with the sentences about each topic (N, 3 T)."""
        films = self.model.embed(dataset, progress=self.progress)
        return np.concatenate(
            [self._texts.margins(self.model, films, name) for name in self.names_],
            axis=1,
        )

    def _odds(self, evidence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log odds (N, topics, 4) that a film shows what can be claimed."""
        out = np.zeros((len(evidence), 4 * len(self.names_)))
        read = np.isfinite(evidence).all(axis=1)
        out[~read] = np.nan
        if read.any():
            chance = _chances(self._sure, evidence[read])
            places = [int(label) for label in self._sure.labels_]
            known = np.zeros((len(chance), out.shape[1]))
            known[:, places] = _log_odds(chance)
            out[read] = known
        return out.reshape(len(evidence), len(self.names_), 4)

    def _features(
        self, odds: NDArray[np.float64], checks: Sequence[Any]
    ) -> NDArray[np.float32]:
        """Doubts about each report (checks, 10): the worst of a sort, and their sum."""
        out = np.zeros((len(checks), 10), dtype=np.float32)
        devices = [self._texts.is_device(name) for name in self.names_]
        for number, check in enumerate(checks):
            film = odds[check.row]
            if not np.isfinite(film).all():
                out[number] = np.nan
                continue
            said = _claimed(_core.report_claims(check.text), self.names_)
            there = film[:, _THERE]
            spoken = said.present | said.absent
            silent = [i for i in range(len(film)) if i not in spoken]
            doubts = [
                [-there[i] for i in said.present if not devices[i]],
                [-there[i] for i in said.present if devices[i]],
                [there[i] for i in said.absent],
                [there[i] for i in silent if not devices[i]],
                [there[i] for i in silent if devices[i]],
                [-film[i, _LEFT] * sign for i, sign in said.sides.items()],
                [-_level_odds(film[i], level) for i, level in said.levels.items()],
            ]
            worst = [max(sort, default=-_SURE) for sort in doubts]
            total = [sum(np.logaddexp(0, np.array(sort))) for sort in doubts]
            claims = total[0] + total[1] + total[2]
            out[number] = [*worst, claims, total[3] + total[4], total[5] + total[6]]
        return out


class _Texts:
    """Sentences about topics, and how films compare with them."""

    def __init__(self, prompts: PromptsLike | None) -> None:
        self._bank = {}
        if prompts is not None:
            bank = PromptBank.of(prompts)
            self._bank = {
                name: prompt
                for prompt in bank
                if (name := _core.finding_name(prompt.finding))
            }
            if not self._bank:
                raise InvalidValueError(
                    f"prompts: found {bank.findings}, none of which reports are read "
                    "for"
                )

    def is_device(self, name: str) -> bool:
        """Whether a topic is a device."""
        return _core.report_phrases(name)[2]

    def margins(
        self, model: Any, films: NDArray[np.float32], name: str
    ) -> NDArray[np.float32]:
        """Return how much more films (N, Q, E) fit one than the other (N, 3).

        Present against absent, left against right, much against little.
        """
        stated, denied, _ = _core.report_phrases(name)
        prompt = self._bank.get(name)
        texts = [text for text, _, _ in stated]
        count = len(texts)
        texts += prompt.present if prompt else ()
        present = list(range(len(texts)))
        texts += [denied, *(prompt.absent if prompt else ())]
        absent = list(range(len(present), len(texts)))
        alike = similarity(films, model.encode_text(texts))

        def best(places: list[int]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = alike[:, places].max(axis=1)
            return found

        out = np.zeros((len(films), 3), dtype=np.float32)
        out[:, 0] = best(present) - best(absent)
        for column, (of, one, other) in enumerate([(1, True, False), (2, 2, 0)], 1):
            more, less = (
                [i for i in range(count) if stated[i][of] is value]
                for value in (one, other)
            )
            if more and less:
                out[:, column] = best(more) - best(less)
        out[np.isnan(films).any(axis=(1, 2))] = np.nan
        return out


def _spoken_of(reports: list[list[Any]]) -> list[str]:
    """Return the findings and devices that reports affirm, in alphabetical order."""
    counts: dict[str, int] = {}
    for claims in reports:
        for name in {claim[0] for claim in claims if claim[1]}:
            counts[name] = counts.get(name, 0) + 1
    return sorted(name for name, count in counts.items() if count >= _SEEN)


def _claimed(claims: list[Any], names: list[str]) -> _Claims:
    """Sort the claims of a report by the places of what they are about."""
    out = _Claims()
    for finding, there, (left, right), level in claims:
        if finding not in names or there is None:
            continue
        place = names.index(finding)
        if not there:
            out.absent.add(place)
            continue
        out.present.add(place)
        if left != right:
            out.sides[place] = 1 if left else -1
        if level is not None:
            out.levels[place] = level
    out.absent.difference_update(out.present)
    return out


def _truth(reports: list[_Claims], topics: int) -> NDArray[np.float64]:
    """Return what reports claim of topics (N, 4 T): 1, 0, or NaN for what is not said.

    A topic that a report does not name counts as absent.
    """
    out = np.full((len(reports), topics, 4), np.nan)
    out[:, :, _THERE] = 0
    for row, said in zip(out, reports, strict=True):
        for place in said.present:
            row[place, _THERE] = 1
        for place, side in said.sides.items():
            row[place, _LEFT] = side > 0
        for place, level in said.levels.items():
            row[place, _LITTLE], row[place, _MUCH] = level == 0, level == 2
    return out.reshape(len(reports), 4 * topics)


def _chances(probe: Probe, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of each label (N, L); of one label too."""
    chance = np.asarray(probe.predict_proba(features), dtype=np.float64)
    return chance if len(probe.labels_) > 1 else chance[:, 1:]


def _log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log odds, cut where nobody can be surer."""
    with np.errstate(divide="ignore"):
        odds = np.log(chance) - np.log1p(-chance)
    out: NDArray[np.float64] = np.clip(odds, -_SURE, _SURE)
    return out


def _level_odds(film: NDArray[np.float64], level: int) -> float:
    """Return the log odds (4,) of one of three degrees."""
    if level != 1:
        return float(film[_MUCH if level == 2 else _LITTLE])
    ends = 1 / (1 + np.exp(-film[[_LITTLE, _MUCH]]))
    middle = np.clip(1 - ends.sum(), 1e-3, 1 - 1e-3)
    return float(np.clip(np.log(middle / (1 - middle)), -_SURE, _SURE))
