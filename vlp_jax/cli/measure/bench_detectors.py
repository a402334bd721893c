"""Published region detectors in the benchmark: from drawn pictures to their regions."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vlp_jax.cli.measure.bench import OURS, TORCH, Call, Rivals
from vlp_jax.cli.measure.bench_models import SIZES
from vlp_jax.cli.measure.bench_ours import measured
from vlp_jax.cli.measure.bench_turns import Measured
from vlp_jax.detectors.pixels import PixelRule
from vlp_jax.training.optimizer import path_name
from vlp_jax.weights.zoo import DETECTORS
from vlp_jax.weights.zoo.detectors import PublishedDetector, initial_params

SIDES = 600, 1000
"""Height and width of a picture, those of the weights' training (Anderson et al. 2018)."""

WITH_TWIN = ("frcnn_vg",)
"""Detectors that are in torch as well, see `torch_detector`."""

# Fields of a detector that a smaller size divides.
_DIVIDED = ("stem", "width", "inner", "group_width", "hidden")
# Noise deviates by some 70 from its mean, of which the stem makes a third: maps near 1 follow.
_STEM_SCALE = 1 / 32
# Blocks add little to what they are given: with 1 the map doubles with each.
_BLOCK_SCALE = 0.1


class TimedDetector:
    """A published detector at a size of `SIZES`, with drawn weights and a batch of pictures.

    Attributes: `network`, `params`, `pixels` [B, H, W, 3], and those of `bench.Timed`.
    """

    dtype, devices = "float32", 1

    def __init__(self, name: str, size: str, batch: int):
        self.name, self.size, self.batch = name, size, batch
        self._published: PublishedDetector = DETECTORS.get_known(name)
        convention = next(iter(self._published.conventions({}).values()))
        self.network = divided(convention.detector, SIZES[size])
        self.params = drawn_params(self.network)
        self.pixels = drawn_pixels(batch, *(side // SIZES[size] for side in SIDES))

    def calls(self, rivals: Rivals) -> Iterator[Call]:
        """Yields the detection of the batch."""
        found = {OURS: self.infer()}
        if rivals.torch and self.name in WITH_TWIN:
            from vlp_jax.cli.measure.torch_detector import DetectorTwin

            state = self._published.save(self.params, self.network)
            found[TORCH] = DetectorTwin(self.network, state, self.pixels).infer()
        yield "infer", ("regions",), found

    def infer(self) -> Measured:
        """Returns our detection, compiled as `Detector` does it."""
        with jax.default_matmul_precision("highest"):
            found = measured(self.regions, self.params, jnp.asarray(self.pixels))
        return replace(found, parameters=sum(x.size for x in jax.tree.leaves(self.params)))

    def regions(self, params: Any, pixels: Float[Array, "b h w 3"]) -> Any:
        """Returns what the detector finds in pictures that fill their frame."""
        sizes = jnp.broadcast_to(jnp.array(pixels.shape[1:3]), (len(pixels), 2))
        return self.network.apply({"params": params}, pixels, sizes, sizes)


def divided(network: nn.Module, by: int) -> nn.Module:
    """Returns a detector with the `by`-th part of channels and anchors, and as many layers."""
    given = {name: getattr(network, name) for name in _DIVIDED if hasattr(network, name)}
    channels = {name: max(n // by, 1) for name, n in given.items()}
    return network.clone(**channels, anchor_sizes=tuple(n / by for n in network.anchor_sizes))


def drawn_pixels(batch: int, height: int, width: int) -> Float[np.ndarray, "b h w 3"]:
    """Returns noise as prepared pictures: B, G, R less their mean, float32."""
    rule, rng = PixelRule(), np.random.default_rng(0)
    drawn = rng.integers(0, 256, (batch, height, width, 3)).astype(np.float32)
    return drawn - np.float32(rule.mean)


def drawn_params(network: nn.Module) -> Any:
    """Returns fresh weights with which maps stay near 1, so that proposals are all over pictures.

    As they are drawn at first, boxes would be thrown out of the picture, and there would be next to
    nothing to suppress or to pool.
    """
    # Compiled, because of all that initialising computes only the weights are then left.
    drawn = jax.jit(partial(initial_params, network))(jax.random.key(0))
    return jax.tree_util.tree_map_with_path(_tamed, drawn)


def _tamed(path: tuple[Any, ...], x: Array) -> Array:
    name = path_name(path)
    if name == "trunk/stem/norm/scale":
        return _STEM_SCALE * x
    return _BLOCK_SCALE * x if name.endswith("layer_2/norm/scale") else x
