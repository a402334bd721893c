"""Settings of all tests: eight simulated devices, a compilation cache, quick examples."""

import collections
import getpass
import importlib.metadata
import importlib.util
import os
import secrets
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(tempfile.gettempdir()) / f"vlp_jax_test_cache_{getpass.getuser()}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

if importlib.metadata.version("jaxlib").startswith("0.10."):  # other versions may lack a flag
    # Tests compile much and compute little: a train step compiles four times as fast like this.
    QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    os.environ.setdefault("XLA_FLAGS", QUICK)

# Workers inherit it; `TEST_SEED=… bash launch/test.sh` draws the same again.
SEED = int(os.environ.setdefault("TEST_SEED", str(secrets.randbelow(2**31))))

import jax  # noqa: E402  (reads the variables above when it is first imported)
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from tests.fake_gcs import FakeCloudStorage, environment, serve  # noqa: E402

# A pytest plug-in may have imported JAX before the variables were set.
jax.config.update("jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"]))

# Grain's worker processes read absl flags, which only absl's own main function parses.
flags.FLAGS.mark_as_parsed()

# The first example of a property includes a compilation, so a deadline would fail at random.
settings.register_profile(
    "vlp_jax",
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("vlp_jax")


# Off, as in `TEST_ALL=1`, every case of a test that is marked as drawn runs.
DRAWS = os.environ.get("TEST_ALL", "") in ("", "0")


def pytest_report_header() -> str:
    """Says with what seed random tests draw."""
    return f"seed: TEST_SEED={SEED}" + ("" if DRAWS else ", every case")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves of each test marked `drawn(n)` every nth case, drawn by the seed; one at least."""
    cases = collections.defaultdict(list)
    for item in items:
        if DRAWS and item.get_closest_marker("drawn") and not _is_named(item, config.args):
            cases[item.nodeid.split("[")[0]].append(item)
    left_out = set()
    for those in cases.values():
        one_in = those[0].get_closest_marker("drawn").args[0]
        those.sort(key=lambda item: zlib.crc32(f"{SEED} {item.nodeid}".encode()))
        left_out.update(those[-(-len(those) // one_in) :])
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _is_named(item: pytest.Item, arguments: list[str]) -> bool:
    """Says whether a user has asked for this very test, or its file."""
    named = [argument for argument in arguments if ".py" in argument]
    return any(item.nodeid.startswith(argument.removeprefix("./")) for argument in named)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generators that a test makes without a seed draw from the session's seed and its name."""
    make, name = np.random.default_rng, zlib.crc32(request.node.nodeid.encode())
    calls = iter(range(2**31))
    drawn = lambda seed=None: make((SEED, name, next(calls)) if seed is None else seed)
    monkeypatch.setattr(np.random, "default_rng", drawn)


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """Drops what a module has traced and compiled, of which a worker would gather ten gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def cloud() -> Iterator[FakeCloudStorage]:
    """A Cloud Storage on this machine, with the buckets "here" and "forbidden".

    It is this process's and its children's from then on; skips the test without gcsfs.
    """
    if not importlib.util.find_spec("gcsfs"):
        pytest.skip("needs gcsfs")
    store = FakeCloudStorage("here", "forbidden")
    store.forbidden.add("forbidden")
    with serve(store) as address:
        os.environ |= environment(address)
        yield store


@pytest.fixture(scope="session")
def devices8() -> list[jax.Device]:
    """Eight devices; skips the test where fewer are available."""
    devices = jax.devices()
    if len(devices) < 8:
        pytest.skip(f"needs 8 devices, {len(devices)} available")
    return devices[:8]
