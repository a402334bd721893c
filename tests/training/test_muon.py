"""Tests of Muon: which parameters it takes, orthogonal updates, and that the rest is Adam's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlp_jax.config import ExperimentConfig, OptimizerConfig, build
from vlp_jax.training.optimizer import make_optimizer

SHAPES = {
    "text": {"layers": {
        "attention": {
            "query": {"kernel": (2, 6, 2, 3), "bias": (2, 2, 3)},
            "output": {"kernel": (2, 2, 3, 6)},
        },
        "expand": {"kernel": (2, 6, 12), "bias": (2, 12)},
    }},
    "fusion": {"image_projection": {"kernel": (4, 6)}},
    "vision": {"stem_0": {"kernel": (3, 3, 2, 4)}, "positions": (1, 5, 6)},
    "heads_mlm": {"transform": {"kernel": (6, 6)}},
}  # fmt: skip
MATRICES = {
    ("text", "layers", "attention", "query", "kernel"): (6, 6),
    ("text", "layers", "attention", "output", "kernel"): (6, 6),
    ("text", "layers", "expand", "kernel"): (6, 12),
    ("fusion", "image_projection", "kernel"): (4, 6),
    ("vision", "stem_0", "kernel"): (18, 4),
}


def draw(seed: int):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def first_updates(name: str, seed: int = 0, **fields):
    """Returns the updates of one step, by path."""
    fields = dict(schedule="constant", learning_rate=1.0, weight_decay=0.0) | fields
    config = OptimizerConfig(name=name, **fields)
    params = draw(seed + 1)
    optimizer = make_optimizer(config, 10, params)
    updates, _ = optimizer.update(draw(seed), optimizer.init(params), params)
    flat, _ = jax.tree_util.tree_flatten_with_path(updates)
    return {tuple(key.key for key in path): np.asarray(x) for path, x in flat}


@pytest.mark.slow
def test_matrices_get_nearly_orthogonal_updates_of_adams_size():
    updates = first_updates("muon", seed=3)
    for path, shape in MATRICES.items():
        # Of a stack, each layer on its own.
        values = np.linalg.svd(updates[path].reshape(-1, *shape), compute_uv=False)
        # Five Newton-Schulz steps bring every singular value near one, not to it.
        scale = 0.2 * np.sqrt(max(shape))
        assert values.min() > 0.5 * scale and values.max() < 1.3 * scale, path


@pytest.mark.slow
def test_the_size_of_updates_is_an_option():
    usual, large = first_updates("muon", seed=6), first_updates("muon", seed=6, muon_rms=0.8)
    for path in usual:
        factor = 4 if path in MATRICES else 1
        np.testing.assert_allclose(large[path], factor * usual[path], rtol=1e-6)


@pytest.mark.slow
def test_an_attention_update_mixes_its_heads():
    """[D, H, K] is one D × HK matrix: orthogonal rows would be impossible within each head."""
    update = first_updates("muon", seed=4)[("text", "layers", "attention", "query", "kernel")][0]
    joined = update.reshape(6, 6)
    gram = joined @ joined.T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.5 * np.diag(gram).min()


def test_everything_else_moves_as_with_adamw():
    muon, adam = first_updates("muon", seed=5), first_updates("adamw", seed=5)
    assert muon.keys() == adam.keys()
    for path in muon.keys() - MATRICES.keys():
        np.testing.assert_array_equal(muon[path], adam[path])


def test_a_layer_moves_as_it_would_alone():
    """The update of a layer does not depend on the others of its stack."""
    params, grads = draw(1), draw(0)
    louder = jax.tree.map(jnp.copy, grads)
    expand = louder["text"]["layers"]["expand"]
    expand["kernel"] = expand["kernel"].at[1].multiply(100.0)
    optimizer = make_optimizer(OptimizerConfig(name="muon", learning_rate=1.0), 10, params)
    moves = [optimizer.update(g, optimizer.init(params), params)[0] for g in (grads, louder)]
    first, second = (m["text"]["layers"]["expand"]["kernel"][0] for m in moves)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_momentum_carries_over_steps():
    params = draw(0)
    optimizer = make_optimizer(OptimizerConfig(name="muon", learning_rate=1.0), 10, params)
    state = optimizer.init(params)
    _, state = optimizer.update(draw(1), state, params)
    silent, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
    assert float(optax.tree.norm(silent["text"])) > 0.1


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_first_moments_may_be_kept_in_half_precision(name):
    params, moments = draw(1), {}
    for dtype in ("float32", "bfloat16"):
        config = OptimizerConfig(name=name, momentum_dtype=dtype, learning_rate=1.0)
        optimizer = make_optimizer(config, 10, params)
        state = optimizer.init(params)
        for seed in range(3):
            updates, state = optimizer.update(draw(seed), state, params)
        found = optax.tree_utils.tree_get_all_with_path(state, "mu")
        moments[dtype] = jax.tree.leaves([mu for _, mu in found])
        assert {str(mu.dtype) for mu in moments[dtype]} == {dtype}
        assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    for full, half in zip(*moments.values(), strict=True):
        np.testing.assert_allclose(half.astype(np.float32), full, rtol=0.02, atol=0.02)


def test_a_momentum_of_one_is_refused():
    with pytest.raises(ValueError, match=r"config.optimizer.muon_momentum = 1.0: must be in"):
        build(ExperimentConfig, {"optimizer": {"muon_momentum": 1.0}}, "config")
