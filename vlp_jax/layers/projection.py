"""Affine maps whose kernels keep their natural rank, so that logical axis names fit them.

`flax.linen.DenseGeneral` flattens its kernel before it applies the sharding constraint, which fails
for 3-d names under a mesh (google/flax issue 3676); an einsum on the natural shape lacks that step.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float

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
        kernel = kernel.astype(x.dtype)
        if self.activation is None:
            y = jnp.einsum("...i,io->...o", x, kernel, preferred_element_type=self.output_dtype)
        else:
            y = product_of(self.activation, x, kernel)
        if self.use_bias:
            y = y + self.param("bias", zeros_init(self.axes[1]), (self.features,)).astype(y.dtype)
        return checkpoint_name(y, PRODUCT)


class SplitHeads(nn.Module):
    """Projects states to attention heads: [B, T, D] -> [B, T, H, K]."""

    heads: int
    head_dim: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t h k"]:
        shape = (x.shape[-1], self.heads, self.head_dim)
        kernel = self.param("kernel", kernel_init("embed", "heads", "kv"), shape)
        bias = self.param("bias", zeros_init("heads", "kv"), shape[1:])
        y = jnp.einsum("btd,dhk->bthk", x, kernel.astype(x.dtype)) + bias.astype(x.dtype)
        return checkpoint_name(y, PRODUCT)


class MergeHeads(nn.Module):
    """Projects attention heads back to states: [B, T, H, K] -> [B, T, features]."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t h k"]) -> Float[Array, "b t d"]:
        shape = (*x.shape[-2:], self.features)
        kernel = self.param("kernel", kernel_init("heads", "kv", "embed"), shape)
        bias = self.param("bias", zeros_init("norm"), (self.features,))
        y = jnp.einsum("bthk,hkd->btd", x, kernel.astype(x.dtype)) + bias.astype(x.dtype)
        return checkpoint_name(y, PRODUCT)
