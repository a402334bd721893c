"""Operations of matrix products and convolutions, counted in the traced program.

Two operations a multiplication with its addition. All that is cheap beside them (norms, softmax,
updates) is left out, as it is from what makers of chips promise. The count is of the program as it
is written: loops as often as they turn, attention in full whatever kernel computes it, and nothing
that only the compiler adds or takes away.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from vlp_jax.layers.platform import for_any_platform
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.schedule import Group
from vlp_jax.training.step import total_loss


@dataclass(frozen=True)
class Flops:
    """Operations of a loss and its gradient.

    Attributes:
      forward: of the loss, the teacher's passes included.
      backward: of the gradient, once the forward pass is kept.
      recomputed: of what the backward pass computes again to save memory.
    """

    forward: float
    backward: float
    recomputed: float

    @property
    def model(self) -> float:
        """What has to be computed, which is what the MFU counts."""
        return self.forward + self.backward


def step_flops(experiment: Experiment, group: Group, batch: Mapping[str, Any]) -> Flops:
    """Returns the operations of a train step with the tasks of `group` on a global batch.

    Arrays of the batch may be shapes. The optimizer's own (Muon's) are not among them.
    """
    state = experiment.states.shapes
    return gradient_flops(loss_of_step(experiment, group), state.params, state, dict(batch))


def loss_of_step(experiment: Experiment, group: Group) -> Callable[..., Any]:
    """Returns the function (params, state, batch) -> loss that a step with these tasks descends."""
    tasks = {name: experiment.tasks[name] for name in group}
    fixed = experiment.model, tasks, experiment.config.training
    return lambda params, state, batch: total_loss(*fixed, state, state.teacher, batch, params)[0]


def gradient_flops(loss: Callable[..., Any], params: Any, *inputs: Any) -> Flops:
    """Returns the operations of loss(params, *inputs) and of its gradient in `params`.

    Arguments may be shapes. What `jax.checkpoint` repeats, that is what of it does not depend on
    the loss's cotangent, is computed again; a loss with a backward pass of its own counts as it is.
    """

    def gradient(slope: Any, params: Any, *inputs: Any) -> Any:
        value, pull = jax.vjp(lambda params: loss(params, *inputs), params)
        return value, pull(slope)

    forward = matmul_flops(loss, params, *inputs)
    slope = jax.ShapeDtypeStruct((), jnp.float32)
    jaxpr = _traced(gradient, slope, params, *inputs).jaxpr
    total, again, _ = _count(jaxpr, [i == 0 for i in range(len(jaxpr.invars))])
    return Flops(forward, total - again - forward, again)


def matmul_flops(function: Callable[..., Any], *inputs: Any) -> float:
    """Returns the operations of `function(*inputs)`; arguments may be shapes."""
    jaxpr = _traced(function, *inputs).jaxpr
    return _count(jaxpr, [False] * len(jaxpr.invars))[0]


Count = tuple[float, float, list[bool]]


def _traced(function: Callable[..., Any], *inputs: Any) -> ClosedJaxpr:
    with for_any_platform():
        return jax.make_jaxpr(function)(*inputs)


def _count(jaxpr: Jaxpr, marked: list[bool], again: bool = False) -> Count:
    """Returns all operations, those computed again, and which outputs depend on marked inputs.

    In a program that is computed `again`, these are the ones that depend on no marked input.
    """
    seen = {var for var, mark in zip(jaxpr.invars, marked) if mark}
    depends = lambda atom: not isinstance(atom, Literal) and atom in seen
    total = repeated = 0.0
    for eqn in jaxpr.eqns:
        given, name = [depends(atom) for atom in eqn.invars], eqn.primitive.name
        own = _PRODUCTS[name](eqn) if name in _PRODUCTS else 0.0
        parts = own, own * (again and not any(given)), [any(given)] * len(eqn.outvars)
        if inner := list(_inner(eqn)):
            within = again or bool(eqn.params.get("differentiated"))  # of `jax.checkpoint`
            parts = _count_inner(eqn, inner, given, within)
        total, repeated = total + parts[0], repeated + parts[1]
        seen.update(var for var, mark in zip(eqn.outvars, parts[2]) if mark)
    return total, repeated, [depends(atom) for atom in jaxpr.outvars]


def _count_inner(eqn: Any, inner: list[Jaxpr], given: list[bool], again: bool) -> Count:
    """Counts an equation that runs programs: a loop, a branch, a call.

    A loop that runs as long as a condition holds counts as one turn of it.
    """
    name = eqn.primitive.name
    if name == "scan":
        return _count_scan(eqn, inner[0], given, again)
    if name == "cond":
        branches = [_count(branch, given[1:], again) for branch in inner]
        total, repeated, _ = max(branches, key=lambda branch: branch[0])
        marks = [given[0] or any(mark) for mark in zip(*(branch[2] for branch in branches))]
        return total, repeated, marks
    times = eqn.params["mesh"].size if name == "shard_map" else 1
    if len(inner) == 1 and len(inner[0].invars) == len(given):
        total, repeated, marks = _count(inner[0], given, again)
        return times * total, times * repeated, marks
    counts = [_count(jaxpr, [any(given)] * len(jaxpr.invars), again) for jaxpr in inner]
    totals = (times * sum(count[i] for count in counts) for i in (0, 1))
    return *totals, [any(given)] * len(eqn.outvars)


def _count_scan(eqn: Any, body: Jaxpr, given: list[bool], again: bool) -> Count:
    """Counts a loop; what one turn carries to the next is marked from the turn that marks it."""
    carried = _number_of_equal_rank(eqn.outvars, body.outvars)
    first = _number_of_equal_rank(eqn.invars, body.invars) - carried
    given = list(given)
    while True:
        total, repeated, marks = _count(body, given, again)
        new = [a or b for a, b in zip(given[first:], marks[:carried])]
        if new == given[first : first + carried]:
            return eqn.params["length"] * total, eqn.params["length"] * repeated, marks
        given[first : first + carried] = new


def _number_of_equal_rank(outside: list[Any], inside: list[Any]) -> int:
    """Returns how many variables of a loop are not those of which each turn has its own slice."""
    return sum(x.aval.ndim == y.aval.ndim for x, y in zip(outside, inside))


def _inner(eqn: Any) -> Iterator[Jaxpr]:
    """Yields the programs among an equation's parameters."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _dot_flops(eqn: Any) -> float:
    (contracted, _), (batched, _) = eqn.params["dimension_numbers"]
    left, right = (atom.aval.shape for atom in eqn.invars)
    shared = math.prod(left[i] for i in (*contracted, *batched))
    return 2.0 * math.prod(left) * math.prod(right) / max(shared, 1)


def _convolution_flops(eqn: Any) -> float:
    """Zeros that a stride puts between the numbers of the left side in a gradient do not count."""
    features = eqn.params["dimension_numbers"].rhs_spec[0]
    kernel, output = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    products = math.prod(output) * math.prod(kernel) / max(kernel[features], 1)
    return 2.0 * products / math.prod(eqn.params["lhs_dilation"])


_PRODUCTS = {"dot_general": _dot_flops, "conv_general_dilated": _convolution_flops}
