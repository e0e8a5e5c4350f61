"""Small files to start from, one folder a target; all are made, none is of a patient.

Run by ``run``: ``python seeds.py FOLDER``.
"""

import io
import json
import struct
import sys
import tempfile
from pathlib import Path

import carina as ca
import numpy as np
from PIL import Image

SYNTAXES = (
    "explicit",
    "implicit",
    "big_endian",
    "deflated",
    "rle",
    "jpeg_lossless",
    "jpeg_ls",
)


def films(scratch):
    """DICOM in every syntax that we write, and pictures in several kinds."""
    film = ca.phantom(1, size=32, progress=False)
    for syntax in SYNTAXES:
        (path,) = film.write_dicom(scratch / syntax, syntax=syntax, progress=False)
        yield syntax, path.read_bytes()
    grey = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(12, 16))
    for kind in ("png", "jpeg", "tiff"):
        for mode in ("L", "RGB", "I;16" if kind != "jpeg" else "CMYK"):
            file = io.BytesIO()
            base = grey if mode == "I;16" else grey.convert(mode)
            (base.convert("I;16") if mode == "I;16" else base).save(file, kind)
            yield f"{kind}-{mode.replace(';', '')}", file.getvalue()
    for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate"):
        file = io.BytesIO()
        grey.save(file, "tiff", compression=compression)
        yield compression, file.getvalue()


def series(scratch):
    """Slices of a CT, each with its length before it."""
    scan = ca.phantom(1, kind="ct", size=32, slices=8, progress=False)
    for syntax in ("explicit", "rle"):
        paths = scan.write_dicom(scratch / f"ct-{syntax}", syntax=syntax)
        files = [path.read_bytes() for path in paths[:4]]
        yield syntax, b"".join(struct.pack("<I", len(f)) + f for f in files)
        gap = [files[0], files[1], files[3], files[3]]
        yield f"{syntax}-gap", b"".join(struct.pack("<I", len(f)) + f for f in gap)


def volumes(scratch):
    """NIfTI, plain and compressed."""
    voxels = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    for scale, kind in ((1, "int16"), (0.37, "float")):
        volume = ca.Volume.from_array(voxels * scale, spacing=(2, 1, 1))
        for ending in ("nii", "nii.gz"):
            volume.save(scratch / f"v.{ending}")
            yield f"{kind}-{ending}", (scratch / f"v.{ending}").read_bytes()


def manifests(_):
    """Rows with every column."""
    row = {
        "study": "s1",
        "patient": "p1",
        "image": ["a.png", "b.png"],
        "view": ["PA", "LATERAL"],
        "report": "FINDINGS: No edema. IMPRESSION: Normal.",
        "labels": {"edema": 1, "mass": -1, "nodule": None},
        "boxes": [{"finding": "edema", "corners": [1, 2, 30, 40.5]}],
        "masks": [{"finding": "edema", "path": "m.png"}],
        "attributes": [{"finding": "edema", "side": "left", "severity": "mild"}],
        "questions": [{"question": "Edema?", "answer": "yes", "form": "closed"}],
        "split": "train",
        "record.age_years": 61,
    }
    text = json.dumps(row)
    yield "row", text.encode()
    yield "rows", (text + "\n" + text.replace("s1", "s2")).encode()
    yield "csv", b'study,patient,image,edema,view\n1,a,"x, y.png",1,PA\n2,b,z.png,,AP\n'
    yield "quoted", b'study,patient,image,boxes\n1,a,x.png,"[{""finding"":""e""}]"\n'


def checkpoints(_):
    """Headers of safetensors with a tensor of every kind."""
    tensors, at = {}, 0
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "F8_E4M3": 1}
    for kind, size in sizes.items():
        tensors[f"a.{kind}"] = {
            "dtype": kind,
            "shape": [2, 3],
            "data_offsets": [at, at + 6 * size],
        }
        at += 6 * size
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    yield "kinds", struct.pack("<Q", len(header)) + header + bytes(at)
    yield "empty", struct.pack("<Q", 2) + b"{}"


def records(_):
    """What a record of embeddings holds: floats, packed or one by one, and a name."""

    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    floats = struct.pack("<3f", 0.5, -1.0, 2.0)
    name = field(1, field(1, b"film"))
    singly = b"".join(b"\x0d" + floats[at : at + 4] for at in (0, 4, 8))
    for kind, values in (("packed", field(1, floats)), ("singly", singly)):
        features = b"".join(
            field(1, field(1, key) + field(2, value))
            for key, value in ((b"image/id", name), (b"embedding", field(2, values)))
        )
        yield kind, field(1, features)


def tokenizers(_):
    """Word pieces and byte pairs, and a list of words."""
    specials = [
        {"id": i, "content": word, "special": True, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
        for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    ]
    vocabulary = {t["content"]: t["id"] for t in specials} | {"no": 4, "##dule": 5}
    pieces = {
        "version": "1.0",
        "added_tokens": specials,
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "vocab": vocabulary,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    }
    yield "pieces", json.dumps(pieces).encode()
    pairs = {
        **pieces,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\s+"}}
        | {"behavior": "Isolated", "invert": False},
        "decoder": {"type": "ByteFallback"},
        "model": {"type": "BPE", "vocab": {"n": 4, "o": 5, "no": 6}}
        | {"merges": [["n", "o"]]},
    }
    yield "pairs", json.dumps(pairs).encode()
    yield "words", "\n".join(vocabulary).encode()


def settings(scratch):
    """Recipes, specifications, name maps, templates."""
    model = ca.create("elixr", size="tiny", image_size=32)
    folder = model.save(scratch / "model")
    for path in sorted(folder.glob("*.json")):
        if path.stat().st_size < 1 << 16:
            yield path.stem, path.read_bytes()
    yield "recipe", model.recipe.to_json().encode()
    maps = Path(__file__).parents[3] / "src" / "weights" / "maps"
    for path in sorted(maps.glob("*.toml")):
        yield path.stem, path.read_bytes()
    yield (
        "template",
        (
            b"{{ bos_token }}{% for m in messages %}{{ m['role'] | upper }}: "
            b"{{ m.content.strip() }}{% if loop.last %}{{ eos_token }}{% endif %}"
            b"{% endfor %}"
        ),
    )


TARGETS = {
    "film": films,
    "series": series,
    "nifti": volumes,
    "manifest": manifests,
    "checkpoint": checkpoints,
    "tokenizer": tokenizers,
    "records": records,
    "settings": settings,
}


def main(folder):
    for target, make in TARGETS.items():
        place = folder / target
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in make(Path(scratch)):
                (place / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
