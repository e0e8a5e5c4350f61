"""What an evaluation found: numbers with intervals, counts and a trivial baseline."""

import html
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from carina._files import PathLike, write_text
from carina.errors import FormatError, InvalidValueError, MissingFileError
from carina.table import Table

_FORMAT = "carina-result"
_VERSION = 1
MACRO = "macro mean"


@dataclass(frozen=True)
class Measurement:
    """One number of a :class:`Result`.

    Parameters
    ----------
    finding : str
        What was looked for; "macro mean" for the mean over findings.
    metric : str
        Name of the metric.
    value, low, high : float
        The number and the ends of its interval; NaN where there is none.
    baseline : float
        What a model without knowledge scores; NaN where that is arbitrary.
    n : int
        Rows (or queries, pairs) with known truth.
    positives : int or None
        Rows where it is present.
    note : str
        Why there is no number, or what weakens it.
    """

    finding: str
    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    n: int = 0
    positives: int | None = None
    note: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Protocol:
    """How the numbers of a :class:`Result` came about.

    Parameters
    ----------
    name : str
        Name of the protocol, "zero_shot" say.
    data : str
        What was evaluated, in words without identifiers.
    command : str
        How to run it again.
    recipe_hash : str or None
        Fingerprint of the model and its preprocessing.
    seed : int
        Seed of the resampling.
    resamples : int
        Bootstrap resamples; zero without intervals.
    level : float
        Coverage of the intervals.
    clusters : int
        How many patients (or what `unit` says) were resampled.
    policy : str
        What an uncertain label counted as.
    unit : str
        What was resampled, "patients" by default.
    """

    name: str
    data: str = ""
    command: str = ""
    recipe_hash: str | None = None
    seed: int = 0
    resamples: int = 0
    level: float = 0.95
    clusters: int = 0
    policy: str = "ignore"
    unit: str = "patients"


class Result:
    """Measurements and the protocol that made them.

    Prints as a table, shows as HTML, plots as a forest of intervals, and goes
    to JSON and back.

    Parameters
    ----------
    rows : iterable of Measurement
        The numbers.
    protocol : Protocol
        How they came about.
    tables : mapping of str to Table, optional
        What is no single number: a confusion table, say.
    """

    def __init__(
        self,
        rows: Iterable[Measurement],
        *,
        protocol: Protocol,
        tables: Mapping[str, Table] | None = None,
    ) -> None:
        self.rows = tuple(rows)
        self.protocol = protocol
        self.tables = dict(tables or {})

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return self._payload() == other._payload()

    __hash__ = None  # type: ignore[assignment]

    def get(self, metric: str, finding: str = MACRO) -> Measurement:
        """Return one measurement.

        Parameters
        ----------
        metric : str
            Its metric.
        finding : str, default="macro mean"
            Its finding; not needed where there is only one.

        Raises
        ------
        InvalidValueError
            If there is none.
        """
        rows = [row for row in self.rows if row.metric == metric]
        for row in rows:
            if row.finding == finding or (len(rows) == 1 and finding == MACRO):
                return row
        known = ", ".join(f"{row.metric} of {row.finding}" for row in self.rows)
        raise InvalidValueError(
            f"no {metric!r} of {finding!r} in the result; there are: {known or 'none'}"
        )

    @property
    def table(self) -> Table:
        """All measurements as a table with one column for each field."""
        names = [field.name for field in fields(Measurement)]
        return Table({n: [getattr(row, n) for row in self.rows] for n in names})

    def __repr__(self) -> str:
        tables = [f"{name}:\n{table!r}" for name, table in self.tables.items()]
        shown = [self._title(), repr(self._display()), *tables, *self._footer()]
        return "\n".join(shown)

    def _repr_html_(self) -> str:
        title, footer = html.escape(self._title()), map(html.escape, self._footer())
        notes = "<br>".join(footer)
        table = self._display()._repr_html_()
        more = "".join(
            f"<p>{html.escape(name)}</p>{other._repr_html_()}"
            for name, other in self.tables.items()
        )
        return f"<p><b>{title}</b></p>{table}{more}<p>{notes}</p>"

    def _title(self) -> str:
        parts = [self.protocol.name, self.protocol.data]
        return "Result: " + ", ".join(part for part in parts if part)

    def _footer(self) -> list[str]:
        protocol, lines = self.protocol, []
        if protocol.resamples:
            lines.append(
                f"intervals: {protocol.level:.0%}, {protocol.resamples} resamples of "
                f"{protocol.clusters} {protocol.unit}, seed {protocol.seed}"
            )
        if protocol.recipe_hash:
            lines.append(f"model and recipe: {protocol.recipe_hash[:16]}")
        if protocol.command:
            lines.append(f"run again: {protocol.command}")
        return lines

    def _display(self) -> Table:
        columns: dict[str, list[Any]] = {
            "finding": [row.finding for row in self.rows],
            "metric": [row.metric for row in self.rows],
            "value": [str(row) for row in self.rows],
            "baseline": [_short(row.baseline) for row in self.rows],
            "n": [row.n for row in self.rows],
            "positives": [row.positives for row in self.rows],
            "note": [row.note for row in self.rows],
        }
        if not any(columns["note"]):
            del columns["note"]
        if all(count is None for count in columns["positives"]):
            del columns["positives"]
        return _WideTable(columns)

    def plot(self, ax: Any = None, *, metric: str | None = None) -> Any:
        """Draw a forest plot: each value with its interval, the baseline as a tick.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        metric : str, optional
            Which metric; the first of the result by default.

        Returns
        -------
        matplotlib Axes
        """
        import matplotlib.pyplot as plt

        metric = metric or next((row.metric for row in self.rows), "")
        rows = [r for r in self.rows if r.metric == metric and not math.isnan(r.value)]
        if not rows:
            raise InvalidValueError(f"metric: no value of {metric!r} in the result")
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 1.2 + 0.32 * len(rows)))
        for place, row in enumerate(rows):
            color = "black" if row.finding == MACRO else "C0"
            if not math.isnan(row.low):
                ax.plot([row.low, row.high], [place, place], color=color, lw=2)
            ax.plot([row.value], [place], marker="o", color=color)
            if not math.isnan(row.baseline):
                ax.plot([row.baseline], [place], marker="|", ms=12, color="grey")
        ax.set_yticks(range(len(rows)), [f"{r.finding} (n={r.n})" for r in rows])
        ax.invert_yaxis()
        ax.set_xlabel(f"{metric} (grey: baseline)")
        ax.set_title(self._title())
        return ax

    def to_json(self, path: PathLike | None = None) -> str | None:
        """Return, or write atomically to `path`, the whole result as JSON."""
        text = json.dumps(self._payload(), indent=1, ensure_ascii=False)
        if path is None:
            return text
        write_text(path, text)
        return None

    def _payload(self) -> dict[str, Any]:
        rows = [
            {name: _null(value) for name, value in asdict(row).items()}
            for row in self.rows
        ]
        payload: dict[str, Any] = {
            "format": _FORMAT,
            "version": _VERSION,
            "protocol": asdict(self.protocol),
            "rows": rows,
        }
        if self.tables:
            payload["tables"] = {
                name: {k: [_null(v) for v in c] for k, c in table.to_dict().items()}
                for name, table in self.tables.items()
            }
        return payload

    @classmethod
    def from_json(cls, path: PathLike) -> "Result":
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        MissingFileError
            If there is no such file.
        FormatError
            If it is not a result.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise MissingFileError(f"{path}: no such file") from error
        try:
            payload = json.loads(text)
            if (payload["format"], payload["version"]) != (_FORMAT, _VERSION):
                raise FormatError(f"{path}: expected {_FORMAT} version {_VERSION}")
            rows = [_measurement(row) for row in payload["rows"]]
            tables = {k: Table(t) for k, t in payload.get("tables", {}).items()}
            return cls(rows, protocol=Protocol(**payload["protocol"]), tables=tables)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: not a result of carina: {error}") from error


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _measurement(row: dict[str, Any]) -> Measurement:
    """Read one row; null numbers are NaN."""
    for name in ("value", "low", "high", "baseline"):
        row[name] = math.nan if row[name] is None else float(row[name])
    return Measurement(**row)


class _WideTable(Table):
    """A table that shows all its rows: results are read to the end."""

    __slots__ = ()
    _max_rows = 1000
