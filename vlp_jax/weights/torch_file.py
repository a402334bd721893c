"""Reading torch checkpoint files, zip and legacy, without torch and without running anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.pickles.safety import Opaque
from vlp_jax.weights.checkpoint_file import TORCH_LEGACY, TORCH_ZIP, map_file, recognise
from vlp_jax.weights.torch_legacy import read_legacy
from vlp_jax.weights.torch_unpickler import TensorBuilder
from vlp_jax.weights.torch_zip import read_zip

READERS = {TORCH_ZIP: read_zip, TORCH_LEGACY: read_legacy}

# Shared and broadcast tensors may describe more bytes than the file holds, but not endlessly.
SPARE_BYTES = 64 * 2**20
SPARE_FACTOR = 16


def read_torch_file(path: str | Path) -> Mapping[Any, Any]:
    """Returns the mapping that `torch.save` wrote, with tensors as read-only numpy arrays.

    Tensors are views of the memory-mapped file, so reading costs no memory until they are used;
    compressed zip entries and foreign byte order are the exceptions. Tensors that were tied are
    the same array object. bfloat16 and float8 are `ml_dtypes`. Objects of classes other than
    tensors, numpy values, plain containers and `argparse.Namespace` are `Opaque`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another format, damaged, truncated or hostile content.
    """
    data = map_file(path)
    kind = recognise(data, path)
    if kind not in READERS:
        raise ValueError(f"{path} is a {kind} file; expected a torch file")
    return read_torch_bytes(data, kind, path)


def read_torch_bytes(data: np.ndarray, kind: str, path: str | Path) -> Mapping[Any, Any]:
    """Reads the bytes (uint8 [N]) of a torch file of a known kind; see `read_torch_file`."""
    byte_limit = SPARE_BYTES + SPARE_FACTOR * data.size
    try:
        result = READERS[kind](data, TensorBuilder(byte_limit))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if isinstance(result, Opaque):
        raise ValueError(
            f"{path} holds a whole pickled {result.module}.{result.name}; expected a state dict "
            "(save `model.state_dict()` with the code that made it)"
        )
    if not isinstance(result, dict):
        raise ValueError(f"{path} holds a {type(result).__name__}; expected a state dict")
    return result
