"""What makers promise of their chips, for the MFU."""

import jax

# Dense products in bfloat16, FLOP/s; by how the kind of a device begins in JAX. Sources: the data
# sheets of Nvidia's H100 SXM, H200 SXM and A100; docs.cloud.google.com/tpu/docs of each TPU.
_PEAKS = {
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100": 312e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(device: jax.Device) -> float | None:
    """Returns the peak of a device in bfloat16 products, FLOP/s; None where it is not known."""
    kind = device.device_kind
    return next((peak for name, peak in _PEAKS.items() if kind.startswith(name)), None)
