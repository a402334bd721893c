"""Tests of counted operations, against closed forms and the compiler's own count."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from vlp_jax.cli.measure.bench_data import on_drawn_data
from vlp_jax.cli.measure.bench_models import model_to_time
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.stack import TransformerStack
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.flops import gradient_flops, loss_of_step, matmul_flops, step_flops

FAMILIES = ("albef", "uniter", "vilbert", "lxmert", "visualbert", "oscar")


def ones(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_products_with_batch_axes():
    einsum = lambda a, b: jnp.einsum("bthk,bshk->bhts", a, b)
    assert matmul_flops(einsum, ones(2, 3, 5, 7), ones(2, 11, 5, 7)) == 2 * 2 * 5 * 3 * 11 * 7


@pytest.mark.parametrize("groups", (1, 2))
def test_a_strided_convolution_and_its_gradient(groups):
    def loss(kernel, image):
        numbers = ("NHWC", "HWIO", "NHWC")
        options = dict(dimension_numbers=numbers, feature_group_count=groups)
        return jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", **options).sum()

    kernel, image = ones(2, 2, 4 // groups, 6), ones(3, 8, 8, 4)
    forward = 2 * 3 * 4 * 4 * 6 * 2 * 2 * 4 // groups
    flops = gradient_flops(loss, kernel, image)
    assert (flops.forward, flops.backward, flops.recomputed) == (forward, forward, 0)
    both = gradient_flops(lambda pair: loss(*pair), (kernel, image))
    assert both.backward == 2 * forward


def test_branches_and_calls():
    square = jax.jit(lambda x: x @ x)
    function = lambda x, wide: jax.lax.cond(wide, lambda x: square(x) @ x, square, x)
    assert matmul_flops(function, ones(4, 4), jax.ShapeDtypeStruct((), bool)) == 2 * 2 * 4**3


@pytest.mark.parametrize("scanned", ("on", "off"))
@pytest.mark.parametrize("remat", ("none", "full"))
def test_layers_and_what_is_computed_again(scanned, remat):
    """Four projections of width D, scores and their sum, and two products of the feed-forward."""
    b, t, d, m, layers = 2, 6, 8, 16, 3
    stack = TransformerStack(BertLayer(2, m, name="layers"), layers, scanned, remat)
    params = jax.eval_shape(
        lambda: stack.init(jax.random.key(0), jnp.zeros((b, t, d)), None, deterministic=True)
    )
    loss = lambda params, x: stack.apply(params, x, None, deterministic=True).sum()
    flops = gradient_flops(loss, params, ones(b, t, d))
    layer = 2 * b * (4 * t * d * d + 2 * t * t * d + 2 * t * d * m)
    assert flops.forward == layers * layer
    assert flops.backward == 2 * layers * layer
    assert flops.recomputed == (0 if remat == "none" else layers * layer)


def test_a_gradient_that_the_forward_pass_computes_is_not_computed_again():
    """As of losses whose logits are too large to be kept: there all is done at once, in a loop."""

    @jax.custom_vjp
    def loss(w, x):
        return (x @ w).sum()

    def both(w, x):
        turn = lambda i, _: jax.value_and_grad(lambda w: (x @ w).sum())(w)
        return jax.lax.fori_loop(0, x.astype(int).sum(), turn, (0.0, w))

    loss.defvjp(both, lambda slope, given: (slope * given, None))
    product = 2 * 4 * 3 * 5
    flops = gradient_flops(lambda w, x: loss(w, x), ones(3, 5), ones(4, 3))
    assert (flops.forward, flops.backward, flops.recomputed) == (product, product, 0)


def experiment_of(name: str) -> Experiment:
    """Returns a model as wide as published, with one layer of each kind, not scanned."""
    config = model_to_time(name, "base", 8, "float32")
    single = {"layers": 1, "image_layers": (1,), "text_layers": (1,)}
    one = lambda args: args | {key: value for key, value in single.items() if args.get(key)}
    parts = ("vision_args", "text_args", "fusion_args")
    args = {part: one(getattr(config.model, part)) for part in parts}
    model = dataclasses.replace(config.model, **args, scan_layers="off")
    return on_drawn_data(dataclasses.replace(config, model=model))


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_step_of_every_family_has_what_the_compiler_counts(name):
    """The compiler counts norms and the like as well, which at this width is little."""
    experiment = experiment_of(name)
    (group,) = experiment.schedule.every_group
    (source,) = experiment.config.data.sources
    batch, state = experiment.mixture[source].first, experiment.states.shapes
    flops = step_flops(experiment, group, batch)
    assert flops.recomputed < 0.01 * flops.model  # the probabilities of ALBEF's 257 image tokens
    gradient = jax.jit(jax.value_and_grad(loss_of_step(experiment, group)))
    counted = gradient.lower(state.params, state, batch).cost_analysis()["flops"]
    assert flops.model == pytest.approx(counted, rel=0.02)
