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

from vlp_jax.cli.indexing import say, update_index


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--model", required=True, help="a run's workdir, a Hugging Face directory, or a preset")
    add("--weights", help="the file with a preset's weights")
    add("--tokenizer", help="vocab.txt or tokenizer directory that the weights were trained with")
    add("--images", required=True, metavar="DIR", help="folder of pictures, searched at any depth")
    add("--query", required=True, action="append", help="a text; may be given several times")
    add("--index", metavar="FILE", help="where the vectors are kept (by default in the folder)")
    add("--top", type=int, default=5, help="how many pictures to print for each text")
    add("--rerank", type=int, default=16, help="how many the matching head scores; 0 for none")


def run(args: argparse.Namespace) -> int:
    """Prints one JSON line for each picture found; what it does, and what that costs, to stderr."""
    from vlp_jax.inference import ImageIndex, load

    for name, least in (("top", 1), ("rerank", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} is {getattr(args, name)}; expected at least {least}")
    model = load(args.model, args.weights, tokenizer=args.tokenizer)
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
    return f"re-ranking {pairs:,} pairs, about {pairs * index.seconds:.2g} s (none: --rerank 0)"
