"""Captions: what a model with a Q-Former writes about films."""

from typing import Any, Literal

from carina._failures import report_failures
from carina._films import as_dataset
from carina._progress import Bar
from carina.model import Model


def caption(
    model: Model,
    data: Any,
    *,
    max_tokens: int = 48,
    batch_size: int = 64,
    cache: str = "none",
    progress: bool | None = None,
    errors: Literal["raise", "none"] = "none",
) -> list[str | None]:
    """Write a report for each film, the most likely word after each word.

    Only for models with a Q-Former, which its stage of training teaches to write [1]_.

    Parameters
    ----------
    model : Model
        A model with a Q-Former.
    data : Dataset, Study, Image, path, array, or a sequence of them
        The films; the first film of every study.
    max_tokens : int, default=48
        The most pieces of words in a report.
    batch_size : int, default=64
        Films at a time.
    cache : {"none", "memory"} or path, default="none"
        As for :meth:`Model.encode`.
    progress : bool, optional
        Whether to show a bar.
    errors : {"none", "raise"}, default="none"
        What a film that cannot be read becomes: ``None`` and a warning, or an
        exception.

    Returns
    -------
    list of str or None
        In the order of `data`.

    Raises
    ------
    InvalidValueError
        If the model has no Q-Former, or no room for so many tokens.

    References
    ----------
    .. [1] Li et al., "BLIP-2", 2023. arXiv:2301.12597.
    """
    with Bar("caption", show=progress, unit="film") as bar:
        texts, failures = model._core.caption(
            as_dataset(data)._core,
            max_tokens=max_tokens,
            batch_size=batch_size,
            cached=cache,
            watch=bar,
        )
    report_failures(failures, raises=errors == "raise", become="its text is None")
    return texts
