"""Settings of all tests: eight simulated devices, a compilation cache, quick examples."""

import getpass
import importlib.metadata
import os
import tempfile
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

import jax  # noqa: E402  (reads the variables above when it is first imported)
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# A pytest plug-in may have imported JAX before the variables were set.
jax.config.update("jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"]))

# Grain's worker processes read absl flags, which only absl's own main function parses.
flags.FLAGS.mark_as_parsed()

# The first example of a property includes a compilation, so a deadline would fail at random.
settings.register_profile(
    "vlp_jax", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("vlp_jax")


@pytest.fixture(scope="session")
def devices8() -> list[jax.Device]:
    """Eight devices; skips the test where fewer are available."""
    devices = jax.devices()
    if len(devices) < 8:
        pytest.skip(f"needs 8 devices, {len(devices)} available")
    return devices[:8]
