"""A judge of reports that compares film and words, without a decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina._claims import (
    LEFT,
    LITTLE,
    MUCH,
    SEEN,
    SURE,
    THERE,
    Doubts,
    claimed,
    doubts_of,
    level_odds,
    log_odds,
    spoken_of,
    truth_of,
)
from carina.corruption import CORRUPTIONS
from carina.dataset import Dataset
from carina.errors import InvalidValueError, NotFittedError
from carina.probe import Probe
from carina.prompts import PromptBank, PromptsLike
from carina.searching import similarity


class SimilarityJudge:
    """Judge a report by how well the film bears out what it claims.

    A report is read into claims: which finding or device, present or absent, on which
    side, how much. What a film shows of each is found by its similarity to sentences
    that state it, deny it, name a side or a degree, and by its embedding; how sure that
    makes of a claim is learnt from what the training set's reports claim of their
    films. The least likely claims of a report (and the likeliest findings that it does
    not name) are all that the judge learns from: it sees neither the report's words nor
    the report as it was. How unlikely is wrong is learnt from the training set's own
    reports, with errors made in them. What is least likely is corrected: the other side
    or degree, a finding left out or put in, in sentences of the word lists.

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
        self._devices: list[bool] = []
        checks = report_checks(train, seed=self.seed, progress=self.progress)
        own = [_core.report_claims(report) for report in train.reports]
        self.names_ = spoken_of(own)
        if not self.names_:
            raise InvalidValueError(
                f"train: no finding is affirmed by {SEEN} reports, expected reports "
                "that say what films show"
            )
        self._devices = [self._texts.is_device(name) for name in self.names_]
        evidence = self._evidence(train)
        read = np.isfinite(evidence).all(axis=1)
        said = [claimed(claims, self.names_) for claims in own]
        truth = truth_of(said, len(self.names_))
        # A sentence that is put in names a side or a degree where most reports do.
        there = truth[:, THERE::4] == 1
        self._sided, self._graded = (
            (np.isfinite(truth[:, place::4]) & there).sum(0) * 2 > there.sum(0)
            for place in (LEFT, MUCH)
        )
        columns = {
            str(place): truth[read, place]
            for place in range(truth.shape[1])
            if min((truth[read, place] == one).sum() for one in (0, 1)) >= SEEN
        }
        if not columns:
            raise InvalidValueError(
                f"train: no finding is affirmed by {SEEN} reports and left out by as "
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
        """Name what is wrong with each report, and what would be right.

        Parameters
        ----------
        dataset : Dataset
            Studies with films.
        checks : sequence of ReportCheck
            The reports to judge.

        Returns
        -------
        list of str or None
            ``"none"``, or the kind of error, a colon and the sentences as the film
            would have them, if such an error can be found in the report; None where
            the film cannot be read.

        Raises
        ------
        NotFittedError
            If the judge has not learnt yet.
        """
        if not self.names_:
            raise NotFittedError("this SimilarityJudge is not fitted; call fit first")
        odds = self._odds(self._evidence(dataset))
        features = self._features(odds, checks)
        kept = np.isfinite(features).all(axis=1)
        out: list[str | None] = [None] * len(checks)
        if not kept.any():
            return out
        wrong = self._wrong.predict(features[kept]).astype(bool)
        likely = _chances(self._kind, features[kept]).argmax(axis=1)
        for row, is_wrong, kind in zip(
            np.flatnonzero(kept), wrong, likely, strict=True
        ):
            out[row] = "none"
            if is_wrong:
                name = str(self._kind.labels_[kind])
                check = checks[int(row)]
                out[row] = self._mended(check.text, name, odds[check.row]) or name
        return out

    def _mended(self, report: str, kind: str, film: NDArray[np.float64]) -> str | None:
        """Correct what of a kind is least likely by the film (topics, 4)."""
        said = claimed(_core.report_claims(report), self.names_)
        doubts = doubts_of(said, film)
        ranked = self._by_kind(doubts)[kind]
        for place in sorted(ranked, key=lambda place: -ranked[place]):
            left, level = None, None
            likely = sorted(range(3), key=lambda one: -level_odds(film[place], one))
            if kind == "severity":
                level = next(one for one in likely if one != said.levels[place])
            elif place not in said.present:
                # Odds of zero: too few films told sides or degrees to learn them.
                if self._sided[place] and film[place, LEFT]:
                    left = bool(film[place, LEFT] > 0)
                if self._graded[place] and film[place, [LITTLE, MUCH]].any():
                    level = likely[0]
            elif doubts.sides.get(place, -np.inf) > doubts.affirmed[place]:
                left = said.sides[place] < 0
            mended = _core.mend_report(report, kind, self.names_[place], left, level)
            if mended:
                return mended
        return None

    def _by_kind(self, doubts: Doubts) -> dict[str, dict[int, float]]:
        """Return the doubts that each kind of error may explain."""
        spoken = doubts.affirmed | doubts.denied
        unsaid = doubts.denied | doubts.silent
        of_devices = self._only(spoken | doubts.silent, device=True)
        for place, doubt in self._only(doubts.sides, device=True).items():
            of_devices[place] = max(of_devices[place], doubt)
        return {
            "laterality": self._only(doubts.sides, device=False),
            "severity": doubts.levels,
            "inserted": self._only(doubts.affirmed, device=False),
            "dropped": self._only(unsaid, device=False),
            "negation": self._only(spoken, device=False),
            "device": of_devices,
        }

    def _only(self, doubts: dict[int, float], *, device: bool) -> dict[int, float]:
        return {i: doubt for i, doubt in doubts.items() if self._devices[i] is device}

    def _evidence(self, dataset: Dataset) -> NDArray[np.float32]:
        """Return how films compare with sentences, and what they are (N, 3 T + E)."""
        films = self.model.embed(dataset, progress=self.progress)
        margins = [self._texts.margins(self.model, films, name) for name in self.names_]
        return np.concatenate([*margins, films.mean(axis=1)], axis=1)

    def _odds(self, evidence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log odds (N, topics, 4) that a film shows what can be claimed."""
        out = np.zeros((len(evidence), 4 * len(self.names_)))
        read = np.isfinite(evidence).all(axis=1)
        out[~read] = np.nan
        if read.any():
            chance = _chances(self._sure, evidence[read])
            places = [int(label) for label in self._sure.labels_]
            known = np.zeros((len(chance), out.shape[1]))
            known[:, places] = log_odds(chance)
            out[read] = known
        return out.reshape(len(evidence), len(self.names_), 4)

    def _features(
        self, odds: NDArray[np.float64], checks: Sequence[Any]
    ) -> NDArray[np.float32]:
        """Doubts about each report (checks, 10): the worst of a sort, and their sum."""
        out = np.zeros((len(checks), 10), dtype=np.float32)
        for number, check in enumerate(checks):
            film = odds[check.row]
            if not np.isfinite(film).all():
                out[number] = np.nan
                continue
            said = claimed(_core.report_claims(check.text), self.names_)
            found = doubts_of(said, film)
            sorts = [
                self._only(found.affirmed, device=False),
                self._only(found.affirmed, device=True),
                found.denied,
                self._only(found.silent, device=False),
                self._only(found.silent, device=True),
                found.sides,
                found.levels,
            ]
            values = [list(sort.values()) for sort in sorts]
            worst = [max(sort, default=-SURE) for sort in values]
            total = [sum(np.logaddexp(0, np.array(sort))) for sort in values]
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


def _chances(probe: Probe, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of each label (N, L); of one label too."""
    chance = np.asarray(probe.predict_proba(features), dtype=np.float64)
    return chance if len(probe.labels_) > 1 else chance[:, 1:]
