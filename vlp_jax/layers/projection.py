"""Affine maps whose kernels keep their natural rank, so that logical axis names fit them.

`flax.linen.DenseGeneral` flattens its kernel before it applies the sharding constraint, which fails
for 3-d names under a mesh (google/flax issue 3676); an einsum on the natural shape lacks that step.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vlp_jax.layers.platform import merging_is_free

# BERT (Devlin et al. 2019, appendix A.2) and all six models here draw weights from N(0, 0.02).
INITIAL_STD = 0.02
_STD = ContextVar("initial deviation", default=INITIAL_STD)

# What the remat policy "cheap" keeps: products with weights, and what attention has read.
PRODUCT = "product"


@contextlib.contextmanager
def initial_std(std: float) -> Iterator[None]:
    """Within it, parts draw their weights with this deviation; see `kernel_init`."""
    token = _STD.set(std)
    try:
        yield
    finally:
        _STD.reset(token)


def kernel_init(*axes: str | None, std: float | None = None):
    """Returns the normal initialiser annotated with one logical name per dimension.

    Its deviation is that of the model, `initial_std`, unless the part has one of its own, `std`.
    """
    draw = nn.initializers.normal(_STD.get() if std is None else std)
    return nn.with_logical_partitioning(draw, axes)


def zeros_init(*axes: str | None):
    """Returns the zero initialiser annotated with one logical name per dimension."""
    return nn.with_logical_partitioning(nn.initializers.zeros_init(), axes)


def as_rows(x: Float[Array, "*b i"], inner: int = 1) -> Float[Array, "..."]:
    """Returns `x` as a matrix of its leading axes by its `inner` last ones, where that is free.

    Gradients of kernels and biases are sums over the leading axes. Over more than one XLA for CPUs
    goes column by column, and computes what is fused into them many times as slowly; GPUs add a
    bias while they multiply, if both are of a matrix.
    """
    lead = x.ndim - inner
    if not merging_is_free() or (lead < 2 and inner == 1):
        return x
    return x.reshape(math.prod(x.shape[:lead]), math.prod(x.shape[lead:]))


def affine(
    x: Float[Array, "*b i"],
    kernel: Float[Array, "..."],
    bias: Float[Array, "..."] | None = None,
    *,
    inner: int = 1,
    activation: Callable[[Array], Array] | None = None,
    output_dtype: DTypeLike | None = None,
) -> Float[Array, "..."]:
    """Returns x · kernel + bias over the last `inner` axes of `x` and as many first of `kernel`.

    With an `activation` it is that of activation(x), see `product_of`.
    """
    rows, shape = as_rows(x, inner), (*x.shape[: x.ndim - inner], *kernel.shape[inner:])
    if merging_is_free():
        kernel, inner = kernel.reshape(math.prod(kernel.shape[:inner]), -1), 1
        bias = None if bias is None else bias.reshape(-1)
    if activation is None:
        y = jnp.tensordot(rows, kernel, inner, preferred_element_type=output_dtype)
    else:
        y = product_of(activation, rows, kernel)
    if bias is not None:
        y = y + bias.astype(y.dtype)
    return y.reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product_of(
    activation: Callable[[Array], Array], x: Float[Array, "*b i"], kernel: Float[Array, "i o"]
) -> Float[Array, "*b o"]:
    """Returns activation(x) · kernel, of which the backward pass keeps `x` and `kernel` alone."""
    return activation(x) @ kernel


def _product_backward(activation: Callable, kept: tuple, slope: Array) -> tuple[Array, Array]:
    # Without the barrier the compiler would find that it has the same array from the forward pass.
    x, kernel = jax.lax.optimization_barrier(kept)
    activated, pull = jax.vjp(activation, x)
    rows = tuple(range(x.ndim - 1))
    # The kernel's gradient is transposed rather than what is activated, which CPUs would compute
    # column by column, fifteen times as slow.
    return *pull(slope @ kernel.T), jnp.tensordot(slope, activated, (rows, rows)).T


product_of.defvjp(lambda f, x, kernel: (product_of(f, x, kernel), (x, kernel)), _product_backward)


class Linear(nn.Module):
    """Maps the last axis: [..., in] -> [..., features], in the dtype of its input.

    With an `output_dtype` the factors keep that of the input and what they give is not rounded to
    it: logits in float32 from bfloat16 states. An `activation` acts on the input: `product_of`.
    """

    features: int
    axes: tuple[str | None, str | None] = ("embed", "mlp")
    use_bias: bool = True
    output_dtype: DTypeLike | None = None
    activation: Callable[[Array], Array] | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        kernel = self.param("kernel", kernel_init(*self.axes), (x.shape[-1], self.features))
        kernel, bias = kernel.astype(x.dtype), None
        if self.use_bias:
            bias = self.param("bias", zeros_init(self.axes[1]), (self.features,))
        asked = dict(activation=self.activation, output_dtype=self.output_dtype)
        return checkpoint_name(affine(x, kernel, bias, **asked), PRODUCT)


class SplitHeads(nn.Module):
    """Projects states to attention heads: [B, T, D] -> [B, T, H, K]."""

    heads: int
    head_dim: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t h k"]:
        shape = (x.shape[-1], self.heads, self.head_dim)
        kernel = self.param("kernel", kernel_init("embed", "heads", "kv"), shape)
        bias = self.param("bias", zeros_init("heads", "kv"), shape[1:])
        return checkpoint_name(affine(x, kernel.astype(x.dtype), bias), PRODUCT)


class MergeHeads(nn.Module):
    """Projects attention heads back to states: [B, T, H, K] -> [B, T, features]."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t h k"]) -> Float[Array, "b t d"]:
        shape = (*x.shape[-2:], self.features)
        kernel = self.param("kernel", kernel_init("heads", "kv", "embed"), shape)
        bias = self.param("bias", zeros_init("norm"), (self.features,))
        return checkpoint_name(affine(x, kernel.astype(x.dtype), bias, inner=2), PRODUCT)
