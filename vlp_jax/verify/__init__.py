"""Verification against reference bundles: the original's numbers, or a table that says where not."""

from vlp_jax.verify import albef  # it registers its runners
from vlp_jax.verify.bundle import Bundle, read_bundle
from vlp_jax.verify.compare import Row, compare
from vlp_jax.verify.runner import RUNNERS, Verdict, verify, verify_bundle
from vlp_jax.verify.table import print_verdicts

__all__ = [
    "RUNNERS",
    "Bundle",
    "Row",
    "Verdict",
    "albef",
    "compare",
    "print_verdicts",
    "read_bundle",
    "verify",
    "verify_bundle",
]
