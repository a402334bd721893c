"""Reads the command line and runs one verb; user errors are one readable message, not a trace."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

# Each verb is a module here with `add_arguments(parser)`, `run(args) -> int` and a docstring that
# is its help. Verbs are imported when asked for, so that `vlp-jax --help` is quick.
VERBS = (
    "train",
    "evaluate",
    "predict",
    "retrieve",
    "explain",
    "demo",
    "verify",
    "convert",
    "export",
    "data",
    "models",
    "bench",
    "preflight",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `vlp-jax` and returns the exit status: 0, 1 for a user error; `train` has more."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for text in argv:
        if not _is_text(text):
            print(f"vlp-jax: the argument {ascii(text)} is not UTF-8", file=sys.stderr)
            return 1
    logging.basicConfig(level=os.environ.get("VLP_JAX_LOG", "WARNING"), format="%(message)s")
    logging.getLogger("absl").setLevel(logging.ERROR)
    verb = argv[0] if argv and argv[0] in VERBS else None
    parser = build_parser(verb)
    args, rest = parser.parse_known_args(argv)
    overrides = [text for text in rest if text.startswith("--config.")]
    unknown = [text for text in rest if not text.startswith("--config.")]
    if unknown or (overrides and not hasattr(args, "overrides")):
        parser.error(f"unknown arguments: {' '.join(unknown or overrides)}")
    if overrides:
        args.overrides = overrides
    from vlp_jax.config.cpu_compiler import keep_attention_unfused
    from vlp_jax.config.user_cache import keep_compiled_programs  # slow to import

    keep_compiled_programs()  # JAX, which verbs import, reads both once
    keep_attention_unfused()
    try:
        return args.run(args)
    except Exception as error:
        from vlp_jax.config.plugins import user_message  # slow to import

        message = user_message(error)
        if not message:
            raise
        logging.debug("the whole story", exc_info=True)
        print(f"vlp-jax {args.verb}: {message}", file=sys.stderr)
        return 1


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Returns the parser; only `verb`'s own module is imported, all when it is None."""
    parser = argparse.ArgumentParser("vlp-jax", description="Vision-language pre-training in JAX.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        if verb not in (None, name):
            verbs.add_parser(name)
            continue
        module = importlib.import_module(f"vlp_jax.cli.{name}")
        summary = module.__doc__.strip()
        sub = verbs.add_parser(name, help=summary.splitlines()[0], description=summary)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def _is_text(argument: str) -> bool:
    """Says whether an argument was valid UTF-8; other bytes come as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
