"""Tests of shardings of parameters and optimizer state, with [D, H, K] kernels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import (
    DEFAULT_RULES,
    make_mesh,
    shardings_for,
    shardings_like,
    unbox,
    use_mesh,
)


class Toy(nn.Module):
    """One head projection and one feed-forward kernel."""

    heads: int = 4

    @nn.compact
    def __call__(self, x):
        normal = nn.initializers.normal(1.0)
        split = nn.with_logical_partitioning(normal, ("embed", "heads", "kv"))
        wide = nn.with_logical_partitioning(normal, ("embed", "mlp"))
        kernel = self.param("split", split, (x.shape[-1], self.heads, 3))
        scale = self.param("scale", nn.initializers.ones_init(), (3,))
        out = jnp.einsum("bd,dhk->bhk", x, kernel) * scale
        return out, x @ self.param("wide", wide, (x.shape[-1], 8))


@pytest.fixture(scope="module")
def mesh(devices8):
    return make_mesh(data=2, fsdp=2, tensor=2, devices=devices8)


def abstract(heads=4):
    return jax.eval_shape(Toy(heads).init, jax.random.key(0), jnp.ones((2, 6)))


def test_shardings_and_report(mesh):
    shardings, report = shardings_for(abstract(), mesh)
    specs = jax.tree.map(lambda s: s.spec, shardings)["params"]
    assert specs == {
        "split": P("fsdp", "tensor", None),
        "wide": P("fsdp", "tensor"),
        "scale": P(None),
    }
    assert report.total_bytes == 4 * (6 * 4 * 3 + 6 * 8 + 3)
    assert report.replicated_bytes == 12
    assert report.sharded_bytes_per_device == 72 + 48
    assert report.fallbacks == ()
    assert report.unused_rules == ("vocab",)


def test_init_is_sharded_and_equal_to_the_unsharded_one(mesh):
    x = jnp.ones((2, 6))
    expected = unbox(Toy().init(jax.random.key(3), x))
    shardings, _ = shardings_for(abstract(), mesh)
    with use_mesh(mesh):
        init = jax.jit(lambda key: unbox(Toy().init(key, x)), out_shardings=shardings)
        params = init(jax.random.key(3))
    assert params["params"]["split"].addressable_shards[0].data.shape == (3, 2, 3)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_works_inside_of_a_mesh_too(mesh):
    with use_mesh(mesh):
        inside, _ = shardings_for(abstract(), mesh)
    assert inside == shardings_for(abstract(), mesh)[0]


def test_indivisible_heads_fall_back_and_are_reported(mesh):
    shardings, report = shardings_for(abstract(heads=5), mesh)
    assert shardings["params"]["split"].spec == P("fsdp", None, None)
    assert report.fallbacks == ("params/split: dimension 1 \"heads\" of size 5 by 'tensor'=2",)
    assert report.fallbacks[0] in report.text()


def test_unannotated_leaves_are_reported(mesh):
    text = shardings_for(abstract(), mesh)[1].text()
    assert "without axis names, replicated:\n  params/scale" in text


def test_misspelt_name_names_the_parameter(mesh):
    box = nn.LogicallyPartitioned(jax.ShapeDtypeStruct((4, 4), jnp.float32), ("embed", "hads"))
    with pytest.raises(ValueError, match='text/kernel: unknown logical axis "hads".*"heads"'):
        shardings_for({"text": {"kernel": box}}, mesh)


def test_a_queue_follows_its_rule(mesh):
    box = nn.LogicallyPartitioned(jax.ShapeDtypeStruct((16, 3), jnp.float32), ("queue", None))
    assert shardings_for({"q": box}, mesh)[0]["q"].spec == P(None, None)
    rules = tuple((n, "data" if n == "queue" else axes) for n, axes in DEFAULT_RULES)
    assert shardings_for({"q": box}, mesh, rules)[0]["q"].spec == P("data", None)


@pytest.mark.parametrize(
    "optimizer", [optax.adamw(1e-3), optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9))]
)
def test_moments_follow_their_parameters(mesh, optimizer):
    params = unbox(abstract())
    shardings, _ = shardings_for(abstract(), mesh)
    state = jax.eval_shape(optimizer.init, params)
    expected = optax.tree_map_params(
        optimizer,
        lambda _, sharding: sharding.spec,
        state,
        shardings,
        transform_non_params=lambda _: P(),
    )
    assert jax.tree.map(lambda s: s.spec, shardings_like(shardings, state)) == expected


def test_masked_and_factored_states_get_valid_shardings(mesh):
    params = {"params": {"w": jnp.ones((256, 128)), "b": jnp.ones((128,))}}
    boxes = jax.tree.map(lambda x: nn.LogicallyPartitioned(x, ("embed", "mlp")[-x.ndim :]), params)
    shardings, _ = shardings_for(boxes, mesh)
    mask = {"params": {"w": True, "b": False}}
    optimizer = optax.chain(optax.masked(optax.adam(0.1), mask), optax.adafactor(0.1))
    placed = jax.device_put(state := optimizer.init(params), shardings_like(shardings, state))
    moments = placed[0].inner_state[0].mu["params"]["w"]
    assert moments.sharding.spec == P("fsdp", "tensor")
    jax.tree.map(np.testing.assert_array_equal, placed, state)


def test_a_whole_state_with_momentum_copy_queue_and_key(mesh):
    shardings, _ = shardings_for(abstract()["params"], mesh)
    params = unbox(abstract()["params"])
    state = {
        "params": params,
        "momentum": params,
        "queue": jax.ShapeDtypeStruct((6, 8), jnp.float32),
        "rng": jax.eval_shape(jax.random.key, 0),
        "step": jax.ShapeDtypeStruct((), jnp.int32),
    }
    placed = shardings_like(shardings, state)
    assert placed["momentum"] == placed["params"] == shardings
    assert {placed[k].spec for k in ("queue", "rng", "step")} == {P()}


def test_no_parameters(mesh):
    with pytest.raises(ValueError, match="no leaves"):
        shardings_like({}, {"step": 1})
