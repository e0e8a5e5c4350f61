"""What reports claim of films, and how likely films make it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A topic is judged if so many of the training set's reports affirm it; so many films
# teach a side or a degree.
SEEN = 8
# What a report can be asked about a topic: there, on the left, little, much.
THERE, LEFT, LITTLE, MUCH = range(4)
# Odds of a claim are cut here, so that one film cannot rule out everything.
SURE = 6.0


@dataclass(frozen=True)
class Claims:
    """What a report says of topics by their places."""

    present: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    sides: dict[int, int] = field(default_factory=dict)  # 1 left, -1 right
    levels: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Doubts:
    """How unlikely is what a report says of topics, and leaves out, by their places."""

    affirmed: dict[int, float]
    denied: dict[int, float]
    silent: dict[int, float]
    sides: dict[int, float]
    levels: dict[int, float]


def spoken_of(reports: list[list[Any]]) -> list[str]:
    """Return the findings and devices that reports affirm, in alphabetical order."""
    counts: dict[str, int] = {}
    for claims in reports:
        for name in {claim[0] for claim in claims if claim[1]}:
            counts[name] = counts.get(name, 0) + 1
    return sorted(name for name, count in counts.items() if count >= SEEN)


def claimed(claims: list[Any], names: list[str]) -> Claims:
    """Sort the claims of a report by the places of what they are about."""
    out = Claims()
    sides: dict[int, set[int]] = {}
    levels: dict[int, set[int]] = {}
    for finding, there, (left, right), level in claims:
        if finding not in names or there is None:
            continue
        place = names.index(finding)
        if not there:
            out.absent.add(place)
            continue
        out.present.add(place)
        sides.setdefault(place, set()).update([1] * left + [-1] * right)
        levels.setdefault(place, set()).update([] if level is None else [level])
    out.absent.difference_update(out.present)
    # What is told of both sides, or in two degrees, has none of its own.
    out.sides.update({i: one.pop() for i, one in sides.items() if len(one) == 1})
    out.levels.update({i: one.pop() for i, one in levels.items() if len(one) == 1})
    return out


def doubts_of(said: Claims, film: NDArray[np.float64]) -> Doubts:
    """Return how unlikely the claims of a report are by a film's odds (topics, 4)."""
    there = film[:, THERE]
    spoken = said.present | said.absent
    return Doubts(
        affirmed={i: -there[i] for i in said.present},
        denied={i: there[i] for i in said.absent},
        silent={i: there[i] for i in range(len(film)) if i not in spoken},
        sides={i: -film[i, LEFT] * sign for i, sign in said.sides.items()},
        levels={
            i: -level_odds(film[i], level)
            for i, level in said.levels.items()
            if film[i, [LITTLE, MUCH]].any()
        },
    )


def truth_of(reports: list[Claims], topics: int) -> NDArray[np.float64]:
    """Return what reports claim of topics (N, 4 T): 1, 0, or NaN for what is not said.

    A topic that a report does not name counts as absent.
    """
    out = np.full((len(reports), topics, 4), np.nan)
    out[:, :, THERE] = 0
    for row, said in zip(out, reports, strict=True):
        for place in said.present:
            row[place, THERE] = 1
        for place, side in said.sides.items():
            row[place, LEFT] = side > 0
        for place, level in said.levels.items():
            row[place, LITTLE], row[place, MUCH] = level == 0, level == 2
    return out.reshape(len(reports), 4 * topics)


def log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log odds, cut where nobody can be surer."""
    with np.errstate(divide="ignore"):
        odds = np.log(chance) - np.log1p(-chance)
    out: NDArray[np.float64] = np.clip(odds, -SURE, SURE)
    return out


def level_odds(film: NDArray[np.float64], level: int) -> float:
    """Return the log odds (4,) of one of three degrees."""
    if level != 1:
        return float(film[MUCH if level == 2 else LITTLE])
    ends = 1 / (1 + np.exp(-film[[LITTLE, MUCH]]))
    middle = np.clip(1 - ends.sum(), 1e-3, 1 - 1e-3)
    return float(np.clip(np.log(middle / (1 - middle)), -SURE, SURE))
