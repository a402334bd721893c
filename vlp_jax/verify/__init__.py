"""Verification against reference bundles: the original's numbers, or a table that says where not."""

from vlp_jax.verify import albef, albef_tasks  # it registers its runners
from vlp_jax.verify import lxmert
from vlp_jax.verify import uniter  # noqa: F401
from vlp_jax.verify import oscar  # noqa: F401
from vlp_jax.verify import visualbert  # noqa: F401
from vlp_jax.verify import vilbert  # noqa: F401
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
    "albef_tasks",
    "compare",
    "lxmert",
    "print_verdicts",
    "read_bundle",
    "verify",
    "verify_bundle",
]
