"""The progress bar of long calls."""

import json
import sys
from collections.abc import Callable
from typing import Any

Watch = Callable[[int, int, list[str]], None]


_CHOICE: list[bool | None] = [None]


def set_progress(show: bool | None = None) -> None:
    """Decide for the whole session whether long calls show their progress.

    A call's own ``progress=`` goes first.

    Parameters
    ----------
    show : bool, optional
        ``None`` shows it in notebooks and terminals only, as at the start.
    """
    _CHOICE[0] = show


def shown(show: bool | None) -> bool:
    """Return whether to show progress, given what a call asks for."""
    if show is not None:
        return show
    return _interactive() if _CHOICE[0] is None else _CHOICE[0]


class Bar:
    """A tqdm bar that the core moves; silent when `show` is false.

    Parameters
    ----------
    title : str
        What is being done.
    show : bool or None
        ``None`` follows :func:`set_progress`.
    on_event : callable, optional
        Called with every record that the core emits, as a dict.
    """

    def __init__(
        self,
        title: str,
        *,
        show: bool | None = None,
        unit: str = "it",
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._title = title
        self._unit = unit
        self._show = shown(show)
        self._on_event = on_event
        self._bar: Any = None

    def __call__(self, done: int, total: int, events: list[str]) -> None:
        if self._on_event is not None:
            for event in events:
                self._on_event(json.loads(event))
        if not self._show or total == 0:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            # A log that is no terminal gets a line now and then, not ten a second.
            pause = 0.2 if _interactive() else 30
            self._bar = tqdm(
                total=total,
                desc=self._title,
                unit=self._unit,
                mininterval=pause,
            )
        if done != self._bar.n or total != self._bar.total:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _interactive() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and sys.stderr.isatty()
