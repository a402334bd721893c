"""Compares the plain and the ring contrastive loss: compiled temporary memory, values, gradients.

    python benchmarks/contrastive_memory.py --size 8192 --devices 8 --values

prints one line of JSON for each case. Without --values programs are compiled and not run.
"""

import argparse
import json
import os
import time
from typing import Any


def main() -> None:
    """Reads the options and prints one line for each case."""
    options = _options()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={options.devices}"
    from vlp_jax.parallel import make_mesh, use_mesh

    with use_mesh(make_mesh()) as mesh:
        for case in options.cases:
            print(json.dumps(_measure(case, options, mesh)), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192, help="pairs in the global batch")
    parser.add_argument("--width", type=int, default=256, help="width of the vectors")
    parser.add_argument("--queue", type=int, default=0, help="rows of the queue")
    parser.add_argument("--devices", type=int, default=8, help="simulated devices")
    parser.add_argument("--values", action="store_true", help="run both programs and compare")
    parser.add_argument("--cases", nargs="+", choices=_CASES, default=list(_CASES))
    return parser.parse_args()


# Settings of the task, and whether there is a teacher (with it, the queue).
_CASES = {
    "softmax": ({}, False),
    "softmax distilled": ({"in_batch": "online"}, True),
    "sigmoid": ({"form": "sigmoid"}, False),
}


def _measure(case: str, options: argparse.Namespace, mesh: Any) -> dict[str, Any]:
    import jax

    inputs = _inputs(options, mesh)
    row: dict[str, Any] = {"case": case, "size": options.size, "devices": options.devices}
    found = {}
    for implementation in ("plain", "ring"):
        step = _program(case, implementation)
        start = time.perf_counter()
        compiled = jax.jit(jax.value_and_grad(step)).lower(*inputs).compile()
        row[f"{implementation}_compile_seconds"] = round(time.perf_counter() - start, 1)
        row[f"{implementation}_temp_bytes"] = compiled.memory_analysis().temp_size_in_bytes
        if options.values:
            found[implementation] = jax.block_until_ready(compiled(*inputs))
    row["ratio"] = round(row["plain_temp_bytes"] / row["ring_temp_bytes"], 2)
    return row | (_differences(*found.values()) if options.values else {})


def _program(case: str, implementation: str) -> Any:
    """Returns the loss as a function of (learned, fixed)."""
    import jax.numpy as jnp

    from vlp_jax.tasks import Step
    from vlp_jax.tasks.contrast import ContrastiveTask

    settings, taught = _CASES[case]
    task = ContrastiveTask(implementation=implementation, **settings)

    def loss(learned: dict[str, Any], fixed: dict[str, Any]) -> Any:
        views = _Views(learned["vectors"], fixed["ids"], learned)
        teacher = _Views(fixed["taught"], fixed["ids"], learned) if taught else None
        queue = fixed["queue"] if taught else None
        return task.loss(Step(views, teacher, queue, jnp.float32(0.5))).loss

    return loss


class _Views:
    """Views whose encoders have done their work."""

    def __init__(self, vectors: Any, ids: Any, scale: dict[str, Any]):
        self.batch = {"image_id": ids}
        self.params = {"heads_itc": {name: scale[name] for name in ("temperature", "bias")}}
        self._vectors = dict(zip(("image vector", "text vector"), vectors))

    def image(self) -> None:
        """There are no tokens."""

    def text(self, fields: Any) -> None:
        """There are no tokens."""

    def once(self, name: str, function: Any, *inputs: Any) -> Any:
        """Returns what the head would make of the tokens."""
        return self._vectors[name]


def _inputs(options: argparse.Namespace, mesh: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vlp_jax.losses.momentum import Queue
    from vlp_jax.parallel import batch_sharding

    rng = np.random.default_rng()

    def unit(count: int) -> Any:
        drawn = rng.normal(size=(count, options.width)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)

    split = lambda x: jax.device_put(x, batch_sharding(mesh))
    both = lambda: (split(unit(options.size)), split(unit(options.size)))
    ids = lambda count: rng.integers(0, options.size // 2, count).astype(np.int32)
    learned = {"vectors": both(), "temperature": jnp.float32(0.07), "bias": jnp.float32(-10)}
    queue = None
    if options.queue:
        stored = unit(options.queue), unit(options.queue), ids(options.queue)
        queue = Queue(*map(jnp.asarray, stored), jnp.zeros((), jnp.int32))
    return learned, {"taught": both(), "ids": split(ids(options.size)), "queue": queue}


def _differences(plain: tuple, ring: tuple) -> dict[str, float]:
    """Returns the relative difference of the losses, and the largest one of all gradients."""
    import jax
    import numpy as np

    (value, gradients), (other_value, other_gradients) = jax.tree.map(np.asarray, (plain, ring))
    largest = lambda a, b: np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)
    differences = jax.tree.leaves(jax.tree.map(largest, gradients, other_gradients))
    return {
        "value_difference": float(abs(value - other_value) / abs(value)),
        "gradient_difference": float(max(differences)),
    }


if __name__ == "__main__":
    main()
