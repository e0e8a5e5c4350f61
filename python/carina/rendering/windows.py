"""Windows of Hounsfield units, by their names."""

from carina import _core
from carina.errors import InvalidValueError


def named(name: str) -> tuple[tuple[float, float], str]:
    """Return the ends of a window of Hounsfield units, and how to say them."""
    windows = dict(_core.hu_windows())
    if name not in windows:
        raise InvalidValueError(
            f"window: expected one of {', '.join(windows)}, found {name!r}"
        )
    low, high = windows[name]
    return (low, high), f"window {name}, {low:g} to {high:g} HU"
