"""Tests of attention against a softmax written out, its masks, dtypes and shapes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax._src.cudnn import fused_attention_stablehlo
from jax.experimental.pallas import tpu as pltpu

from tests.layers import slow
from tests.model.tiny import random_variables
from vlp_jax.layers.attention import (
    CONTEXT,
    Attention,
    Implementation,
    _by_flash,
    attention_bias,
    choose_implementation,
    head_size,
)
from vlp_jax.layers.attention import attend as attend_to
from vlp_jax.layers.platform import for_any_platform
from vlp_jax.layers.projection import SplitHeads

B, T, S, D, E = 2, 3, 4, 8, 6
MODULE = Attention(heads=2, features=5, inner=4)


@jax.jit
def attend(variables, states, context, mask):
    return MODULE.apply(
        variables,
        states,
        context,
        mask,
        deterministic=True,
        mutable="attention",
    )


@jax.jit
def gradient(variables, states, context, mask):
    def total(states, context):
        return MODULE.apply(variables, states, context, mask, deterministic=True).sum()

    return jax.grad(total, (0, 1))(states, context)


def inputs(seed=None):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(B, T, D)).astype(np.float32)
    context = rng.normal(size=(B, S, E)).astype(np.float32)
    mask = rng.random((B, T, S)) < 0.5
    mask[..., rng.integers(S)] = True
    variables = random_variables(MODULE, rng, states, context, mask, deterministic=True)
    return variables, states, context, mask


@given(st.integers(0, 2**32 - 1))
def test_equals_a_plain_softmax(seed):
    variables, states, context, mask = inputs(seed)
    output, sown = attend(variables, states, context, mask)
    exact = slow.attention(variables["params"], states, context, mask)
    np.testing.assert_allclose(output, exact, atol=2e-5)
    (probabilities,) = sown["attention"]["probabilities"]
    assert probabilities.shape == (B, 2, T, S)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    assert not np.asarray(probabilities)[np.broadcast_to(~mask[:, None], (B, 2, T, S))].any()


def test_what_is_masked_does_not_matter_and_gets_no_gradient():
    variables, states, context, _ = inputs()
    mask = np.broadcast_to(np.array([True, True, False, False]), (B, T, S))
    other = context.copy()
    other[:, 2:] = 50 * np.random.default_rng().normal(size=(B, 2, E))
    np.testing.assert_array_equal(
        attend(variables, states, context, mask)[0], attend(variables, states, other, mask)[0]
    )
    of_context = np.asarray(gradient(variables, states, context, mask)[1])
    assert of_context[:, :2].all() and not of_context[:, 2:].any()


def test_a_row_that_sees_nothing_is_finite():
    variables, states, context, mask = inputs()
    for empty in (np.zeros_like(mask), mask & (np.arange(T) > 0)[:, None]):
        values = (
            attend(variables, states, context, empty),
            gradient(variables, states, context, empty),
        )
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(values))


def test_the_bias_of_both_kinds_of_masks():
    keys = np.array([[True, False], [True, True]])
    bias = attention_bias(keys)
    np.testing.assert_array_equal(bias, np.array([[0, -1e4], [0, 0]])[:, None, None])
    pairs = np.array([[[True, False], [False, True]]])
    np.testing.assert_array_equal(attention_bias(pairs), [[[[0, -1e4], [-1e4, 0]]]])
    assert bias.dtype == jnp.float32


def shapes(module, dtype="float32"):
    """Returns output and variables as shapes, without computing."""

    def run(states, context):
        args = states, context, jnp.ones((B, S), bool)
        return module.init_with_output(jax.random.key(0), *args, deterministic=True, mutable=True)

    struct = lambda *shape: jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(run, struct(B, T, D), struct(B, S, E))


def test_by_default_the_width_is_that_of_the_queries():
    output, variables = shapes(Attention(heads=4))
    kernels = {n: p["kernel"].value.shape for n, p in variables["params"].items()}
    assert output.shape == (B, T, D)
    assert kernels == {
        "query": (D, 4, 2),
        "key": (E, 4, 2),
        "value": (E, 4, 2),
        "output": (4, 2, D),
    }


def test_inner_width_and_features_are_free():
    output, variables = shapes(Attention(heads=3, features=7, inner=9))
    assert output.shape == (B, T, 7)
    assert variables["params"]["query"]["kernel"].value.shape == (D, 3, 3)


def test_softmax_is_in_float32_where_states_are_not():
    module = Attention(heads=2)
    output, variables = shapes(module, "bfloat16")
    assert output.dtype == jnp.bfloat16 and variables.keys() == {"params"}
    states, context = jnp.zeros((B, T, D), jnp.bfloat16), jnp.zeros((B, S, E), jnp.bfloat16)
    explain = lambda v: module.apply(v, states, context, deterministic=True, mutable="attention")
    _, made = jax.eval_shape(explain, nn.unbox(variables))
    assert made["attention"]["probabilities"][0].dtype == jnp.float32


class Shared(nn.Module):
    """Two attentions that read through the same keys and values."""

    @nn.compact
    def __call__(self, states, context, mask, *, deterministic):
        key, value = SplitHeads(2, 4, name="key"), SplitHeads(2, 4, name="value")
        for i in range(2):
            layer = Attention(2, key_projection=key, value_projection=value, name=f"attention_{i}")
            states = layer(states, context, mask, deterministic=deterministic)
        return states


def test_given_projections_are_shared():
    params = shapes(Shared())[1]["params"]
    assert set(params) == {"key", "value", "attention_0", "attention_1"}
    assert set(params["attention_0"]) == set(params["attention_1"]) == {"query", "output"}


@pytest.mark.parametrize(("width", "heads"), [(8, 3), (8, 0), (8, -2), (2, 4)])
def test_heads_that_do_not_divide_the_width(width, heads):
    with pytest.raises(ValueError, match=f"width {width} cannot be split over {heads} attention"):
        head_size(width, heads)
    with pytest.raises(ValueError, match="cannot be split"):
        shapes(Attention(heads=heads, inner=width))


def test_head_size():
    assert head_size(12, 3) == 4
    with pytest.raises(ValueError, match=r"5 attention heads \(config.model.text_args.heads\)"):
        head_size(12, 5, "config.model.text_args.heads")


def choice(platform, *, length=256, size=64, dtype="bfloat16", mask=None, **options):
    query = jax.ShapeDtypeStruct((B, length, 2, size), dtype)
    mask = None if mask is None else jax.ShapeDtypeStruct(mask, bool)
    return choose_implementation(platform, query, query, mask, **options)


def test_each_device_has_its_kernel():
    assert choice("cpu") == Implementation("xla")
    assert choice("an abacus") == Implementation("xla", "no kernel for an abacus")
    assert choice("gpu") == choice("gpu", mask=(B, 256, 256)) == Implementation("cudnn")
    assert choice("tpu") == choice("tpu", mask=(B, 256)) == Implementation("flash")
    assert choice("tpu", dtype="float32") == Implementation("flash")
    assert choice("gpu", length=25, mask=(B, 25)) == Implementation("cudnn")


@pytest.mark.parametrize(
    ("platform", "options", "why"),
    [
        ("gpu", dict(dtype="float32"), "cuDNN takes bfloat16 or float16"),
        ("gpu", dict(length=1), "cuDNN is for more than one query"),
        ("gpu", dict(size=12), "cuDNN takes no heads of 12"),
        ("gpu", dict(size=136), "cuDNN takes no heads of 136"),
        ("gpu", dict(dropout=0.1), "attention_dropout = 0.1 is for XLA alone"),
        ("tpu", dict(explain=True), "its probabilities are asked for"),
        ("tpu", dict(length=197), "lengths 197 and 197 are no multiples of 128"),
        ("tpu", dict(size=192), "flash attention takes no heads of 192"),
        ("tpu", dict(mask=(B, 256, 256)), "flash attention takes masks of keys alone"),
        ("tpu", dict(devices=2), "flash attention cannot be partitioned over devices"),
    ],
)
def test_why_a_kernel_is_not_taken(platform, options, why):
    chosen = choice(platform, **options)
    assert chosen.name == "xla" and why in chosen.why


@pytest.fixture
def gpu(monkeypatch):
    """A GPU to trace for, whose cuDNN is there to be asked about but not to be run."""
    monkeypatch.setattr("vlp_jax.layers.platform.device_kind", lambda: "gpu")
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91400)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda _: True)


def masks(rng, length):
    """Returns no mask, one of keys and one of pairs, in which every query has a key."""
    keys = rng.random((B, length)) < 0.5
    keys[:, 1] = True
    pairs = rng.random((B, length, length)) < 0.5
    pairs[..., 1] = True
    return {"none": None, "keys": keys, "pairs": pairs}


@pytest.mark.parametrize("length", [4, 5])
@pytest.mark.parametrize("kind", ["none", "keys", "pairs"])
def test_cudnn_has_a_gradient_for_every_length(gpu, length, kind):
    """A ViT of 224 pixels has 197 tokens, an odd number, for which JAX alone refuses gradients."""
    module, rng = Attention(heads=2), np.random.default_rng()
    states, mask = jnp.zeros((B, length, 16), "bfloat16"), masks(rng, length)[kind]

    def total(states, mask):
        variables = nn.unbox(module.init(jax.random.key(0), states, states, mask, **fixed))
        return module.apply(variables, states, states, mask, **fixed).sum()

    fixed = dict(deterministic=True)
    traced = jax.make_jaxpr(jax.grad(total))(states, mask)
    assert str(traced).count("dot_product_attention_bwd") == 1
    assert traced.out_avals[0].shape == states.shape


@pytest.mark.parametrize("queries, keys", [(4, 6), (5, 6), (4, 7), (5, 7)])
@pytest.mark.parametrize("kind", ["none", "keys", "pairs"])
def test_what_cudnn_is_asked_for_is_attention(gpu, monkeypatch, queries, keys, kind):
    """Computed by XLA from the same arguments, padding and lengths among them, in float32."""
    monkeypatch.setattr("vlp_jax.layers.attention.CUDNN_DTYPES", ("float32",))
    rng, asked = np.random.default_rng(), []
    compute = jax.nn.dot_product_attention

    def by_xla(query, key, value, bias, implementation, **lengths):
        asked.append((implementation, query.shape[1], key.shape[1]))
        return compute(query, key, value, bias, implementation="xla", **lengths)

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    draw = lambda length: jnp.asarray(rng.normal(size=(B, length, 2, 8)), "float32")
    query, key, value = draw(queries), draw(keys), draw(keys)
    mask = masks(rng, keys)[kind]
    mask = mask[:, :queries] if kind == "pairs" else mask

    def total(*given):
        read = attend_to(*given, mask)
        return (read**2).sum(), read

    (_, read), found = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(query, key, value)
    with for_any_platform():
        (_, plain), exact = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(query, key, value)
    assert asked == [("cudnn", queries + queries % 2, keys + keys % 2)]
    for one, other in zip((read, *found), (plain, *exact)):
        np.testing.assert_allclose(one, other, atol=5e-5)


def test_padding_for_cudnn_is_of_states_where_they_read_themselves(gpu, monkeypatch):
    """So that projections already give it; what comes out has the length of what went in."""
    seen = []

    def kernel(query, key, value, mask, counts):
        seen.append((query.shape[1], key.shape[1], counts))
        return query

    monkeypatch.setattr("vlp_jax.layers.attention._by_cudnn", kernel)
    states, module = jnp.zeros((B, 5, 16), "bfloat16"), Attention(heads=2)
    other = jnp.zeros((B, 7, 16), "bfloat16")
    variables = nn.unbox(module.init(jax.random.key(0), states, states, deterministic=True))
    seen.clear()
    for context in (states, other):
        read = module.apply(variables, states, context, deterministic=True)
        assert read.shape == states.shape
    assert seen == [(6, 6, (5, 5)), (5, 7, (5, 7))]
    # Keys that are kept for later are those of real states alone.
    _, kept = module.apply(variables, states, states, deterministic=True, mutable=[CONTEXT])
    assert kept[CONTEXT]["keys"].shape[1] == 5


def test_what_is_for_any_platform_takes_no_kernel(monkeypatch):
    monkeypatch.setattr("vlp_jax.layers.platform.device_kind", lambda: "gpu")
    monkeypatch.setattr("vlp_jax.layers.attention._by_cudnn", lambda *_: "the kernel")
    states = jnp.ones((1, 4, 2, 8), "bfloat16")
    assert attend_to(states, states, states) == "the kernel"
    with for_any_platform():
        np.testing.assert_array_equal(attend_to(states, states, states), states)
    assert attend_to(states, states, states) == "the kernel"


def test_what_is_taken_is_logged_once(caplog):
    caplog.set_level("INFO", "vlp_jax.layers.attention")
    query = jnp.ones((1, 3, 2, 4))
    for _ in range(3):
        attend_to(query, jnp.ones((1, 71, 2, 4)), jnp.ones((1, 71, 2, 4)))
    assert caplog.messages == ["attention of 3 over 71 positions by xla"]


def test_the_kernel_of_tpus_agrees():
    """Interpreted here; a fully masked row reads all keys alike in it, so rows have a key."""
    rng = np.random.default_rng()
    query, key, value = (jnp.asarray(rng.normal(size=(1, 128, 1, 64)), "float32") for _ in range(3))
    mask = jnp.arange(128)[None] < 100
    with pltpu.force_tpu_interpret_mode():
        read = _by_flash(query, key, value, mask)
    np.testing.assert_allclose(read, attend_to(query, key, value, mask), atol=2e-5)


def test_explain_mode_differentiates_by_the_probabilities():
    variables, states, context, mask = inputs()
    shift = {"probabilities": (jnp.zeros((B, 2, T, S)),)}

    def total(shift):
        given = variables | {"attention_shift": shift}
        return MODULE.apply(given, states, context, mask, deterministic=True, mutable="attention")[
            0
        ].sum()

    (gradient,) = jax.grad(total)(shift)["probabilities"]
    p = variables["params"]
    value = np.einsum("bse,ehk->bshk", context, p["value"]["kernel"]) + p["value"]["bias"]
    exact = np.einsum("bshk,hkf->bhs", value, p["output"]["kernel"])[:, :, None]
    np.testing.assert_allclose(gradient, np.broadcast_to(exact, gradient.shape), atol=1e-4)
