"""Verifies bundles: runs the port on each and judges every output."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from vlp_jax.config import Registry
from vlp_jax.verify.bundle import Bundle, read_bundle
from vlp_jax.verify.compare import Row, compare

# "<model>/<task>" -> function from a bundle to its outputs by name (arrays, or masked `Tokens`).
RUNNERS = Registry("kind of bundle")
Runner = Callable[[Bundle], Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """What came out of one bundle: rows, or the `problem` that kept it from running."""

    path: Path
    kind: str = ""
    rows: tuple[Row, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it ran and every output is within its tolerance."""
        return bool(self.rows) and not self.problem and all(row.passed for row in self.rows)

    @property
    def worst(self) -> Row | None:
        """The output that uses most of its tolerance."""
        used = lambda row: (not row.passed, row.error / row.tolerance if row.tolerance else 0.0)
        return max(self.rows, key=used, default=None)


def verify(paths: Iterable[str | Path]) -> list[Verdict]:
    """Returns one verdict for each bundle folder; a bundle that cannot run does not stop others."""
    return [_verify_one(Path(path)) for path in paths]


def verify_bundle(bundle: Bundle) -> tuple[Row, ...]:
    """Returns one row for each expected output of a bundle.

    Raises ValueError for an unknown model or task and for a checkpoint that does not fit.
    """
    run = RUNNERS.get_known(bundle.kind, str(bundle.path))
    with jax.default_matmul_precision("highest"):
        return tuple(compare(bundle, run(bundle)))


def _verify_one(path: Path) -> Verdict:
    started = time.perf_counter()
    try:
        bundle = read_bundle(path)
        rows = verify_bundle(bundle)
    except (ValueError, OSError) as error:
        return Verdict(path, problem=str(error))
    except Exception as error:  # a bundle of the user's making can be wrong in any way
        return Verdict(path, problem=f"cannot run: {type(error).__name__}: {error}")
    return Verdict(path, bundle.kind, rows, seconds=time.perf_counter() - started)
