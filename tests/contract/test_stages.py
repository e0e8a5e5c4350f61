"""What every stage promises, on every preset: found through the registries."""

import fnmatch
import json

import carina as ca
import numpy as np
import pytest
from carina.errors import ConfigError, InvalidValueError

from .conftest import build, build_for, fits

# Batch statistics follow the films; no gradient moves them.
STATISTICS = ["image.*.running_mean", "image.*.running_var"]


@pytest.fixture(scope="module", params=ca.list_stages())
def stage(request, preset):
    if not fits(preset, request.param):
        pytest.skip(f"{preset} has nothing that {request.param} trains")
    return ca.stage(request.param, epochs=1, batch_size=16, seed=5)


def trained(preset, stage, films, **changes):
    model = build_for(stage, preset)
    before = {name: model.parameter(name) for name in model.parameters()}
    run = ca.train(model, films, stage, progress=False, **changes)
    return model, before, run


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def test_a_stage_is_json_and_names_an_unknown_field(preset, stage, films):
    stored = json.loads(json.dumps(stage))
    first = trained(preset, stage, films)[0]
    assert trained(preset, stored, films)[0].fingerprint() == first.fingerprint()
    for table in ("objective", "schedule", "optimiser", "augment"):
        with pytest.raises(ConfigError, match="epocks"):
            trained(preset, stage, films, **{f"{table}__epocks": 1})


# A parameter without a gradient ends the run with its name, so that a run that ends
# well reached all of them; here each must also have moved.
def test_every_trained_parameter_moves_and_no_other_does(preset, stage, films):
    model, before, run = trained(preset, stage, films, optimiser__weight_decay=0.0)
    assert np.isfinite(run.history["loss"]).all()
    for name in model.parameters():
        if name not in before:  # the head appears with its findings
            assert matches(name, stage["train"]), name
            continue
        follows = matches(name, STATISTICS) and matches("image.x", stage["train"])
        learns = matches(name, stage["train"]) or follows
        moved = not np.array_equal(before[name], model.parameter(name))
        assert moved == learns, f"{name}: moved {moved}, expected {learns}"


def test_a_frozen_part_stays_as_it_is(preset, stage, films):
    model, before, _ = trained(preset, stage, films, freeze=["image.*"])
    image = [name for name in before if name.startswith("image.")]
    assert image
    for name in image:
        np.testing.assert_array_equal(before[name], model.parameter(name), err_msg=name)


def test_a_model_without_what_a_stage_trains_is_refused(preset, films):
    wrong = [name for name in ca.list_stages() if not fits(preset, name)]
    for name in wrong:
        with pytest.raises(InvalidValueError, match="found no Q-Former; create one"):
            ca.train(build(preset), films, name, progress=False)
    assert wrong or "resampler" in build(preset).spec["system"]


def test_the_seed_decides_the_run(preset, stage, films):
    first, second = (trained(preset, stage, films)[0] for _ in range(2))
    other = trained(preset, stage, films, seed=6)[0]
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
