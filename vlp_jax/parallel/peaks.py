"""What makers promise of their chips, for the MFU."""

import jax

from vlp_jax.parallel.gpu_topology import GPUS
from vlp_jax.parallel.topology import CHIPS

# Dense products in bfloat16, FLOP/s; by how the kind of a device begins in JAX.
_GPUS = {gpu.kind: gpu.flops for gpu in GPUS.values()}
_TPUS = {"TPU v4": "v4", "TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v6 lite": "v6e"}


def peak_flops(device: jax.Device) -> float | None:
    """Returns the peak of a device in bfloat16 products, FLOP/s; None where it is not known."""
    peaks = _GPUS | {kind: CHIPS[name].flops for kind, name in _TPUS.items()}
    return next((x for kind, x in peaks.items() if device.device_kind.startswith(kind)), None)
