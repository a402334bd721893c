"""The port gives the original's numbers: every reference bundle in tests/goldens."""

from pathlib import Path

import pytest

import vlp_jax.training.reference_steps  # noqa: F401  (registers a runner)
from vlp_jax.verify import RUNNERS, read_bundle, verify_bundle

GOLDENS = Path(__file__).parents[1] / "goldens"
BUNDLES = sorted(path.name for path in GOLDENS.iterdir() if path.is_dir())


@pytest.mark.drawn(5)
@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLES)
def test_every_output_is_within_its_tolerance(name):
    bundle = read_bundle(GOLDENS / name)
    failed = [row for row in verify_bundle(bundle) if not row.passed]
    assert not failed


def test_every_bundle_has_a_runner():
    assert BUNDLES
    assert {read_bundle(GOLDENS / name).kind for name in BUNDLES} <= set(RUNNERS)


def test_the_bundles_together_stay_small():
    assert sum(path.stat().st_size for path in GOLDENS.rglob("*")) < 20e6
