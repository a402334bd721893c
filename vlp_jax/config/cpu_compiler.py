"""What XLA is told about compiling for CPUs, before JAX is imported."""

import importlib.metadata
import importlib.util
import os
from collections.abc import MutableMapping

_FUSED = "--xla_cpu_experimental_ynn_fusion_type"


def keep_attention_unfused(environment: MutableMapping[str, str] = os.environ) -> None:
    """Keeps jaxlib 0.10 from making one CPU kernel of an attention, unless XLA_FLAGS says how.

    In that kernel the softmax takes longer than the products around it (docs/performance.md). Sums
    stay with the library that makes it: XLA's own write what is summed to memory first.
    Later versions do better, and a TPU's own compiler may not know the flag.
    """
    flags = environment.get("XLA_FLAGS", "")
    concerned = importlib.metadata.version("jaxlib").startswith("0.10.")
    if concerned and _FUSED not in flags and importlib.util.find_spec("libtpu") is None:
        environment["XLA_FLAGS"] = f"{flags} {_FUSED}=reduce".strip()
