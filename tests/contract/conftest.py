"""What the contract tests share: every preset, shrunk by one rule to train fast."""

import copy
from functools import cache

import carina as ca
import pytest

# In pixels; at 32 a residual trunk leaves one token, and attention learns nothing.
SIDE = 64

# A preset keeps its form (encoder, activations, pooling, positions); its sizes go down
# to these. Sizes are looked up by name, so a new preset needs no line here.
SMALL = {
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 32,
    "stem_width": 8,
    "width": 0.1,
    "cell": 1,
    "growth": 4,
    "queries": 2,
    "pool_heads": 2,
    "embedding": 8,
    "text_length": 24,
    # Statistics that follow the films in the few steps of a test.
    "norm_momentum": 0.95,
}


def shrink(fields):
    """Bring every known size down, at every level of a specification."""
    small = copy.deepcopy(fields)
    for name, value in fields.items():
        if isinstance(value, dict):
            small[name] = shrink(value)
        elif name in SMALL:
            small[name] = SMALL[name]
        elif name == "widths":
            small[name] = [8] * len(value)
        elif name == "depths":
            small[name] = [1] * len(value)
    return small


@cache
def described(preset):
    """Describe the system of a preset in its small form."""
    system, size = preset.rsplit("-", 1)
    fields = ca.create(system, size=size, image_size=SIDE).spec["system"]
    fields.pop("name")
    return shrink(fields)


def build(preset, seed=0, **overrides):
    """Create a preset in its small form."""
    system, size = preset.rsplit("-", 1)
    fields = described(preset) | overrides
    return ca.create(system, size=size, image_size=SIDE, seed=seed, **fields)


def build_for(stage, preset, seed=0):
    """Create a preset with a decoder behind it, if the stage trains or asks one."""
    model = build(preset, seed)
    if stage["objective"]["kind"] == "instruct":
        sizes = {"dim": 16, "depth": 1, "heads": 2, "kv_heads": 1, "mlp_dim": 32}
        model.graft(ca.create_decoder("1m", seed=seed, device="cpu", **sizes))
    return model


def fits(preset, stage):
    """Say whether a model of the preset has what the stage trains."""
    return stage != "qformer" or "resampler" in described(preset)


@pytest.fixture(scope="session")
def films():
    return ca.phantom(48, seed=3, size=SIDE, progress=False)


@pytest.fixture(scope="session", params=ca.list_presets())
def preset(request):
    return request.param
