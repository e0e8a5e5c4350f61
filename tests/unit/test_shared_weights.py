"""Decoders whose weights several processes hold together."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import carina
import numpy as np
import pytest
from carina.errors import CarinaError, FormatError, InvalidValueError

pytestmark = pytest.mark.skipif(
    os.environ.get("CARINA_KERNELS") == "off",
    reason="without the kernels weights are not shared",
)
SMALL = {"depth": 2, "dim": 64, "heads": 4, "kv_heads": 2, "mlp_dim": 96}
PRECISIONS = ["f32", "bf16", "q8_0"]
TEXT = "no pleural effusion, the heart is of normal size and the lungs are clear"


@pytest.fixture
def folder(tmp_path):
    made = carina.create_decoder("1m", seed=3, device="cpu", max_positions=64, **SMALL)
    made.save(tmp_path / "decoder")
    return tmp_path / "decoder"


@pytest.fixture
def shared(tmp_path):
    return tmp_path / "shared.weights"


def written(path):
    """Tell one writing of a file from the next."""
    return (path.stat().st_ino, path.stat().st_mtime_ns)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_shared_weights_give_what_own_ones_give(folder, shared, precision):
    own = carina.load_decoder(folder, precision=precision, device="cpu")
    first = carina.load_decoder(folder, precision=precision, shared=shared)
    at = written(shared)
    again = carina.load_decoder(folder, precision=precision, shared=shared)
    assert written(shared) == at
    # One word, as when it writes, takes another way through the kernels than many.
    for text in [TEXT, "clear"]:
        expected = own.logits(text)
        np.testing.assert_allclose(first.logits(text), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(first.logits(text), again.logits(text))
    assert first.generate(TEXT, max_new_tokens=5) == own.generate(
        TEXT, max_new_tokens=5
    )
    assert first.report.complete
    with pytest.raises(CarinaError, match="float32"):
        first.save(folder.parent / "copy")


def test_a_tied_table_is_read_and_its_layout_shared(tmp_path, shared):
    made = carina.create_decoder("1m", seed=1, device="cpu", tied=True, **SMALL)
    made.save(tmp_path / "tied")
    opened = carina.load_decoder(tmp_path / "tied", shared=shared)
    np.testing.assert_allclose(
        opened.logits(TEXT), made.logits(TEXT), rtol=1e-4, atol=1e-5
    )
    whole = shared.read_bytes()
    table = json.loads(whole[whole.rindex(b'{"format"') : -16])
    assert "lm_head.weight" in table["weights"]
    assert not any("embed" in name for name in table["weights"])


def test_other_weights_and_another_precision_are_written_anew(folder, shared):
    carina.load_decoder(folder, precision="q8_0", shared=shared)
    at = written(shared)
    old = carina.load_decoder(folder, precision="f32", shared=shared)
    assert written(shared) != at
    before, at = old.logits(TEXT), written(shared)
    other = carina.create_decoder("1m", seed=9, device="cpu", max_positions=64, **SMALL)
    other.save(folder)
    new = carina.load_decoder(folder, precision="f32", shared=shared)
    assert written(shared) != at
    np.testing.assert_allclose(
        new.logits(TEXT), other.logits(TEXT), rtol=1e-4, atol=1e-5
    )
    # Who had opened the former file keeps it.
    np.testing.assert_array_equal(old.logits(TEXT), before)


def test_weights_of_the_same_size_and_time_are_told_apart(folder, shared):
    file = folder / "model.safetensors"
    old = carina.load_decoder(folder, shared=shared).logits(TEXT)
    other = carina.create_decoder("1m", seed=9, device="cpu", max_positions=64, **SMALL)
    time = file.stat().st_mtime_ns
    other.save(folder)
    os.utime(file, ns=(time, time))
    new = carina.load_decoder(folder, shared=shared).logits(TEXT)
    assert np.abs(new - old).max() > 1e-3
    np.testing.assert_allclose(new, other.logits(TEXT), rtol=1e-4, atol=1e-5)


def test_a_shared_decoder_is_planned_with_its_weights_once_and_is_not_grafted(
    folder, shared
):
    own = carina.load_decoder(folder, device="cpu").plan(20, max_new_tokens=4)
    decoder = carina.load_decoder(folder, shared=shared)
    plan = decoder.plan(20, max_new_tokens=4)
    assert plan.bytes["weights"] < own.bytes["weights"]
    model = carina.create("elixr", size="qformer", image_size=64)
    with pytest.raises(CarinaError, match="opened shared"):
        model.graft(decoder)


@pytest.mark.parametrize("already", [b"", b"of somebody else"])
def test_a_lock_of_another_name_is_not_emptied(folder, shared, already):
    lock = shared.with_name(f".{shared.name}.lock")
    lock.write_bytes(already)
    carina.load_decoder(folder, shared=shared)
    assert lock.read_bytes() == already


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b"",
        lambda whole: b"of somebody else",
        lambda whole: whole[64:],
        lambda whole: whole[4096:],
        lambda whole: whole[:-16] + b"\xff" * 8 + whole[-8:],
    ],
)
def test_what_is_no_whole_file_of_weights_is_refused_and_left(folder, shared, spoil):
    carina.load_decoder(folder, shared=shared)
    spoilt = spoil(shared.read_bytes())
    shared.write_bytes(spoilt)
    with pytest.raises(FormatError, match=re.escape(str(shared))):
        carina.load_decoder(folder, shared=shared)
    assert shared.read_bytes() == spoilt


def test_pieces_that_lie_elsewhere_are_refused(folder, shared):
    carina.load_decoder(folder, shared=shared)
    whole = shared.read_bytes()
    start = whole.rindex(b'{"format"')
    for found, wrong, told in [
        (b'"end":', b'"end":9', "a part of one"),
        (b'"start":', b'"start":9', r"weight `model\.layers\.0"),
        (b'"shape":[', b'"shape":[1', r"weight `model\.layers\.0"),
    ]:
        table = whole[start:-16].replace(found, wrong)
        shared.write_bytes(
            whole[:start] + table + len(table).to_bytes(8, "little") + whole[-8:]
        )
        with pytest.raises(FormatError, match=told):
            carina.load_decoder(folder, shared=shared)


def test_places_that_cannot_be_written_and_gpus_are_refused(folder, tmp_path):
    with pytest.raises(CarinaError, match="nowhere"):
        carina.load_decoder(folder, shared=tmp_path / "nowhere" / "weights")
    with pytest.raises(FormatError, match="folder"):
        carina.load_decoder(folder, shared=tmp_path)
    with pytest.raises(InvalidValueError, match="cuda"):
        carina.load_decoder(folder, shared=tmp_path / "weights", device="cuda")


OPEN = """
import sys, carina
decoder = carina.load_decoder(sys.argv[1], precision="q8_0", shared=sys.argv[2])
maps = open("/proc/self/maps") if sys.platform == "linux" else ()
held = {line.split()[4] for line in maps if line.rstrip().endswith(sys.argv[2])}
print(*held, decoder.logits("clear lungs").sum())
"""


def test_processes_that_start_together_write_one_file(folder, shared):
    def start():
        command = [sys.executable, "-c", OPEN, folder, shared]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    rubbish = shared.with_name(f".{shared.name}.1.0.tmp")  # of one that was killed
    rubbish.touch()
    os.utime(rubbish, (0, 0))
    told = [process.communicate(timeout=120)[0] for process in [start() for _ in "abc"]]
    # They say which file they hold, too.
    assert len(set(told)) == 1
    *held, total = told[0].split()
    assert np.isfinite(float(total))
    if sys.platform == "linux":
        assert held == [str(shared.stat().st_ino)]
    assert {path.name for path in shared.parent.iterdir()} == {
        "decoder",
        shared.name,
        f".{shared.name}.lock",
    }


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc here")
def test_the_pages_are_those_of_the_file(folder, shared):
    decoder = carina.load_decoder(folder, precision="q8_0", shared=shared)
    decoder.logits(TEXT)
    maps = Path("/proc/self/smaps").read_text().split(os.fspath(shared))[1:]
    assert maps, "the file is not mapped"
    for one in maps:
        own = one.split("VmFlags")[0]
        sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", own, re.MULTILINE))
        assert int(sizes["Private_Dirty"]) == 0
        assert int(sizes["Rss"]) > 0
    del decoder
    assert os.fspath(shared) not in Path("/proc/self/smaps").read_text()
