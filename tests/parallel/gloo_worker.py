"""One process of the two-process test: joins, puts its half of a batch, prints what it saw."""

import json
import sys

import jax
import numpy as np

from vlp_jax.parallel import batch_share, initialize_distributed, make_mesh, put_batch, replicated


def main() -> None:
    processes = initialize_distributed(timeout_seconds=60)
    mesh = make_mesh(data=-1, fsdp=2)
    offset = 4 * jax.process_index()
    batch = put_batch({"x": np.arange(offset, offset + 4, dtype=np.int32)}, mesh)
    weighted = jax.jit(lambda x: (x * np.arange(8)).sum())(batch["x"])
    whole = make_mesh(tensor=4)
    same_rows = put_batch({"x": np.arange(4)}, whole)["x"]
    try:
        put_batch({"x": np.zeros(3)}, mesh)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    seen = {
        "processes": processes,
        "again": initialize_distributed(),
        "devices": jax.device_count(),
        "global_shape": batch["x"].shape,
        "weighted_sum": int(weighted),
        "refusal": refusal,
        "gathered": np.asarray(replicated(batch["x"], mesh)).tolist(),
        "share_of_one_part": batch_share(whole, jax.process_index()),
        "one_part": np.asarray(same_rows).tolist(),
    }
    print(json.dumps(seen))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
