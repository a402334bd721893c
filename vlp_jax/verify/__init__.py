"""Verification against reference bundles: the original's numbers, or a table of differences."""

from vlp_jax.verify import (  # noqa: F401  (they register their runners)
    albef,
    albef_tasks,
    detector_frcnn,
    detector_vinvl,
    losses_albef,
    losses_region_models,
    lxmert,
    metrics,
    oscar,
    uniter,
    vilbert,
    visualbert,
)
from vlp_jax.verify.bundle import Bundle, read_bundle
from vlp_jax.verify.compare import Row, compare
from vlp_jax.verify.runner import RUNNERS, Verdict, verify, verify_bundle
from vlp_jax.verify.table import print_verdicts

__all__ = [
    "RUNNERS",
    "Bundle",
    "Row",
    "Verdict",
    "compare",
    "print_verdicts",
    "read_bundle",
    "verify",
    "verify_bundle",
]
