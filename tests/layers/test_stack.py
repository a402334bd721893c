"""Tests of the stack: scanned, unrolled and rematerialised alike, layer after layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import count_draws, random_variables
from vlp_jax.layers.blocks import BertLayer, ViTBlock
from vlp_jax.layers.stack import REMAT_POLICIES, TransformerStack

B, T, D = 2, 3, 8
STATES = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
MASK = np.array([[True, True, False], [True, True, True]])


class Part(nn.Module):
    """A part with a stack of BERT layers."""

    layers: int = 3
    scan_layers: str = "auto"
    remat: str = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, states, mask, *, deterministic=True):
        block = BertLayer(2, 12, self.dropout, self.dropout, name="layers")
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        return stack(states, mask, deterministic=deterministic)


@pytest.fixture(scope="module")
def variables():
    return random_variables(Part(), np.random.default_rng(), STATES, MASK)


def test_layers_follow_each_other(variables):
    states = STATES
    for i in range(3):
        p = slow.layer(variables["params"]["layers"], i)
        states = slow.bert_layer(p, states, slow.sees(T, MASK))
    np.testing.assert_allclose(Part().apply(variables, STATES, MASK), states, atol=5e-5)


@pytest.mark.parametrize("remat", REMAT_POLICIES)
@pytest.mark.parametrize("scan", ["on", "off"])
def test_values_and_gradients_do_not_depend_on_how_it_runs(variables, scan, remat):
    def gradient(module):
        loss = lambda v: jnp.sin(module.apply(v, STATES, MASK)).sum()
        return jax.jit(jax.value_and_grad(loss))(variables)

    plain, other = gradient(Part(scan_layers="on")), gradient(Part(scan_layers=scan, remat=remat))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), plain, other)


@pytest.mark.parametrize("scan", ["on", "off"])
def test_on_gpus_states_and_their_gradients_lie_in_rows(variables, scan, monkeypatch):
    """A layout taken over from the gradient of [CLS] had all states of a ViT transposed."""
    module = Part(scan_layers=scan)
    loss = lambda v, states: jnp.sin(module.apply(v, states, MASK)[:, 0]).sum()
    gradient = lambda: jax.value_and_grad(loss, (0, 1))
    plain = jax.jit(gradient())(variables, STATES)
    assert "layout_constraint" not in str(jax.make_jaxpr(gradient())(variables, STATES))
    monkeypatch.setattr("vlp_jax.layers.platform.device_kind", lambda: "gpu")
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    assert "layout_constraint" not in str(jax.make_jaxpr(gradient())(variables, STATES))
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 0))
    traced = str(jax.make_jaxpr(gradient())(variables, STATES))
    assert traced.count("layout_constraint") == 2  # in the one layer of the loop, there and back
    found = jax.jit(gradient())(variables, STATES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), plain, found)


def kept(remat: str, length: int = 8) -> int:
    """Returns how many numbers the forward pass of a layer keeps, beyond parameters and input."""
    module, given = (
        Part(layers=1, scan_layers="off", remat=remat),
        (jnp.zeros((B, length, D)), None),
    )
    variables = jax.eval_shape(lambda: nn.unbox(module.init(jax.random.key(0), *given)))
    run = lambda v: jax.vjp(lambda s: module.apply(v, s, None), given[0])[1]
    residuals = jax.tree.leaves(jax.eval_shape(run, variables))
    return sum(x.size for x in residuals)


def test_policies_keep_less_and_less():
    none, dots, cheap, full = (kept(name) for name in ("none", "dots", "cheap", "full"))
    # The scores of attention are what "cheap" does without.
    assert none > dots > cheap > full


@pytest.mark.parametrize("scan", ["on", "off"])
def test_each_layer_drops_other_numbers(variables, scan):
    module = Part(scan_layers=scan, dropout=0.5)
    run = lambda v: module.apply(
        v, STATES, MASK, deterministic=False, rngs={"dropout": jax.random.key(3)}
    )
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), variables)
    _, made = module.apply(
        same,
        STATES,
        MASK,
        deterministic=False,
        rngs={"dropout": jax.random.key(3)},
        mutable=["attention", "intermediates"],
    )
    outputs = made["intermediates"]["layers"]["output"][0]
    assert outputs.shape == (3, B, T, D)
    assert count_draws(jax.make_jaxpr(run)(variables).jaxpr) > 0


def test_layers_start_with_weights_of_their_own():
    boxed = Part().init(jax.random.key(0), STATES, MASK)["params"]["layers"]
    kernel = boxed["self_attention"]["attention"]["query"]["kernel"]
    assert kernel.names == ("layers", "embed", "heads", "kv")
    values = np.asarray(kernel.unbox(apply_constraint=False))
    assert values.shape == (3, D, 2, D // 2)
    assert np.abs(values[0] - values[1]).max() > 1e-3


def test_without_layers_there_are_no_parameters():
    output, variables = Part(layers=0).init_with_output(jax.random.key(0), STATES, MASK)
    assert not variables
    np.testing.assert_array_equal(output, STATES)


def test_only_a_scanned_stack_is_a_loop(variables):
    def loops(scan):
        lowered = jax.jit(Part(scan_layers=scan).apply).lower(variables, STATES, MASK)
        return lowered.as_text().count("stablehlo.while")

    assert (loops("on"), loops("off")) == (1, 0)


def test_an_unknown_policy_is_named(variables):
    with pytest.raises(ValueError, match=r'config.training.remat: unknown remat policy "chep"'):
        Part(remat="chep").apply(variables, STATES, MASK)


class Mixed(nn.Module):
    """Half-precision states that read a context in float32."""

    @nn.compact
    def __call__(self, states, context):
        stack = TransformerStack(BertLayer(2, 12, name="layers"), 2)
        return stack(states, None, context, None, deterministic=True)


def test_a_stream_keeps_its_precision():
    run = lambda: Mixed().init_with_output(
        jax.random.key(0), STATES.astype(jnp.bfloat16), jnp.asarray(STATES)
    )
    assert jax.eval_shape(run)[0].dtype == jnp.bfloat16


def test_blocks_without_a_mask():
    block = ViTBlock(2, 12)
    variables = random_variables(block, np.random.default_rng(), STATES, None, deterministic=True)
    every = np.ones((B, T), bool)
    run = lambda mask: block.apply(variables, STATES, mask, deterministic=True)
    np.testing.assert_array_equal(run(None), run(every))
