"""Films that could not be read: a warning, or an exception."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_NAN = "its values are NaN"


def report_failures(
    failures: list[tuple[int, str]],
    *,
    raises: bool,
    become: str = _NAN,
) -> None:
    """Warn of rows that could not be read, or raise for the first."""
    if not failures:
        return
    row, message = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    text = f"row {row}: {message}{more}"
    if raises:
        from carina.errors import FormatError

        raise FormatError(text)
    warnings.warn(f"{text}; {become}", stacklevel=3)


@contextmanager
def rows_of_nan_are_known() -> Iterator[None]:
    """Keep warnings back that a row is NaN: who calls says what becomes of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=rf"(?s).*; {_NAN}$")
        yield
