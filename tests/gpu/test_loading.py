"""How a build with CUDA finds the libraries, and what it says when it does not.

A driver written in C for the purpose stands in for NVIDIA's, so no GPU is needed.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYMBOLS = HERE.parents[1] / "src" / "cuda" / "symbols.txt"


def python(code, folder=None, **environment):
    """Run ``code`` with the libraries of ``folder`` in sight; give what it printed."""
    env = {**os.environ, **environment}
    env["LD_LIBRARY_PATH"] = str(folder) if folder else ""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def line(name, folder=None, **environment):
    """Give one line of what the doctor finds."""
    code = f"""
import carina as ca
facts = ca.doctor()
print(dict(zip(facts["what"], facts["found"])).get({name!r}))
"""
    return python(code, folder, **environment)


def opening(device, folder=None, **environment):
    """Give the error of opening ``device``."""
    code = f"""
import carina as ca
try:
    ca.create("elixr", device={device!r})
except ca.CarinaError as error:
    print(type(error).__name__, error)
"""
    return python(code, folder, **environment)


@pytest.fixture(scope="module", autouse=True)
def _built_with_cuda():
    if "CPU only" in line("cuda"):
        pytest.skip("this build of carina has no CUDA; .ci/cuda makes one")


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler for the stand-in driver")
    return found


def stubs(pattern, *, answer, written=()):
    """Write C functions that only answer, for the symbols that fit."""
    named = [s for s in SYMBOLS.read_text().split() if re.match(pattern, s)]
    left = [s for s in named if s not in written]
    return "\n".join(f"int {s}(void) {{ return {answer}; }}" for s in left)


def library(compiler, path, source):
    code = path.with_suffix(".c")
    code.write_text(source)
    command = [compiler, "-shared", "-fPIC", "-o", str(path), str(code)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def driver(compiler, tmp_path_factory):
    """Give a folder with a driver and nothing else."""
    folder = tmp_path_factory.mktemp("driver")
    source = (HERE / "fake_driver.c").read_text()
    written = set(re.findall(r"\bint (cu\w+)\(", source))
    named = [name for name in SYMBOLS.read_text().split() if re.match(r"cu[A-Z]", name)]
    rest = [
        f"int {name}(void) {{ return 100; }}" for name in named if name not in written
    ]
    library(compiler, folder / "libcuda.so.1", source + "\n".join(rest))
    return folder


@pytest.fixture(scope="module")
def whole(compiler, driver, tmp_path_factory):
    """Give a folder with a driver and the libraries beside it."""
    return beside(compiler, driver, tmp_path_factory.mktemp("whole"), answer=1)


def beside(compiler, driver, folder, *, answer):
    """Put the driver there, and libraries whose functions only answer."""
    shutil.copy(driver / "libcuda.so.1", folder)
    library(compiler, folder / "libcublas.so.13", stubs("cublas", answer=answer))
    library(compiler, folder / "libcurand.so.10", stubs("curand", answer=answer))
    return folder


def test_importing_and_computing_on_the_cpu_loads_nothing_of_cuda(whole):
    code = """
import carina as ca
from pathlib import Path
model = ca.create("elixr", device="cpu")
maps = Path("/proc/self/maps").read_text()
names = ("libcuda.so", "libcublas", "libcurand", "libnccl")
print([name for name in names if name in maps])
"""
    assert python(code, whole) == "[]"


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a driver")
def test_without_a_driver_auto_takes_the_cpu_and_cuda_says_why():
    code = "import carina as ca; print(ca.create('elixr', device='auto').device)"
    assert python(code) == "cpu"
    for device in ("cuda", "cuda:3"):
        error = opening(device)
        assert error.startswith(
            f'DeviceError device "{device}": libcuda.so.1 was not found'
        )
        assert "the NVIDIA driver brings it" in error
        assert 'expected "cpu" or "auto"' in error
    assert line("cuda").startswith("no: libcuda.so.1 was not found")


def test_a_driver_that_is_too_old_is_told_with_both_versions(driver):
    why = "the NVIDIA driver is too old: it serves CUDA 12.4, expected 13.0 or later"
    assert line("cuda", driver, FAKE_CUDA="12040") == f"no: {why}"
    assert line("cuda driver", driver, FAKE_CUDA="12040") == "12.4"
    assert why in opening("cuda", driver, FAKE_CUDA="12040")
    code = "import carina as ca; print(ca.create('elixr', device='auto').device)"
    assert python(code, driver, FAKE_CUDA="12040") == "cpu"


def test_a_missing_library_is_named_with_the_package_that_brings_it(driver):
    try:
        import nvidia  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("pip's NVIDIA packages are installed here")
    found = line("cuda", driver)
    assert found.startswith("no: libcublas.so.13 was not found")
    assert 'pip install "nvidia-cublas>=13,<14"' in found


def test_the_folders_of_pips_packages_come_before_the_systems(whole, driver, tmp_path):
    package = tmp_path / "nvidia" / "cu13" / "lib"
    package.mkdir(parents=True)
    for name in ("libcublas.so.13", "libcurand.so.10"):
        shutil.copy(whole / name, package)
    code = """
import carina as ca
from pathlib import Path
ca.doctor()
maps = Path("/proc/self/maps").read_text().split()
print(*sorted({path for path in maps if "libcublas" in path or "libcurand" in path}))
"""
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    found = python(code, whole, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    assert found == f"{package}/libcublas.so.13 {package}/libcurand.so.10"


def test_the_doctor_describes_the_gpu(whole):
    assert line("cuda", whole, FAKE_CAPABILITY="90") == "yes"
    described = line("cuda:0", whole, FAKE_CAPABILITY="90")
    assert described == "Fake GPU, 80.0 GiB, capability 9.0"
    assert line("cuda driver", whole) == "13.0"
    assert line("cuda runtime", whole) == "13.0"


def test_a_gpu_that_the_kernels_do_not_run_on_is_refused(whole):
    error = opening("cuda", whole, FAKE_CAPABILITY="75")
    assert "Fake GPU has compute capability 7.5; this build needs" in error


def test_a_gpu_that_is_not_there_is_told_with_those_that_are(whole):
    error = opening("cuda:1", whole, FAKE_CAPABILITY="90")
    assert 'the driver shows one GPU, "cuda:0"' in error


def test_batches_go_through_locked_memory_that_is_not_overwritten(
    compiler, driver, run_program, tmp_path
):
    libraries = beside(compiler, driver, tmp_path, answer=0)
    run = run_program(
        "copies",
        "cuda",
        LD_LIBRARY_PATH=str(libraries),
        FAKE_CAPABILITY=os.environ.get("CUDA_COMPUTE_CAP", "80"),
        FAKE_MEMORY="1",
    )
    # One place serves all batches, of which the last is the smallest: 4 films of 3 × 5.
    assert run.stderr.count("locked") == 1
    assert "locked 240 bytes" in run.stderr
