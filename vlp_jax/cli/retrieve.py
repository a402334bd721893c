"""Find pictures of a folder by a text; each picture is encoded once. Prints JSON.

vlp-jax retrieve --model runs/quickstart --images photos --query "a red apple"
vlp-jax retrieve --model albef_retrieval --weights mscoco.pth --images photos --query "a dog"
                 --query "a cat on a sofa" --index photos.index

The vectors of the pictures are kept in DIR/.vlp_jax_index.safetensors, or where --index says, so
that the next call reads only pictures that are new or changed, and the best that it re-ranks.
"""

import argparse
import json
from typing import Any

from vlp_jax.cli.arguments import add_model, load_model
from vlp_jax.cli.indexing import say, update_index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    add = parser.add_argument
    add("--images", required=True, metavar="DIR", help="folder of pictures, searched at any depth")
    add("--query", required=True, action="append", help="a text; may be given several times")
    add("--index", metavar="FILE", help="where the vectors are kept (by default in the folder)")
    add("--top", type=int, default=5, help="how many pictures to print for each text")
    add("--rerank", type=int, default=16, help="how many the matching head scores; 0 for none")


def run(args: argparse.Namespace) -> int:
    """Prints one JSON line for each picture found; what it does, and what that costs, to stderr."""
    from vlp_jax.config.build import coerce
    from vlp_jax.config.ranges import Count, Natural
    from vlp_jax.inference import ImageIndex

    coerce(args.top, Count, "--top")
    coerce(args.rerank, Natural, "--rerank")
    model = load_model(args)
    index = ImageIndex(model, args.images, args.index)
    model.encode_text(args.query)  # a text without words is an error before any picture is read
    update_index(index)
    if index.reranks and args.rerank and len(index):
        say(_cost(index, len(args.query), args.rerank))
    for query in args.query:
        for found in index.search(query, args.top, args.rerank):
            line = {"query": query, "image": str(found.path), "score": round(found.score, 6)}
            print(json.dumps(line))
    return 0


def _cost(index: Any, queries: int, rerank: int) -> str:
    """Says how long re-ranking is going to take: a pair about as long as encoding a picture."""
    pairs = queries * min(rerank, len(index))
    seconds = f"{pairs * index.seconds:.2g} s once compiled"
    return f"re-ranking {pairs:,} pairs, about {seconds} (none: --rerank 0)"
