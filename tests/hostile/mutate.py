"""Damage real DICOM files at random and read them: an error with a name, or pixels.

Run with the folder of the corpus, a seed, how many files to make and a folder to put
them in, one after the other under one name. Two seconds of work, an abort, a panic that
reached Python or memory beyond what the damaged header allows ends the process with the
file left behind::

    python tests/hostile/mutate.py ../shared/data/dicom 0 20000 /tmp
"""

import argparse
import csv
import random
import resource
import struct
import sys
import time
from pathlib import Path

import carina as ca

#: Seconds of work on one file, and address space beyond what the process starts with.
SECONDS = 2.0
SPACE = 2 << 30
#: Larger files take longer to write than to read.
LARGEST = 150_000
TELLING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]


def sources(corpus: Path) -> list[bytes]:
    """Return small files with pixels, of every syntax."""
    with (corpus / "index.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["decode"] and r["pixels"] == "1.0"]
    paths = sorted({corpus / row["file"] for row in rows})
    return [p.read_bytes() for p in paths if p.stat().st_size <= LARGEST]


def places(whole: bytes, rng: random.Random) -> int:
    """Return somewhere in the file: mostly its header, which lies before the pixels."""
    pixels = whole.rfind(b"\xe0\x7f\x10\x00")
    head = pixels + 12 if pixels > 0 and rng.random() < 0.7 else len(whole)
    return rng.randrange(min(head, len(whole)))


def damage(whole: bytes, rng: random.Random) -> bytes:
    """Return the file with a few random faults."""
    spoilt = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not spoilt:
            break
        at = places(bytes(spoilt), rng)
        kind = rng.randrange(7)
        if kind == 0:
            spoilt[at] = rng.randrange(256)
        elif kind == 1:
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            width = rng.choice([1, 2, 4])
            value = rng.choice(TELLING) & ((1 << 8 * width) - 1)
            spoilt[at : at + width] = value.to_bytes(
                width, rng.choice(["little", "big"])
            )
        elif kind == 3:
            del spoilt[at:]
        elif kind == 4:
            del spoilt[at : at + rng.choice([1, 2, 8, 64, 1024])]
        elif kind == 5:
            piece = spoilt[at : at + rng.choice([2, 8, 64, 1024])]
            spoilt[at:at] = piece * rng.choice([1, 1, 3])
        else:
            size = struct.pack(
                "<HH", rng.choice(TELLING) & 0xFFFF, rng.randrange(65536)
            )
            for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
                if (found := spoilt.find(tag)) >= 0:
                    spoilt[found + 8 : found + 10] = size[:2]
    return bytes(spoilt)


def main() -> None:
    """Read damaged files and print how many gave what."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    wholes = sources(asked.corpus)
    rng = random.Random(asked.seed)
    path = asked.folder / f"damaged-{asked.seed}.dcm"
    ca.read(asked.corpus / "pydicom-wheel" / "CT_small.dcm")  # threads start
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes = {"pixels": 0, "errors": 0}
    for number in range(asked.count):
        path.write_bytes(damage(wholes[number % len(wholes)], rng))
        for act in (ca.read, ca.decode):
            start = time.process_time()
            try:
                act(path)
                outcomes["pixels"] += 1
            except ca.CarinaError as error:
                outcomes["errors"] += 1
                if "internal error" in str(error):
                    sys.exit(f"{path}: {error}")
            if (seconds := time.process_time() - start) > SECONDS:
                sys.exit(f"{path}: {act.__name__} took {seconds:.1f} s")
    path.unlink()
    print(f"{asked.count} files damaged from {len(wholes)}: {outcomes}")


if __name__ == "__main__":
    main()
