"""What makers promise of their chips, for the MFU."""

import jax

from vlp_jax.parallel.topology import CHIPS

# Dense products in bfloat16, FLOP/s; by how the kind of a device begins in JAX. Source: the data
# sheets of Nvidia's H100 SXM, H200 SXM and A100.
_GPUS = {"NVIDIA H100": 989e12, "NVIDIA H200": 989e12, "NVIDIA A100": 312e12}
_TPUS = {"TPU v4": "v4", "TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v6 lite": "v6e"}


def peak_flops(device: jax.Device) -> float | None:
    """Returns the peak of a device in bfloat16 products, FLOP/s; None where it is not known."""
    peaks = _GPUS | {kind: CHIPS[name].flops for kind, name in _TPUS.items()}
    return next((x for kind, x in peaks.items() if device.device_kind.startswith(kind)), None)
