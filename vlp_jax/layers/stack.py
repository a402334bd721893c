"""The one loop over layers: scanned or unrolled; the backward pass recomputes what a policy says.

The parameters of a stack have a leading axis of layers in either case, under one name for all of
them ("text/layers/…"); `vlp_jax.layers.layer_names` gives the layers names of their own.
"""

from typing import Any, Literal

import flax.linen as nn
import jax

from vlp_jax.config.registry import Registry
from vlp_jax.layers.attention import ATTENTION, ATTENTION_SHIFT, CONTEXT, MEMORY
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
        scanned = self.scan_layers == "on" or (
            self.scan_layers == "auto" and worth_scanning(self.layers)
        )
        run = nn.scan(
            self._rematerialised(_layer(deterministic), scanned),
            variable_axes=dict.fromkeys(_STACKED, 0),
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast,) * len(inputs),
            length=self.layers,
            unroll=1 if scanned else self.layers,
            metadata_params={nn.PARTITION_NAME: LAYER_AXIS},
        )
        return run(self, states, *inputs)[0]

    def _rematerialised(self, layer: Any, scanned: bool) -> Any:
        policy = REMAT_POLICIES.get_known(self.remat, "config.training.remat")
        if policy is None:
            return layer
        # Only outside of a loop could the compiler merge what is computed twice.
        return nn.remat(layer, policy=policy, prevent_cse=not scanned)


def _layer(deterministic: bool) -> Any:
    """Returns the function of one layer that `nn.scan` takes."""

    def layer(stack: TransformerStack, states: Any, *inputs: Any) -> tuple[Any, None]:
        new = stack.block(states, *inputs, deterministic=deterministic)
        # A stream keeps its precision, whatever that of the other that it reads, and its examples
        # stay on their devices, whatever the weights are split over.
        return on_batch_axes(jax.tree.map(lambda x, old: x.astype(old.dtype), new, states)), None

    return layer


def worth_scanning(layers: int) -> bool:
    """Says whether "auto" scans a stack.

    Measured on a CPU: 12 + 12 + 6 layers compile four times as fast scanned, and a step takes a
    fifth longer; few layers compile soon either way.
    """
    return layers > FEW_LAYERS
