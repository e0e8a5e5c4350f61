"""Time reading of DICOM films: carina beside pydicom with its usual plugins.

The same real films in every lossless syntax. Each reader is a process of its own, for
each number of threads; they take turns. ``decode`` is one file to its stored values.
``film`` is a batch of files, of all syntaxes, to tensors of 224 x 224 (modality and VOI
LUTs, MONOCHROME1, antialiased resize), a file a thread. A ratio is pydicom's median
over carina's: above one, carina is faster. Memory is how far the process's peak grows.
Stored values must agree exactly, and tensors within 0.02.

Needs pydicom, pylibjpeg, pylibjpeg-openjpeg, pyjpegls, python-gdcm and Pillow. Run with
the folder of the DICOM corpus::

    python tests/compare/decode.py ../shared/data/dicom [--rounds 9] [--json PATH]
        [--only PART]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 224
BATCH = 3
#: Files of the corpus under JPEG lossless, from 0.5 to 4.5 million pixels.
FILMS = {
    "ct 512": "dicom-test-files/WG04/JPLL/CT1_JPLL",
    "angiogram 1024": "dicom-test-files/WG04/JPLL/XA1_JPLL",
    "film 1760": "dicom-test-files/WG04/JPLL/RG3_JPLL",
    "film 2128": "pylibjpeg-data/ds/JPEG2000Lossless/966_fixed.dcm",
}


def decode_carina(path: str) -> np.ndarray:
    """Return stored values."""
    import carina as ca

    return ca.decode(path)


def decode_pydicom(path: str) -> np.ndarray:
    """Return stored values."""
    import pydicom

    return pydicom.dcmread(path).pixel_array


def film_carina(path: str) -> np.ndarray:
    """Return a tensor that a model takes."""
    import carina as ca

    pixels, _ = ca.Recipe.film(SIZE).apply(ca.read(path))
    return pixels[0]


def film_pydicom(path: str) -> np.ndarray:
    """Return the same by pydicom, numpy and Pillow."""
    import pydicom
    from PIL import Image
    from pydicom.pixels import apply_modality_lut, apply_windowing

    data = pydicom.dcmread(path)
    stored = data.pixel_array
    values = apply_modality_lut(stored, data)
    values = apply_windowing(values, data)
    low, high = 0.0, 2.0**data.BitsStored - 1
    values = (np.clip(values, low, high).astype(np.float32) - low) / (high - low)
    if data.PhotometricInterpretation == "MONOCHROME1":
        values = 1 - values
    side = max(values.shape)
    top, left = ((side - n) // 2 for n in values.shape)
    square = np.zeros((side, side), np.float32)
    square[top : top + values.shape[0], left : left + values.shape[1]] = values
    small = Image.fromarray(square).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small)


READERS = {
    "carina": {"decode": decode_carina, "film": film_carina},
    "pydicom": {"decode": decode_pydicom, "film": film_pydicom},
}


def memory() -> float:
    """Return the most memory this process ever held, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) / 1024 for x in status if x.startswith("VmHWM"))


def work(reader: str, threads: int) -> None:
    """Do what each line of standard input asks for and say how long it took."""
    if reader == "carina":
        import carina as ca

        ca.set_num_threads(threads)
    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            asked = json.loads(line)
            act = READERS[reader][asked["act"]]
            Path("/proc/self/clear_refs").write_text("5")
            before, start = memory(), time.perf_counter()
            found = list(pool.map(act, asked["paths"]))
            seconds = time.perf_counter() - start
            grown = memory() - before
            if asked.get("out"):
                np.save(asked["out"], np.stack(found))
            print(json.dumps({"seconds": seconds, "mib": grown}), flush=True)


class Worker:
    """A reader in a process of its own."""

    def __init__(self, reader: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--work", reader, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, act: str, paths: list[str], out: str | None = None) -> dict[str, Any]:
        """Read files once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = json.dumps({"act": act, "paths": paths, "out": out})
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def transcode(corpus: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Write the films in every lossless syntax: files by syntax and film."""
    import pydicom
    from pydicom import uid

    syntaxes = {
        "uncompressed": uid.ExplicitVRLittleEndian,
        "deflated": uid.DeflatedExplicitVRLittleEndian,
        "RLE": uid.RLELossless,
        "JPEG-LS": uid.JPEGLSLossless,
        "JPEG 2000": uid.JPEG2000Lossless,
    }
    files: dict[str, dict[str, str]] = {name: {} for name in syntaxes}
    files["JPEG lossless"] = {}
    for film, name in FILMS.items():
        path = corpus / name
        if "JPLL" in name:
            files["JPEG lossless"][film] = str(path)
        for syntax, value in syntaxes.items():
            data = pydicom.dcmread(path)
            data.decompress()
            if value.is_encapsulated:
                data.compress(value, generate_instance_uid=False)
            else:
                data.file_meta.TransferSyntaxUID = value
            target = folder / f"{film} {syntax}.dcm".replace(" ", "_")
            data.save_as(target)
            files[syntax][film] = str(target)
    return files


def turns(
    workers: dict[str, Worker], act: str, paths: list[str], rounds: int
) -> dict[str, Any]:
    """Let the readers take turns: medians, ratio and its spread, memory."""
    for worker in workers.values():
        worker.ask(act, paths)
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    mib: dict[str, float] = dict.fromkeys(workers, 0.0)
    for turn in range(rounds):
        order = list(workers) if turn % 2 == 0 else list(workers)[::-1]
        for name in order:
            answer = workers[name].ask(act, paths)
            seconds[name].append(answer["seconds"])
            mib[name] = max(mib[name], answer["mib"])
    each = [p / c for p, c in zip(seconds["pydicom"], seconds["carina"], strict=True)]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "ratio": medians["pydicom"] / medians["carina"],
        "spread": [min(each), max(each)],
        **{f"{name}_ms": 1e3 * value for name, value in medians.items()},
        **{f"{name}_mib": value for name, value in mib.items()},
    }


def apart(workers: dict[str, Worker], act: str, path: str, folder: Path) -> float:
    """Return how far the two readers' results of a file lie apart."""
    for name, worker in workers.items():
        worker.ask(act, [path], str(folder / f"{name}.npy"))
    ours, theirs = (
        np.load(folder / f"{name}.npy").astype(np.float64) for name in workers
    )
    return float(np.abs(ours - theirs).max())


def compare(corpus: Path, rounds: int, only: str) -> list[dict[str, Any]]:
    """Run the rows whose name has `only` in it, and print each."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = transcode(corpus, folder)
        for threads in (1, 2):
            workers = {reader: Worker(reader, threads) for reader in READERS}
            jobs = [
                ("decode", f"{syntax}, {film}", [path])
                for syntax, films in files.items()
                for film, path in films.items()
                if threads == 1
            ]
            batch = [path for films in files.values() for path in films.values()]
            films = [path for path in batch if "ct_" not in path and "CT1" not in path]
            jobs.append(("film", f"batch of {BATCH * len(films)}", films * BATCH))
            for act, what, paths in jobs:
                if only not in f"{act} {what} {threads}":
                    continue
                limit = 0.0 if act == "decode" else 0.02
                for path in set(paths):
                    if (difference := apart(workers, act, path, folder)) > limit:
                        raise SystemExit(f"{act} {path}: {difference} apart")
                row = {"act": act, "what": what, "threads": threads}
                row |= turns(workers, act, paths, rounds)
                print(
                    f"{act:7} {what:32} {threads} threads: pydicom "
                    f"{row['pydicom_ms']:8.1f} ms, carina {row['carina_ms']:8.1f} ms, "
                    f"ratio {row['ratio']:5.2f} "
                    f"[{row['spread'][0]:.2f}, {row['spread'][1]:.2f}]; "
                    f"{row['pydicom_mib']:.0f} and {row['carina_mib']:.0f} MiB",
                    flush=True,
                )
                rows.append(row)
            for worker in workers.values():
                worker.close()
    return rows


def main() -> None:
    """Print a table; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="part of a row's name")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work[0], int(asked.work[1]))
        return
    if asked.corpus is None:
        parser.error("the folder of the DICOM corpus is missing")
    rows = compare(asked.corpus, asked.rounds, asked.only)
    if asked.json is not None:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
