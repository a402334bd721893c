"""Check the ports against reference bundles: every output's error beside its tolerance."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="bundle folders")


def run(args: argparse.Namespace) -> int:
    """Prints a table for each bundle; the exit status is 1 if any output misses its tolerance."""
    from vlp_jax.inference import reference_verbs  # noqa: F401  (so do the verbs)
    from vlp_jax.training import reference_steps  # noqa: F401  (training steps register themselves)
    from vlp_jax.verify import print_verdicts, verify

    return print_verdicts(verify(args.bundles))
