"""Compare decoders in bfloat16 and in eight bits with float32: perplexity of reports.

A small LLaMA learns the reports of synthetic films in PyTorch, starting from a folder
that carina wrote; carina then opens what transformers saved and scores reports of
patients that it has not seen, in each precision. Beside it stand PyTorch's own
perplexity of the same weights and that of the tokens' frequencies, the trivial model.
Intervals are 95 % over patients; those of the excess over float32 are paired.

Usage: ``python tests/compare/perplexity.py [--studies 1500] [--json PATH]``
Needs torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import carina as ca
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

RESULTS = Path(__file__).parent / "results" / "perplexity.json"
SIZES = {"dim": 256, "depth": 4, "heads": 4, "kv_heads": 2, "mlp_dim": 704}
STEPS, BATCH, PEAK, SEED = 150, 32, 2e-3, 0
Doubles = NDArray[np.float64]


def read(folder: Path, reports: list[str]) -> list[list[int]]:
    """Cut reports into tokens as the decoder reads them: without what ends a text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [encoded.ids[:-1] for encoded in tokenizer.encode_batch(reports)]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Put rows side by side: ids, and targets that are -100 on padding."""
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    targets = torch.full((len(rows), length), -100)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = targets[i, : len(row)] = torch.tensor(row)
    return ids, targets


def learn(folder: Path, rows: list[list[int]]) -> Any:
    """Train what lies in the folder on rows of tokens, and save it there."""
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=STEPS)
    draw = np.random.default_rng(SEED)
    for _ in range(STEPS):
        chosen = draw.choice(len(rows), BATCH, replace=False)
        ids, targets = padded([rows[i] for i in chosen])
        loss = model(input_ids=ids, labels=targets).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    model.save_pretrained(folder, safe_serialization=True)
    return model.eval()


def by_torch(model: Any, rows: list[list[int]]) -> Doubles:
    """Sum the log-probabilities of each row after its first token, by PyTorch."""
    sums = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row])
            all_ = model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            sums.append(float(all_.gather(1, ids[0, 1:, None]).sum()))
    return np.array(sums)


def by_frequency(rows: list[list[int]], learned: list[list[int]]) -> Doubles:
    """Sum log-probabilities by how often each token came, with one added to each."""
    counts = Counter(token for row in learned for token in row[1:])
    total = sum(counts.values()) + len(counts) + 1
    logs = {token: math.log((count + 1) / total) for token, count in counts.items()}
    rare = math.log(1 / total)
    return np.array([sum(logs.get(token, rare) for token in row[1:]) for row in rows])


def perplexity(sums: Doubles, tokens: Doubles, rows: NDArray[np.int64]) -> float:
    """Perplexity of the chosen rows together."""
    return float(np.exp(-sums[rows].sum() / tokens[rows].sum()))


def interval(measure: Any, patients: NDArray[Any]) -> list[float]:
    """Value and 95 % interval of a measure of rows, over patients."""
    draw = np.random.default_rng(SEED)
    names, place = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(place == i) for i in range(len(names))]
    drawn = (draw.integers(len(rows), size=len(rows)) for _ in range(1000))
    values = [measure(np.concatenate([rows[i] for i in some])) for some in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    every = np.arange(len(patients))
    return [round(float(x), 6) for x in (measure(every), low, high)]


def main() -> None:
    """Train, score, print a table, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1500)
    parser.add_argument("--json", type=Path, help=f"where to write, such as {RESULTS}")
    arguments = parser.parse_args()
    torch.set_num_threads(ca.num_threads())
    films = ca.phantom(arguments.studies, seed=SEED, progress=False)
    train, test = films.split((0.8, 0.2), seed=SEED)
    words = [part.reports for part in (train, test)]
    patients = test.patients
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ca.create_decoder("1m", seed=SEED, device="cpu", **SIZES).save(folder)
        learned, held_out = (read(folder, reports) for reports in words)
        started = time.perf_counter()
        model = learn(folder, learned)
        print(f"{STEPS} steps of {BATCH} in {time.perf_counter() - started:.0f} s")
        sums = {
            "token frequencies": by_frequency(held_out, learned),
            "PyTorch float32": by_torch(model, held_out),
        }
        tokens = np.array([len(row) - 1 for row in held_out], float)
        for precision in ("f32", "bf16", "q8_0"):
            decoder = ca.load_decoder(folder, precision=precision, device="cpu")
            table = decoder.score(words[1], progress=False)
            assert np.array_equal(table["tokens"], tokens), "read as in training"
            sums[precision] = np.asarray(table["log_probability"]) * tokens
    found = []
    print(f"{'':20}{'perplexity':>32}{'excess over f32, %':>32}")
    for name, own in sums.items():

        def excess(rows: NDArray[np.int64], own: Doubles = own) -> float:
            f32 = perplexity(sums["f32"], tokens, rows)
            return 100 * (perplexity(own, tokens, rows) / f32 - 1)

        value = interval(lambda rows, own=own: perplexity(own, tokens, rows), patients)
        more = interval(excess, patients)
        found.append({"decoder": name, "perplexity": value, "excess_percent": more})
        print(f"{name:20}{value!s:>32}{more!s:>32}")
    result = {
        "studies": arguments.studies,
        "reports": len(tokens),
        "tokens": int(tokens.sum()),
        "parameters": decoder.parameters,
        "steps": STEPS,
        "seed": SEED,
        "rows": found,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
