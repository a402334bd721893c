"""Reads the known arrays of `.npz` and `.npy`, from their bytes; pickled ones are refused."""

import io
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.regions.build import MEANINGS


def read_npz(data: bytes, class_scores: bool) -> dict[str, np.ndarray]:
    """Returns name → array of the fields that `build.NAMES` knows, with or without class scores.

    Others are not read and are there with None. The single array of an `.npy` is "features".
    """
    try:
        with foreign_bytes("damaged file"):
            return _arrays(np.load(io.BytesIO(data), allow_pickle=False), class_scores)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                "the file is no .npz or .npy, or holds pickled objects, which are not read"
            ) from None
        raise


def _arrays(content: Any, class_scores: bool) -> dict[str, np.ndarray]:
    if isinstance(content, np.ndarray):
        return {"features": content}
    with content:
        known = [name for name in content.files if name in MEANINGS]
        if not class_scores:
            known = [name for name in known if MEANINGS[name] != "class_scores"]
        return dict.fromkeys(content.files) | {name: content[name] for name in known}
