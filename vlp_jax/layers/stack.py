"""The one loop over layers: scanned or unrolled; the backward pass recomputes what a policy says.

The parameters of a stack have a leading axis of layers in either case, under one name for all of
them ("text/layers/…"); `vlp_jax.layers.layer_names` gives the layers names of their own.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array

from vlp_jax.config.registry import Registry
from vlp_jax.layers.attention import (
    ATTENTION,
    ATTENTION_SHIFT,
    CONTEXT,
    MEMORY,
    Projected,
)
from vlp_jax.layers.platform import traced_for
from vlp_jax.layers.projection import PRODUCT
from vlp_jax.parallel.context import on_batch_axes

LAYER_AXIS = "layers"
_STACKED = ("params", "intermediates", ATTENTION, ATTENTION_SHIFT, MEMORY, CONTEXT)
FEW_LAYERS = 4

ScanLayers = Literal["auto", "on", "off"]
Remat = Literal["none", "dots", "full", "cheap"]

# What the forward pass keeps of a layer, beside its input, for the backward pass:
REMAT_POLICIES = Registry("remat policy")
REMAT_POLICIES.update(
    none=None,  # everything
    dots=jax.checkpoint_policies.dots_saveable,  # every matrix product, scores of attention too
    full=jax.checkpoint_policies.nothing_saveable,  # nothing
    # Products with weights and what attention has read: norms, activations, scores and
    # probabilities, which are cheap to compute and large, are computed again.
    cheap=jax.checkpoint_policies.save_only_these_names(PRODUCT),
)


class TransformerStack(nn.Module):
    """`layers` layers like `block`, each reading what the one before it returned.

    `block(states, *inputs, deterministic=…) -> states` is an unbound module; states may be a tuple
    of streams. Its `name` is that of the stacked parameters, by custom "layers" or "…_layers".
    An input that is `Projected` has keys and values for each layer, others are the same for all.
    Dropout differs from layer to layer. What blocks sow is stacked likewise, and so are
    the attention probabilities of explain mode. With no layers it returns its input.

    * `scan_layers`: "on" compiles one layer and loops over it, "off" compiles each of them; "auto"
      decides by `worth_scanning`. The numbers are the same.
    * `remat`: a name in `REMAT_POLICIES`.
    """

    block: nn.Module
    layers: int
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    def setup(self) -> None:
        nn.share_scope(self, self.block)

    def __call__(self, states: Any, *inputs: Any, deterministic: bool) -> Any:
        if not self.layers:
            return states
        return self._loop(self.layers, inputs, deterministic)(self, states, *inputs)[0]

    def first_states(self, queries: int, states: Any, *inputs: Any, deterministic: bool) -> Any:
        """Returns the first `queries` states of the last layer, which computes no others.

        Its blocks take `queries`. Nothing can be sown in it.
        """
        last = self.layers - 1
        if last > 0:
            loop = self._loop(last, inputs, deterministic)
            before = tuple(_of_layers(x, slice(last)) for x in inputs)
            states = _with_layers(loop, slice(last))(self, states, *before)[0]
        layer = self._rematerialised(_layer(deterministic, queries=queries), scanned=False)
        own = tuple(_of_layers(x, last) for x in inputs)
        return _with_layers(layer, last)(self, states, *own)[0]

    def _loop(self, layers: int, inputs: tuple, deterministic: bool) -> Any:
        """Returns the function (stack, states, *inputs) -> (states, None) of so many layers."""
        scanned = self.scan_layers == "on" or (
            self.scan_layers == "auto" and worth_scanning(self.layers)
        )
        return nn.scan(
            self._rematerialised(_layer(deterministic), scanned),
            variable_axes=dict.fromkeys(_STACKED, 0),
            split_rngs={"params": True, "dropout": True},
            in_axes=tuple(map(_input_axes, inputs)),
            length=layers,
            unroll=1 if scanned else layers,
            metadata_params={nn.PARTITION_NAME: LAYER_AXIS},
        )

    def _rematerialised(self, layer: Any, scanned: bool) -> Any:
        policy = REMAT_POLICIES.get_known(self.remat, "config.training.remat")
        if policy is None:
            return layer
        # Only outside of a loop could the compiler merge what is computed twice.
        return nn.remat(layer, policy=policy, prevent_cse=not scanned)


def _input_axes(x: Any) -> Any:
    """Returns along which axes an input is cut into what single layers read."""
    if not isinstance(x, Projected):
        return nn.broadcast
    return Projected(0, 0, None if x.rows is None else nn.broadcast)


def _of_layers(x: Any, part: int | slice) -> Any:
    """Returns what some layers, or one, read of an input."""
    return x.replace(key=x.key[part], value=x.value[part]) if isinstance(x, Projected) else x


def _with_layers(function: Any, part: int | slice) -> Any:
    """Returns a function of the stack that sees the parameters of some layers, or of one."""
    return nn.map_variables(function, "params", lambda p: jax.tree.map(lambda x: x[part], p))


def _layer(deterministic: bool, **options: Any) -> Any:
    """Returns the function of one layer that `nn.scan` takes."""

    def layer(stack: TransformerStack, states: Any, *inputs: Any) -> tuple[Any, None]:
        new = stack.block(states, *inputs, deterministic=deterministic, **options)
        # A stream keeps its precision, whatever that of the other that it reads, and its examples
        # stay on their devices, whatever the weights are split over.
        new = on_batch_axes(jax.tree.map(lambda x, old: x.astype(old.dtype), new, states))
        return jax.tree.map(_in_rows, new), None

    return layer


def _in_rows(x: Array) -> Array:
    """Returns states that lie in memory row after row, and whose gradient does, on GPUs.

    Otherwise XLA may take over a layout that suits the gradient of [CLS] alone, such as [T, D, B],
    for all states of an encoder, and then transposes them for each product. JAX 0.10 would gather
    the states of all devices for it. For `jax.export`, trace within `for_any_platform`.
    """
    if traced_for() != "gpu" or jax.__version_info__ < (0, 11):
        return x
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def worth_scanning(layers: int) -> bool:
    """Says whether "auto" scans a stack.

    Measured on a CPU: 12 + 12 + 6 layers compile four times as fast scanned, and a step takes a
    fifth longer; few layers compile soon either way.
    """
    return layers > FEW_LAYERS
