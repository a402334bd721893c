"""Look inside: where a model looks for each word of a text, as a page or a picture.

vlp-jax explain --model runs/quickstart --image a.png --text "a red apple" --out apple.html
vlp-jax explain --model runs/quickstart --image a.png --text "a red apple" --out apple.png
vlp-jax explain --model uniter --weights uniter.pt --tokenizer vocab.txt --regions a.npz
                --image a.jpg --text "a red apple" --method attention --out apple.png
"""

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

from vlp_jax.cli.arguments import (
    add_model,
    add_regions,
    check_store,
    load_model,
    read_regions,
)

_ENDINGS = (".html", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    add_regions(parser)
    add = parser.add_argument
    add("--image", help="an image file; beside --regions it is only what boxes are drawn on")
    add("--regions", metavar="FILE[:KEY]", help="region features, for models that read those")
    add("--text", required=True, help="the words to look for")
    add("--method", default="", help="gradcam, alignment or attention; by default the best")
    add("--layer", type=int, help="of the attention, from 0; the middle one by default")
    add("--out", required=True, help="the page (.html) or picture (.png) to write")


def run(args: argparse.Namespace) -> int:
    """Writes the page or picture, and prints one JSON line."""
    from vlp_jax.data.images import decode
    from vlp_jax.data.paths import path_to_write
    from vlp_jax.data.whole_file import write_whole
    from vlp_jax.report.explanation import explanation_html, explanation_png

    out = path_to_write(args.out, "--out")
    _check(args, out)
    image = None if args.image is None else decode(args.image)
    given = {} if args.regions is None else {"regions": read_regions([args.regions], args.store)}
    model = load_model(args)
    options = dict(tags=args.tags, method=args.method, layer=args.layer)
    found = model.explain(image, args.text, **given, **options)
    draw = explanation_png if out.suffix.lower() == ".png" else explanation_html
    write_whole(out, draw(found, args.text))
    print(json.dumps(_line(found, args)))
    return 0


def _check(args: argparse.Namespace, out: Path) -> None:
    """Raises ValueError for what can be told before anything is read."""
    if out.suffix.lower() not in _ENDINGS:
        raise ValueError(f'--out is "{out}"; expected a name that ends in {" or ".join(_ENDINGS)}')
    if out.is_dir():
        raise ValueError(f'--out is "{out}", which is a folder; expected the name of a file')
    if out.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            'a .png needs matplotlib: pip install "vlp_jax[train]", or give --out a name in .html'
        )
    if not args.text.strip():
        raise ValueError("--text is empty; expected a text with words in it")
    if args.image is None and args.regions is None:
        raise ValueError("give a picture: --image, or --regions for a model that reads those")
    check_store(args)


def _line(found: Any, args: argparse.Namespace) -> dict[str, Any]:
    chance = found.probability
    match = {} if chance is None else {"match_probability": round(chance, 6)}
    return {"text": args.text, "method": found.method, **match, "out": args.out}
