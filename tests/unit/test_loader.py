import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import carina as ca
import numpy as np
import pytest

RECIPE = ca.Recipe.film(16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for i in range(30):
        film = ca.read(rng.integers(0, 256, (20, 24)).astype(np.uint8))
        film.save_png(path / f"{i:02}.png")
    return path


@pytest.fixture
def ds(folder):
    rows = [{"study": i, "patient": i, "image": f"{i:02}.png"} for i in range(30)]
    return ca.open_dataset(rows, root=folder)


def flat(batches):
    batches = list(batches)
    indices = np.concatenate([batch.indices for batch in batches])
    return indices, np.concatenate([batch.pixels for batch in batches])


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_threads_decides_nothing(ds, workers):
    how = {"batch_size": 7, "shuffle": True, "seed": 3, "augment": True}
    one = flat(ds.batches(RECIPE, workers=1, **how))
    many = flat(ds.batches(RECIPE, workers=workers, **how))
    np.testing.assert_array_equal(one[0], many[0])
    np.testing.assert_array_equal(one[1], many[1])
    assert sorted(one[0]) == list(range(30))


def test_epochs_differ_and_resume_in_the_middle(ds):
    how = {"batch_size": 7, "shuffle": True, "seed": 3, "augment": True}
    first = flat(ds.batches(RECIPE, epoch=0, **how))
    second = flat(ds.batches(RECIPE, epoch=1, **how))
    assert list(first[0]) != list(second[0])
    rest = flat(ds.batches(RECIPE, epoch=1, start=2, **how))
    np.testing.assert_array_equal(rest[0], second[0][14:])
    np.testing.assert_array_equal(rest[1], second[1][14:])


def test_batches_are_what_the_recipe_makes(ds):
    indices, pixels = flat(ds.batches(RECIPE, batch_size=4))
    assert list(indices) == list(range(30))
    expected, _ = RECIPE.apply(ds[17].images[0])
    np.testing.assert_array_equal(pixels[17], expected)
    tensors, failures = ds.tensors(RECIPE)
    np.testing.assert_array_equal(tensors, pixels)
    assert failures == []
    assert len(list(ds.batches(RECIPE, batch_size=4, drop_last=True))) == 7


def test_one_bad_file_is_one_failure_and_the_rest_is_intact(ds, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((folder / "03.png").read_bytes()[:60])
    rows = [
        {"study": i, "patient": i, "image": broken if i == 3 else f"{i:02}.png"}
        for i in range(30)
    ]
    hurt = ca.open_dataset(rows, root=folder)
    batches = list(hurt.batches(RECIPE, batch_size=8))
    assert [len(batch.indices) for batch in batches] == [7, 8, 8, 6]
    (failure,) = batches[0].failures
    assert failure.index == 3
    assert "broken.png" in failure.message
    pixels, failures = hurt.tensors(RECIPE)
    whole, _ = ds.tensors(RECIPE)
    assert np.isnan(pixels[3]).all()
    keep = np.arange(30) != 3
    np.testing.assert_array_equal(pixels[keep], whole[keep])
    assert failures == [failure]


def test_the_disk_cache_changes_nothing_and_mends_itself(ds, tmp_path):
    cache = tmp_path / "cache"
    plain, _ = ds.tensors(RECIPE)
    for _ in range(2):
        kept, _ = ds.tensors(RECIPE, cache=cache)
        np.testing.assert_array_equal(kept, plain)
    entries = sorted(cache.glob("films/*/*.film"))
    assert len(entries) == 30
    entries[0].write_bytes(entries[0].read_bytes()[:-3])
    entries[1].write_bytes(b"")
    entries[2].unlink()
    for note in cache.glob("names/*"):
        note.write_text("rubbish")
    mended, _ = ds.tensors(RECIPE, cache=cache)
    np.testing.assert_array_equal(mended, plain)
    other, _ = ds.tensors(ca.Recipe.film(8), cache=cache)
    assert other.shape == (30, 1, 8, 8)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_writer_leaves_a_cache_that_works(ds, folder, tmp_path):
    cache = tmp_path / "cache"
    code = textwrap.dedent(
        f"""
        import carina as ca, pathlib
        folder = pathlib.Path({str(folder)!r})
        rows = [{{"study": i, "patient": i, "image": f"{{i:02}}.png"}}
                for i in range(30)]
        ds = ca.open_dataset(rows, root=folder)
        print("ready", flush=True)
        for size in range(200, 400):
            ds.tensors(ca.Recipe.film(size), cache={str(cache)!r})
        """
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    recipe = ca.Recipe.film(200)
    np.testing.assert_array_equal(
        ds.tensors(recipe, cache=cache)[0], ds.tensors(recipe)[0]
    )


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_stops_the_loader_within_a_second(folder):
    rows = [
        {"study": i, "patient": i, "image": f"{i % 30:02}.png"} for i in range(200_000)
    ]
    ds = ca.open_dataset(rows, root=folder)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ds.tensors(RECIPE, progress=False)
    assert time.monotonic() - start < 2.0


def test_leaving_a_loop_early_is_fine(ds):
    for _ in range(20):
        for batch in ds.batches(RECIPE, batch_size=2):
            assert batch.pixels.shape == (2, 1, 16, 16)
            break


def test_films_without_a_fixed_shape_are_failures_not_crashes():
    arrays = [np.zeros((4, 4)), np.zeros((5, 4)), np.ones((4, 4))]
    rows = [{"study": i, "patient": i, "image": a} for i, a in enumerate(arrays)]
    native = ca.Recipe.from_steps([{"step": "rescale", "from": "min_max"}])
    (batch,) = ca.open_dataset(rows).batches(native)
    assert list(batch.indices) == [0, 2]
    assert "expected shape (1, 4, 4)" in batch.failures[0].message


def test_what_does_not_fit_into_memory_is_refused(ds):
    large = ca.Recipe.film(1024)
    many = ds[np.zeros(1_000_000, int)]
    with pytest.raises(ca.CarinaError, match="do not fit into memory; batches"):
        many.tensors(large)


def test_an_empty_data_set_cannot_be_loaded(ds):
    with pytest.raises(ca.CarinaError, match="found no studies, expected at least one"):
        ds[:0].batches(RECIPE)
    with pytest.raises(ca.CarinaError, match="`batch_size`: found 0"):
        ds.batches(RECIPE, batch_size=0)
