"""Use a trained model from the shell: match, answer, retrieve, reason and more; prints JSON.

vlp-jax predict --model runs/quickstart --image a.png --text "a red apple"  probability of a match
vlp-jax predict --model runs/quickstart --image a.png --question "how many things are there?"
vlp-jax predict --model runs/quickstart --image *.png --query "a dog"       best images first
vlp-jax predict --model uniter_vqa --weights uniter.pt --tokenizer vocab.txt --answers labels.json
                --regions features.tsv:COCO_1 --question "What color is it?"
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from vlp_jax.cli.arguments import (
    add_model,
    add_regions,
    check_store,
    load_model,
    read_regions,
)
from vlp_jax.config.build import coerce
from vlp_jax.config.ranges import Count

_DIGITS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    add = parser.add_argument
    add_regions(parser)
    add("--image", nargs="+", help="image files")
    add(
        "--regions",
        nargs="+",
        metavar="FILE[:KEY]",
        help="region features; with --image and --ground, those of each picture to choose from",
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--text", help="how well does this text describe each picture?")
    task.add_argument("--question", help="a question about each picture")
    task.add_argument("--query", help="which of the pictures fit this text best?")
    task.add_argument("--reason", metavar="TEXT", help="is this true of two pictures together?")
    task.add_argument("--entail", metavar="TEXT", help="does each picture entail this?")
    task.add_argument("--ground", metavar="TEXT", help="which region does this expression mean?")
    task.add_argument("--caption", action="store_true", help="describe each picture")
    add("--choices", nargs="+", help="with --question: which of these answers fits best?")
    add("--top", type=int, default=5, help="how many answers or pictures to print")


def run(args: argparse.Namespace) -> int:
    """Prints one JSON line for each picture (or for each picture found)."""
    _check_used(args)
    _check_pictures(args)
    model = load_model(args)
    for line in _predictions(model, args):
        print(json.dumps(line))
    return 0


def _check_used(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers out of range, and for what would not be read."""
    coerce(args.top, Count, "--top")
    if args.choices and args.question is None:
        raise ValueError("--choices are answers to a --question: give that as well")
    check_store(args)
    others = (args.reason, args.entail, args.ground, args.choices)
    if args.tags is not None and any(asked is not None for asked in others):
        raise ValueError("--tags are for --text, --query, --caption, --question without --choices")


def _check_pictures(args: argparse.Namespace) -> None:
    """Raises ValueError unless there are pictures, or regions; both to ground a text."""
    if not (args.image or args.regions):
        raise ValueError("give pictures: --image, or --regions for a model that reads those")
    if args.image and args.regions:
        if args.ground is None:
            raise ValueError("--image and --regions together are for --ground: give one of them")
        if len(args.image) != len(args.regions):
            counts = f"{len(args.image)} pictures and regions of {len(args.regions)}"
            raise ValueError(f"{counts} are given, expected those of each picture")


def _predictions(model: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields what there is to print; each line names its picture as it was given."""
    kind = "image" if args.image else "regions"
    names = args.image or args.regions
    given = {"images": args.image, "regions": read_regions(args.regions or (), args.store)}
    given = {name: pictures for name, pictures in given.items() if pictures}
    if args.query is not None:
        tags = {} if args.tags is None else {"tags": args.tags}
        (pictures,) = given.values()
        for found in model.retrieve(args.query, pictures, top=args.top, **tags):
            yield {kind: names[found.index], "score": _rounded(found.score)}
    elif args.reason is not None:
        found = model.reason(texts=args.reason, **given)
        shown = {"true": found.true, "probability": _rounded(found.probability)}
        yield {kind: names, "text": args.reason, **shown}
    else:
        predict = _for_each(model, args)
        for name, *shown in zip(names, *given.values()):
            yield {kind: name, **predict(**dict(zip(given, shown)))}


def _for_each(model: Any, args: argparse.Namespace) -> Callable[..., dict[str, Any]]:
    """Returns the function that says what is asked about one picture."""
    if args.text is not None:
        return partial(_match, model, args)
    if args.question is not None:
        return partial(_choose if args.choices else _answer, model, args)
    if args.entail is not None:
        return partial(_entail, model, args)
    return partial(_ground if args.ground is not None else _caption, model, args)


def _match(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    (chance,) = model.match(texts=args.text, tags=args.tags, **shown)
    return {"text": args.text, "match_probability": _rounded(chance)}


def _answer(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    best = model.answer(questions=args.question, top=args.top, tags=args.tags, **shown)
    answers = [{"answer": a.text, "probability": _rounded(a.probability)} for a in best]
    return {"question": args.question, "answers": answers}


def _choose(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    found = model.choose(question=args.question, choices=args.choices, **shown)
    chosen = {"choice": found.text, "probability": _rounded(found.probability)}
    return {"question": args.question, **chosen}


def _entail(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    found = model.entail(texts=args.entail, **shown)
    chances = {name: _rounded(chance) for name, chance in found.probabilities.items()}
    return {"text": args.entail, "label": found.label, "probabilities": chances}


def _ground(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    found = model.ground(texts=args.ground, **shown)
    box = [round(x, 2) for x in found.box]
    chance = _rounded(found.probability)
    return {"text": args.ground, "region": found.region, "box": box, "probability": chance}


def _caption(model: Any, args: argparse.Namespace, **shown: Any) -> dict[str, Any]:
    (found,) = model.caption(tags=args.tags, **shown)
    return {"caption": found.text, "score": _rounded(found.score)}


def _rounded(number: float) -> float:
    return round(float(number), _DIGITS)
