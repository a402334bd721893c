"""Runs a published model on a bundle: loading, forward passes with intermediates, gradients."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array

from vlp_jax.config import ModelConfig, nearest
from vlp_jax.layers.layer_names import split_layers
from vlp_jax.layers.tokens import Fused
from vlp_jax.model import CAPTION, TextFields, Views, VisionLanguageModel, build_model
from vlp_jax.tasks import Step, Task
from vlp_jax.verify.bundle import Bundle
from vlp_jax.weights.conversion import to_published
from vlp_jax.weights.key_table import KeyTable
from vlp_jax.weights.zoo import Published, find

# "layer_0/text_output", of which a name such as "text_layer_0_output" is made.
_LAYER_OUTPUT = re.compile(r"(?<![^/])((?:\w+_)?layer_\d+)/((?:\w+_)?)output$")

_QUICK_OPTIONS = ({"xla_backend_optimization_level": 0}, {"xla_cpu_use_fusion_emitters": False})


@dataclass(frozen=True)
class Loaded:
    """A bundle's model: what it is, how it is built, and the parameters from its checkpoint."""

    bundle: Bundle
    published: Published
    config: ModelConfig
    model: VisionLanguageModel
    params: Any

    @property
    def table(self) -> KeyTable:
        """The table between the parameters and the tensors, as the bundle's gradients name them."""
        names = self.bundle.config.get("grad_param_names", ())
        return self.published.table(self.config, names)

    def apply(self, params: Any, method: Callable, *inputs: Any) -> Any:
        """Returns `method(model, *inputs)` with `params`, without dropout."""
        return self.model.apply({"params": params}, *inputs, method=method)

    def trace(self, params: Any, method: Callable, *inputs: Any) -> tuple[Any, dict[str, Array]]:
        """Returns the same and what the parts have sown, by path such as "text/layer_0_output"."""
        output, sown = self.model.apply(
            {"params": params}, *inputs, method=method, mutable=["intermediates"]
        )
        return output, by_layer(sown.get("intermediates", {}))

    def views(self, params: Any, batch: Mapping[str, Any]) -> "TracedViews":
        """Returns the views of a batch, from which tasks compute, and what the parts have sown."""
        return TracedViews(self.model, params, {k: jnp.asarray(v) for k, v in batch.items()})


class TracedViews(Views):
    """Views that keep what the parts have sown, by path; of several passes the first one's."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.sown: dict[str, Array] = {}

    def pooled(self, fields: TextFields = CAPTION) -> Array:
        """The pooled vector of each pair."""
        return self.once(f"pooled {fields.ids}", _pool, self.fused(fields))

    def _apply(self, params: Any, key: Array | None, function: Callable, inputs: tuple) -> Any:
        output, sown = self.model.apply(
            {"params": params},
            *inputs,
            method=function,
            deterministic=True,
            mutable=["intermediates"],
        )
        self.sown = by_layer(sown.get("intermediates", {})) | self.sown
        return output


def _pool(model: VisionLanguageModel, fused: Fused, *, deterministic: bool) -> Array:
    return model.pool(fused, deterministic=deterministic)


def by_layer(sown: Mapping) -> dict[str, Array]:
    """Returns what parts have sown by path, that of stacks cut into layers.

    Layers are "text/layer_0_output"; of two streams "fusion/text_layer_0_output"; other parts keep
    their names, "fusion/layer_0/first/output".
    """
    flat = {path: values[0] for path, values in flatten_dict(dict(sown), sep="/").items()}
    return {_LAYER_OUTPUT.sub(r"\2\1_output", name): x for name, x in split_layers(flat).items()}


def task_loss(task: Task, views: Views, teacher: Views | None = None, state: Any = None) -> Array:
    """Returns the loss of a task on a batch, as a training step computes it."""
    return task.loss(Step(views, teacher, state, jnp.ones(()))).loss


def load(bundle: Bundle, task: str | None = None) -> Loaded:
    """Returns the bundle's model with its checkpoint; `task` overrides the bundle's own."""
    published = find(bundle.field("model"), task or bundle.field("task"))
    try:
        config = published.from_published(bundle.config)
    except KeyError as missing:
        where = bundle.path / "config.json"
        raise ValueError(f"{where} lacks {missing}, which {published.name} needs") from None
    params = published.load(bundle.state, config)
    return Loaded(bundle, published, config, build_model(config), params)


def run(
    bundle: Bundle, outputs: Callable[[Loaded, Any], dict[str, Any]], task: str | None = None
) -> dict[str, Any]:
    """Returns `outputs(loaded, params)` and, as the bundle names them, the gradients of its "loss".

    That is the norm for every name in `grad_param_names`, the total norm, and in full the
    gradients that the bundle holds. Tied tensors count once. A bundle without any gets none.
    `task` overrides the bundle's own.
    """
    loaded = load(bundle, task)
    if not any(name == "loss" or name.startswith("grad") for name in bundle.expected):
        return quick_jit(lambda params: outputs(loaded, params))(loaded.params)

    def loss(params: Any) -> tuple[Array, dict[str, Any]]:
        computed = outputs(loaded, params)
        return computed["loss"], computed

    differentiate = quick_jit(jax.value_and_grad(loss, has_aux=True))
    (_, computed), grads = differentiate(loaded.params)
    return computed | named_gradients(loaded, grads, bundle.expected)


def consecutive(fused: Fused) -> tuple[Fused, Fused]:
    """Splits rows in which both images of a sentence follow each other into firsts and seconds.

    ViLBERT's original returns the matching logits, without a word, for an odd number of rows; this
    is a ValueError.
    """
    rows = len(fused.text.mask)
    if rows % 2:
        raise ValueError(f"{rows} rows cannot be paired: NLVR2 needs two images a sentence")
    return tuple(jax.tree.map(lambda x, i=i: x[i::2], fused) for i in range(2))


def named_gradients(loaded: Loaded, grads: Any, expected: Iterable[str]) -> dict[str, Any]:
    """Returns norms of gradients, and in full those that `expected` lists as "grad/<name>"."""
    named = to_published(grads, loaded.table)
    names = loaded.bundle.field("grad_param_names")
    unknown = [name for name in names if name not in named]
    if unknown:
        raise ValueError(
            f'grad_param_names has "{unknown[0]}", which the model has not.'
            f"{nearest(unknown[0], named)}"
        )
    norms = np.array([np.linalg.norm(named[name]) for name in names])
    wanted = [n for n in expected if n.startswith("grad/")]
    return {
        "grad_param_norms": norms,
        "grad_norm_total": np.linalg.norm(norms),
        **{name: named.get(name.removeprefix("grad/")) for name in wanted},
    }


def quick_jit(function: Callable) -> Callable:
    """`jax.jit` for functions that run once on tiny arrays: a third of the time to compile."""
    return jax.jit(function, compiler_options=_quick_options())


@cache
def _quick_options() -> dict[str, Any]:
    """Compiler options for quick compilation on a CPU, as far as this version of XLA has them."""
    known: dict[str, Any] = {}
    for option in _QUICK_OPTIONS if jax.default_backend() == "cpu" else ():
        try:
            jax.jit(lambda x: x, compiler_options=option).lower(0.0).compile()
        except jax.errors.JaxRuntimeError:
            continue
        known |= option
    return known


def channels_last(image: np.ndarray) -> Array:
    """[..., 3, H, W] as published models take images -> [..., H, W, 3]."""
    return jnp.moveaxis(jnp.asarray(image), -3, -1)
