"""The commands from manifest to result, as a shell would call them."""

import json
import subprocess
import sys

import carina as ca
import numpy as np
import pytest
from carina.cli import main


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "films.jsonl"
    ca.phantom(24, seed=5, size=32, progress=False).to_manifest(path, progress=False)
    return path


@pytest.fixture(scope="module")
def model(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    options = ["--image-size", "32", "--stage", "contrastive"]
    fields = ["--set", "epochs=1", "batch_size=8"]
    code = main(["train", str(manifest), str(out), *options, *fields])
    assert code == 0
    return out / "model"


def test_a_manifest_trains_a_model_that_opens(model):
    assert ca.load(model).spec["lineage"]


def test_embed_writes_a_row_for_each_study(model, manifest, tmp_path):
    assert main(["embed", str(model), str(manifest), str(tmp_path / "v.npz")]) == 0
    with np.load(tmp_path / "v.npz") as kept:
        assert kept["study"].tolist() == ca.open_dataset(manifest).ids.tolist()
        assert kept["vectors"].shape[0] == 24
        assert np.isfinite(kept["vectors"]).all()
        assert str(kept["model"]) == ca.load(model).fingerprint()


def test_evaluate_writes_a_result_that_opens(model, manifest, tmp_path, capsys):
    out = tmp_path / "result.json"
    command = ["evaluate", str(model), str(manifest), "--prompts", "phantom"]
    assert main([*command, "--out", str(out)]) == 0
    result = ca.Result.from_json(out)
    assert str(result) == capsys.readouterr().out.rstrip("\n")
    assert json.loads(out.read_text())["protocol"]["name"] == "zero_shot"
    (plain := tmp_path / "plain").touch()
    assert out.stat().st_mode == plain.stat().st_mode  # not its owner's alone


def test_the_doctor_speaks_json(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["carina"] == ca.__version__
    assert facts["kernels"] in (
        "AVX-512, products on AMX tiles",
        "AVX-512 with bfloat16",
        "AVX-512",
        "AVX2 and FMA",
        "the architecture's baseline",
    )
    assert {"cuda", "threads", "dicom", "cache folder"} <= set(facts)


def test_an_error_is_one_line_and_a_code(tmp_path, capsys):
    missing = tmp_path / "no.csv"
    assert main(["train", str(missing), str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("carina: ")
    assert error.count("\n") == 1
    assert "no.csv" in error


def test_a_field_without_a_value_is_named(manifest, tmp_path, capsys):
    command = ["train", str(manifest), str(tmp_path / "run"), "--set", "epochs"]
    assert main(command) == 1
    assert "--set: found 'epochs', expected FIELD=VALUE" in capsys.readouterr().err


def test_importing_is_quick_and_light():
    code = "import sys, carina; print(' '.join(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(out.stdout.split())
    assert not loaded & {"matplotlib", "pandas", "torch", "ray", "sklearn", "pyarrow"}
