"""Use a trained model from the shell: match, answer, retrieve or encode; prints JSON.

vlp-jax predict --model runs/quickstart --image a.png --text "a red apple"  probability of a match
vlp-jax predict --model runs/quickstart --image a.png --question "how many things are there?"
vlp-jax predict --model runs/quickstart --image *.png --query "a dog"       best images first
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", required=True, help="a run's workdir")
    parser.add_argument("--image", nargs="+", required=True, help="image files")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--text", help="how well does this text describe each image?")
    task.add_argument("--question", help="a question about each image")
    task.add_argument("--query", help="which of the images fit this text best?")
    parser.add_argument("--top", type=int, default=5, help="how many answers or images to print")


def run(args: argparse.Namespace) -> int:
    """Prints one JSON line for each image (or for each image found)."""
    from vlp_jax.inference import load

    model = load(args.model)
    for line in _predictions(model, args):
        print(json.dumps(line))
    return 0


def _predictions(model, args: argparse.Namespace):
    if args.text is not None:
        for path, value in zip(args.image, model.match(args.image, args.text)):
            yield {"image": path, "text": args.text, "match_probability": round(float(value), 6)}
    elif args.question is not None:
        for path in args.image:
            best = model.answer(path, args.question, top=args.top)
            answers = [{"answer": a.text, "probability": round(a.probability, 6)} for a in best]
            yield {"image": path, "question": args.question, "answers": answers}
    else:
        for found in model.retrieve(args.query, args.image, top=args.top):
            yield {"image": args.image[found.index], "score": round(found.score, 6)}
