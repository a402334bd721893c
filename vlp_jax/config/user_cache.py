"""Where things are kept from one process to the next, and what JAX keeps there by default."""

import hashlib
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

_MOST_BYTES = 10 * 2**30  # then the programs that were not used for longest are dropped


def user_cache(name: str) -> Path:
    """Returns the user's folder for a kind of things, `~/.cache/vlp_jax/name`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "vlp_jax" / name


def keep_compiled_programs(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes JAX keep compiled programs in the user's cache, unless its own variables say where.

    To be called before JAX is imported. JAX_ENABLE_COMPILATION_CACHE=0 switches it off. Each kind
    of processor has its own folder: XLA reads code made for another one, and it may not run there.
    """
    processor = hashlib.blake2b(_processor().encode(), digest_size=8).hexdigest()
    folder = user_cache("compiled") / processor
    if environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder)) == str(folder):
        environment.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MOST_BYTES))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    named = ("model name", "flags", "Features", "CPU part")  # of x86, ARM
    told = (line for line in lines if line.startswith(named))
    return "\n".join(dict.fromkeys([platform.machine(), *told]))
