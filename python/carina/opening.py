"""Where models come from: presets and folders."""

import json
from pathlib import Path
from typing import Any

from carina import _core
from carina._files import PathLike
from carina.errors import CheckpointError
from carina.model import Model
from carina.recipe import Recipe


def create(
    system: str,
    *,
    size: str = "tiny",
    image_size: int = 128,
    recipe: Recipe | None = None,
    seed: int = 0,
    device: str = "auto",
    **overrides: Any,
) -> Model:
    """Create an untrained model from a preset.

    Parameters
    ----------
    system : str
        The system, ``"elixr"``.
    size : str, default="tiny"
        The preset's size; see :func:`list_presets`.
    image_size : int, default=128
        Height and width in pixels that films are brought to.
    recipe : Recipe, optional
        How films are made right for the model, in the place of
        ``Recipe.film(image_size)``; its output must have a fixed shape.
    seed : int, default=0
        Seed of the weights; the same seed gives the same model on every machine.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.
    **overrides
        Fields of the system's configuration to change, such as
        ``queries=8, text={"depth": 4}``. ``resampler={"kind": "qformer"},
        text_pooling="class"`` puts a Q-Former in the place of the attention pool
        and the text encoder, as the size ``"qformer"`` does. ``text={"arch": "t5",
        "dim": 256, …}`` or ``{"arch": "siglip", …}`` (with ``text_pooling="last"``)
        reads texts with another encoder than BERT; ``cxr_foundation_tokens=True``
        numbers them as CXR Foundation's published clients do.

    Returns
    -------
    Model

    Raises
    ------
    InvalidValueError
        If there is no such preset.
    ConfigError
        If an override is unknown or out of range.
    DeviceError
        If the device is not there.
    """
    core = _core.Model.create(
        f"{system}-{size}",
        seed=seed,
        device=device,
        image_size=image_size,
        recipe=None if recipe is None else recipe.to_json(),
        overrides=json.dumps(overrides) if overrides else None,
    )
    return Model(core)


def load(folder: PathLike, *, device: str = "auto") -> Model:
    """Open a model's folder: configuration, weights, tokenizer and recipe in one place.

    Nothing is downloaded and nothing is unpickled.

    Parameters
    ----------
    folder : path-like
        What :meth:`Model.save` wrote.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:n"``.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        If a file of the folder is missing.
    CheckpointError
        If the weights do not fit the configuration.

    Notes
    -----
    Processes that are forked from one which has loaded and used a model share its
    weights.
    """
    path = Path(folder)
    core, report = _core.Model.load(path, device)
    return Model(core, report=report, source=path)


def list_presets() -> list[str]:
    """List the model presets, ``system-size``."""
    return list(_core.list_presets())


def reopen(folder: str, fingerprint: str) -> Model:
    """Open a pickled model again, and make sure that it is the same one."""
    model = load(folder)
    if model.fingerprint() != fingerprint:
        msg = f"{folder}: the weights have changed since the model was pickled"
        raise CheckpointError(msg)
    return model
