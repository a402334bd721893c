"""Checksums of arrays that come out the same on every mesh, on devices and on the host.

The checksum of an array is a sum modulo 2³² over its elements, of each its bits mixed with its
place. Such a sum has no order, so that each device adds up what it holds. Mixing loses nothing: a
change of any one element changes the sum for certain, of several all but once in 2³².
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.training.optimizer import path_name

_PLACE, _FIRST, _SECOND = map(np.uint32, (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))

_BLOCK = 1 << 16  # elements that the host mixes at a time, which stay in its cache
_THREADS = 8


def checksums(tree: Any) -> dict[str, str]:
    """Returns path → "dtype[shape] checksum" of every array in a tree; typed keys by their words.

    Arrays on accelerators, or of several processes, are summed where they are; all processes call.
    """
    leaves = _leaves(tree)
    add_up = _sum_on_host if _all_here(leaves.values()) else _sum_on_devices
    sums = add_up(leaves.values())
    return {
        name: f"{leaf.dtype}{list(leaf.shape)} {int(value):08x}"
        for (name, leaf), value in zip(leaves.items(), sums, strict=True)
    }


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Returns the paths of the arrays in `found` whose checksum is another one in `wanted`."""
    return [name for name, value in found.items() if wanted.get(name) != value]


def _leaves(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_name(path): _words(leaf) for path, leaf in flat}


def _words(leaf: Any) -> Any:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _all_here(leaves: Iterable[Any]) -> bool:
    """Says whether the host can read all arrays without a copy from an accelerator."""
    on_devices = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    is_here = lambda x: x.is_fully_addressable and jax.default_backend() == "cpu"
    return all(map(is_here, on_devices))


def _sum_on_host(leaves: Iterable[Any]) -> list[int]:
    return [_host_sum(np.asarray(leaf)) for leaf in leaves]


def _sum_on_devices(leaves: Iterable[Any]) -> list[int]:
    return list(jax.device_get(_device_sums(list(leaves))))


@jax.jit
def _device_sums(leaves: list[Array]) -> Array:
    return jnp.stack([_device_sum(leaf) for leaf in leaves])


@jax.jit
def _device_sum(x: Array) -> Array:
    bits, places = _bits(x), jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):  # Horner's rule for the place in row-major order
        places = places * np.uint32(size % 2**32) + jax.lax.broadcasted_iota(
            jnp.uint32, x.shape, axis
        )
    return jnp.sum(_mixed(bits, places), dtype=jnp.uint32)


def _bits(x: Array) -> Array:
    """Returns the bits as uint32; halves of 64 bits are folded into one word."""
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    size = x.dtype.itemsize
    if size == 8:
        halves = jax.lax.bitcast_convert_type(x, jnp.uint32)
        return halves[..., 0] + halves[..., 1] * np.uint32(3)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[size]
    return jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def _mixed(bits: Any, places: Any) -> Any:
    """Returns a number for the bits at a place, by MurmurHash3's finalizer: one-to-one in both."""
    mixed = bits + places * _PLACE
    mixed = (mixed ^ (mixed >> np.uint32(16))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint32(13))) * _SECOND
    return mixed ^ (mixed >> np.uint32(16))


def _host_sum(x: np.ndarray) -> int:
    flat = np.ascontiguousarray(x).reshape(-1)
    starts = range(0, flat.size, _BLOCK)
    if len(starts) < 2:
        return _block_sum(flat, 0)
    with ThreadPoolExecutor(_THREADS) as pool:  # numpy computes outside of Python's lock
        sums = pool.map(lambda start: _block_sum(flat[start : start + _BLOCK], start), starts)
        return sum(sums) % 2**32


def _block_sum(x: np.ndarray, start: int) -> int:
    places = np.arange(start, start + x.size, dtype=np.uint64).astype(np.uint32)
    mixed = _host_bits(x) + places * _PLACE
    for shift, factor in ((16, _FIRST), (13, _SECOND)):  # in place, which is twice as fast
        np.bitwise_xor(mixed, np.right_shift(mixed, shift, out=places), out=mixed)
        np.multiply(mixed, factor, out=mixed)
    np.bitwise_xor(mixed, np.right_shift(mixed, 16, out=places), out=mixed)
    return int(np.sum(mixed, dtype=np.uint32))


def _host_bits(x: np.ndarray) -> np.ndarray:
    size = x.dtype.itemsize
    if size == 8:
        halves = x.view(np.uint32).reshape(-1, 2)
        return halves[:, 0] + halves[:, 1] * np.uint32(3)
    return x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[size]).astype(np.uint32)
