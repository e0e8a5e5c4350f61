"""Queries of a search by words, and what answers them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from carina import _core
from carina.dataset import Dataset
from carina.errors import InvalidValueError

_SEQUENCES = ("findings", "partly", "severity")


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query and the rule that grades studies for it.

    A study is worth 2 if it has a finding as asked, 1 if it has the finding otherwise
    (or in doubt), 0 without it.

    Parameters
    ----------
    text : str
        What is searched for.
    group : str
        ``"single finding"``, ``"laterality"``, ``"severity"``, ``"non-specific"``.
    findings : sequence of str
        Labels any of which answers it.
    partly : sequence of str
        Labels that answer it by half, where the data have them.
    side : {"", "left", "right"}
        The side asked for; a finding on both sides has it.
    severity : sequence of str
        The degrees asked for, any of them.
    at_least_mm : float
        The least diameter asked for.
    device : str
        The device asked for, as attributes name it.
    normal : bool
        Whether it asks for films on which nothing is found; then without findings.

    Raises
    ------
    InvalidValueError
        If the text is empty, or one text stands where a sequence of them belongs.
    """

    text: str
    group: str = ""
    findings: Sequence[str] = ()
    partly: Sequence[str] = ()
    side: str = ""
    severity: Sequence[str] = ()
    at_least_mm: float = 0.0
    device: str = ""
    normal: bool = False

    def __post_init__(self) -> None:
        """Refuse what would be read as something else."""
        if not self.text.strip():
            raise InvalidValueError("query: found an empty text, expected words")
        for name in _SEQUENCES:
            if isinstance(getattr(self, name), str):
                raise InvalidValueError(
                    f"query {self.text!r}: {name}: found one text, expected a sequence "
                    "of them"
                )

    def grades(self, dataset: Dataset) -> NDArray[np.float64]:
        """Grade every study of a data set.

        Returns
        -------
        ndarray of shape (studies,)
            2, 1 or 0; NaN where the labels do not tell.

        Raises
        ------
        InvalidValueError
            If a finding is not among the data set's.
        """
        return self._graded(dataset)[0]

    def _graded(self, dataset: Dataset) -> tuple[NDArray[np.float64], bool]:
        fields = asdict(self)
        for name in _SEQUENCES:
            fields[name] = [str(value) for value in fields[name]]
        return _core.grade_query(json.dumps(fields), dataset._core)


class Queries(Sequence[Query]):
    """Queries in order.

    Parameters
    ----------
    queries : sequence of Query or str
        A text alone has no rule, and needs a table of grades.
    """

    def __init__(self, queries: Sequence[Query | str]) -> None:
        made = [Query(text=q) if isinstance(q, str) else q for q in queries]
        if not made:
            raise InvalidValueError("queries: found none, expected at least one")
        texts = [query.text for query in made]
        if twice := sorted({text for text in texts if texts.count(text) > 1}):
            raise InvalidValueError(f"queries: found {twice} twice")
        self._queries = tuple(made)

    @classmethod
    def of(cls, queries: "QueriesLike") -> "Queries":
        """Make queries of a set's name, of texts, of Query, or of a table's keys."""
        if isinstance(queries, Queries):
            return queries
        if isinstance(queries, str):
            rows = [json.loads(row) for row in _core.query_set(queries)]
            return cls([Query(**row) for row in rows])
        return cls(list(queries))

    @property
    def texts(self) -> list[str]:
        """The words of the queries, in order."""
        return [query.text for query in self._queries]

    def __len__(self) -> int:
        return len(self._queries)

    @overload
    def __getitem__(self, index: int) -> Query: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Query, ...]: ...
    def __getitem__(self, index: int | slice) -> Query | tuple[Query, ...]:
        return self._queries[index]

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries)

    def __repr__(self) -> str:
        groups = dict.fromkeys(query.group for query in self._queries if query.group)
        return f"Queries({len(self)}; {', '.join(groups) or 'no groups'})"


QueriesLike = Queries | str | Sequence[Query | str] | Mapping[str, object]


def queries(name: str) -> Queries:
    """Open a built-in set of queries.

    Parameters
    ----------
    name : str
        One of :func:`list_queries`: nineteen queries in the four groups of ELIXR's
        semantic search, ``"phantom19"`` for synthetic films and ``"chexpert19"`` for
        labels named as CheXpert's.

    Raises
    ------
    InvalidValueError
        If there is no set of that name.

    References
    ----------
    .. [1] Xu et al., "ELIXR", 2023. arXiv:2308.01317.
    """
    return Queries.of(name)


def list_queries() -> list[str]:
    """List the built-in sets of queries."""
    return list(_core.query_sets())
