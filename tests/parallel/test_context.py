"""Tests of activation constraints: present inside of a mesh, absent outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import constrain, make_mesh, use_mesh


@pytest.fixture(scope="module")
def mesh(devices8):
    return make_mesh(data=2, fsdp=2, tensor=2, devices=devices8)


def double(x):
    return constrain(x * 2, "batch", None, "heads")


def test_the_constraint_is_in_the_jaxpr(mesh):
    x = jnp.ones((4, 3, 2))
    with use_mesh(mesh):
        inside = str(jax.make_jaxpr(double)(x))
    assert "sharding_constraint" in inside
    assert "sharding_constraint" not in str(jax.make_jaxpr(double)(x))


def test_the_result_is_sharded_and_unchanged(mesh):
    x = np.random.default_rng().normal(size=(8, 3, 2)).astype(np.float32)
    with use_mesh(mesh):
        y = jax.jit(double)(x)
    assert y.sharding.spec == P(("data", "fsdp"), None, "tensor")
    np.testing.assert_array_equal(y, x * 2)


def test_an_indivisible_dimension_stays_whole(mesh):
    with use_mesh(mesh):
        y = jax.jit(double)(jnp.ones((4, 1, 3)))
    assert y.sharding.is_equivalent_to(
        jax.NamedSharding(mesh, P(("data", "fsdp"), None, None)), y.ndim
    )


def test_gradients_pass_through(mesh):
    with use_mesh(mesh):
        gradient = jax.jit(jax.grad(lambda x: double(x).sum()))(jnp.ones((4, 3, 2)))
    np.testing.assert_array_equal(gradient, 2)


def test_unknown_name(mesh):
    with use_mesh(mesh), pytest.raises(ValueError, match='unknown logical axis "bach".*"batch"'):
        constrain(jnp.ones((4, 2)), "bach", None)


def test_conflicting_names(mesh):
    with use_mesh(mesh), pytest.raises(ValueError, match='put mesh axis "fsdp" on two dimensions'):
        constrain(jnp.ones((4, 2)), "batch", "embed")


def test_number_of_names_is_checked_everywhere():
    with pytest.raises(ValueError, match="constrain: 1 names"):
        constrain(jnp.ones((4, 2)), "batch")


def test_rules_that_do_not_fit_the_mesh(mesh):
    with pytest.raises(ValueError, match='no axis "model"'), use_mesh(mesh, (("mlp", "model"),)):
        pass
    assert jax.sharding.get_abstract_mesh().empty
