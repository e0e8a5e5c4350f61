"""Stages of training as mappings: presets, and changes to them."""

import json
from collections.abc import Mapping
from typing import Any

from carina import _core

Stage = dict[str, Any]


def stage_like(given: str | Mapping[str, Any], changes: Mapping[str, Any]) -> Stage:
    """Make a full stage of a name or mapping and changes to it."""
    if isinstance(given, str):
        text = _core.stage_preset(given)
    else:
        text = json.dumps(dict(given))
    return _changed(json.loads(text), changes)


def _changed(fields: Stage, changes: Mapping[str, Any]) -> Stage:
    """Put changes in place; two underscores lead into a nested field."""
    for field, value in changes.items():
        target = fields
        *path, last = field.split("__")
        for step in path:
            target = target.setdefault(step, {})
        target[last] = value
    return fields
