"""The command line: each command is a thin call of the package's own functions."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carina.errors import CarinaError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 on success, 1 on an error (one line on standard error), 130 on Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args) or 0
    except CarinaError as error:
        print(f"carina: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("carina: interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carina", description="Foundation models for chest imaging."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    doctor = commands.add_parser("doctor", help="say what works on this machine")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)

    demo = commands.add_parser(
        "demo",
        help="train a small model, search and score with it, and write a page",
        description="Without --data: synthetic films, a few minutes on two cores, no "
        "network. With --data: real films from the folders of the data guide.",
    )
    demo.add_argument("--data", type=Path, help="folder of the real data sets")
    demo.add_argument("--out", type=Path, help="folder for the results")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        help="parts of the real-data run: pneumoniamnist, nih, kermany, tuberculosis",
    )
    demo.set_defaults(run=_demo)

    embed = commands.add_parser("embed", help="encode the films of a manifest")
    embed.add_argument("model", type=Path, help="a model's folder")
    embed.add_argument("manifest", type=Path)
    embed.add_argument("out", type=Path, help="the .npz file to write")
    embed.add_argument("--root", type=Path, help="folder that image paths start from")
    embed.add_argument("--level", default="pooled")
    embed.add_argument("--batch-size", type=int, default=64)
    embed.set_defaults(run=_embed)

    train = commands.add_parser("train", help="train a model on a manifest")
    train.add_argument("manifest", type=Path)
    train.add_argument("out", type=Path, help="the run's folder; a run there goes on")
    train.add_argument("--root", type=Path, help="folder that image paths start from")
    train.add_argument("--findings", nargs="+", help="label columns of the manifest")
    train.add_argument("--model", type=Path, help="a model's folder to start from")
    train.add_argument("--preset", default="elixr-tiny", help="for a new model")
    train.add_argument("--image-size", type=int, default=128, help="for a new model")
    train.add_argument("--stage", default="contrastive")
    train.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="fields of the stage, such as epochs=5 schedule__peak=3e-4",
    )
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)

    score = commands.add_parser(
        "evaluate", help="zero-shot AUROC of a model on a manifest"
    )
    score.add_argument("model", type=Path, help="a model's folder")
    score.add_argument("manifest", type=Path)
    score.add_argument("--root", type=Path, help="folder that image paths start from")
    score.add_argument("--findings", nargs="+", help="label columns of the manifest")
    score.add_argument("--prompts", default="chexpert13")
    score.add_argument("--out", type=Path, help="a JSON file for the result")
    score.set_defaults(run=_evaluate)
    return parser


def _doctor(args: argparse.Namespace) -> None:
    from carina.doctor import doctor

    facts = doctor()
    if args.json:
        print(json.dumps(dict(zip(facts["what"], facts["found"], strict=True))))
    else:
        print(facts)


def _demo(args: argparse.Namespace) -> None:
    if args.data is None:
        from carina.demo import run_phantom

        run_phantom(out=args.out or Path("carina-demo"), seed=args.seed)
        return
    from carina.demo.real import run_real

    run_real(args.data, out=args.out, seed=args.seed, only=args.only)


def _embed(args: argparse.Namespace) -> None:
    import numpy as np

    from carina._files import replace
    from carina.manifest import open_dataset
    from carina.opening import load

    model = load(args.model)
    dataset = open_dataset(args.manifest, root=args.root)
    vectors = model.encode(
        dataset, level=args.level, batch_size=args.batch_size, progress=True
    )
    with replace(args.out) as file:
        np.savez(
            file,
            vectors=vectors,
            study=np.array([study.id for study in dataset]),
            recipe=model.recipe_hash,
            model=model.fingerprint(),
        )
    print(f"{args.out}: {vectors.shape[0]} rows of shape {vectors.shape[1:]}")


def _train(args: argparse.Namespace) -> None:
    from carina.manifest import open_dataset
    from carina.opening import create, load
    from carina.training import train

    dataset = open_dataset(args.manifest, root=args.root, findings=args.findings)
    if args.model is not None:
        model = load(args.model)
    else:
        system, _, size = args.preset.partition("-")
        model = create(system, size=size, image_size=args.image_size, seed=args.seed)
    changes = dict(_assignment(text) for text in args.set)
    run = train(
        model,
        dataset,
        args.stage,
        out=args.out,
        progress=True,
        seed=args.seed,
        **changes,
    )
    print(run)
    print(f"model: {args.out / 'model'}")


def _assignment(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        from carina.errors import InvalidValueError

        msg = f"--set: found {text!r}, expected FIELD=VALUE"
        raise InvalidValueError(msg)
    try:
        return field, json.loads(value)
    except json.JSONDecodeError:
        return field, value


def _evaluate(args: argparse.Namespace) -> None:
    from carina.evaluation import evaluate
    from carina.manifest import open_dataset
    from carina.opening import load

    dataset = open_dataset(args.manifest, root=args.root, findings=args.findings)
    result = evaluate(load(args.model), dataset, "zero_shot", prompts=args.prompts)
    print(result)
    if args.out is not None:
        result.to_json(args.out)
