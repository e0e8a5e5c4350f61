"""Probes whose files were lost, damaged or forged."""

import json

import numpy as np
import pytest
from carina import Probe
from carina.errors import FormatError, MissingFileError


def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(100, 4)).astype(np.float32)
    return X, (X[:, 0] + random.normal(size=100) > 0).astype(float)


def test_a_damaged_or_missing_probe_is_named(tmp_path):
    X, y = data()
    with pytest.raises(MissingFileError, match=r"probe\.json"):
        Probe.load(tmp_path / "none")
    Probe().fit(X, y).save(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FormatError, match="damaged: its checksum"):
        Probe.load(tmp_path)
    card = json.loads((tmp_path / "probe.json").read_text())
    card["weights"]["file"] = "../probe-x.safetensors"
    (tmp_path / "probe.json").write_text(json.dumps(card))
    with pytest.raises(FormatError, match="must name a file of the folder"):
        Probe.load(tmp_path)
    (tmp_path / "probe.json").write_text("{")
    with pytest.raises(FormatError, match="not the card of a probe"):
        Probe.load(tmp_path)
