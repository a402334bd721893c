"""ResNet: shapes, what is trained and what is not, layouts, mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta
from flax.traverse_util import flatten_dict

from vlp_jax.config import OptimizerConfig
from vlp_jax.encoders.resnet import ResNet, StoredNorm
from vlp_jax.training.optimizer import make_optimizer
from vlp_jax.weights.conversion import count_parameters, published_shapes, to_published
from vlp_jax.weights.zoo.resnet import (
    encoder_args,
    encoder_shapes,
    huggingface_table,
    load_resnet,
    read_resnet,
    torchvision_table,
)

TINY = dict(image_size=33, embedding_width=4, widths=(8, 12), depths=(2, 1), block="bottleneck")
STATISTICS = ("mean", "variance")


def tiny(**changes):
    """A tiny encoder, its fresh parameters and an image batch."""
    model = ResNet(**(TINY | changes))
    batch = {"image": jax.random.randint(jax.random.key(1), (2, 33, 33, 3), 0, 256).astype("uint8")}
    params = meta.unbox(model.init(jax.random.key(0), batch)["params"])
    return model, params, batch


@pytest.mark.parametrize(
    "depths, trained, tensors", [((3, 4, 6, 3), 23_508_032, 265), ((3, 4, 23, 3), 42_500_160, 520)]
)
def test_published_sizes(depths, trained, tensors):
    """Counts of ResNet-50 and -101 without their classifier, running statistics apart."""
    args = encoder_args({"depths": depths})
    shapes = encoder_shapes(args)
    flat = flatten_dict(shapes, sep="/")
    stored = [path for path in flat if path.rsplit("/")[-1] in STATISTICS]
    assert count_parameters(shapes) - sum(flat[p].size for p in stored) == trained
    for table in (torchvision_table(args), huggingface_table(args)):
        assert len(published_shapes(shapes, table)) == tensors
        assert table.paths == set(flat)


@pytest.mark.slow
def test_tokens_are_grid_cells_row_by_row():
    model, params, batch = tiny()
    tokens, sown = model.apply({"params": params}, batch, mutable=["intermediates"])
    (grid,) = sown["intermediates"]["stage_1_output"]
    assert grid.shape == (2, 5, 5, 12)  # 33 -> 17 -> 9 -> 9 -> 5
    np.testing.assert_array_equal(tokens.states[:, 7], grid[:, 1, 2])
    assert tokens.mask.shape == (2, 25) and tokens.mask.all()


def test_projection_adds_positions():
    model, params, batch = tiny(width=6)
    assert params["positions"].shape == (1, 25, 6)
    tokens = model.apply({"params": params}, batch)
    assert tokens.states.shape == (2, 25, 6)
    np.testing.assert_allclose(tokens.states.mean(-1), 0.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_reach_what_is_trained(frozen):
    model, params, _ = tiny(frozen_norm=frozen)
    params = jax.tree.map(lambda x: jnp.abs(x) + 0.1, params)  # positive, so that no ReLU is dead
    batch = {"image": jnp.ones((1, 33, 33, 3)) + jax.random.uniform(jax.random.key(1), (33, 33, 3))}
    loss = lambda p: jnp.square(model.apply({"params": p}, batch).states).sum()
    for path, grad in flatten_dict(jax.grad(loss)(params), sep="/").items():
        name = path.rsplit("/")[-1]
        trained = name not in STATISTICS and (name == "kernel" or not frozen)
        assert bool(jnp.any(grad != 0)) == trained, path


@pytest.mark.slow
def test_optimizer_leaves_statistics_alone():
    _, params, _ = tiny()
    config = OptimizerConfig(weight_decay=0.5, groups=({"pattern": ".*", "decay_all": True},))
    optimizer = make_optimizer(config, 10, params)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    norm = updates["stem"]["norm"]
    assert not norm["mean"].any() and not norm["variance"].any() and norm["scale"].all()


def test_fresh_trainable_blocks_start_as_the_identity():
    _, params, _ = tiny(frozen_norm=False)
    assert not params["stage_0_block_1"]["layer_2"]["norm"]["scale"].any()
    _, params, _ = tiny(frozen_norm=True)
    assert params["stage_0_block_1"]["layer_2"]["norm"]["scale"].all()


def test_stored_norm_by_hand():
    params = {
        "scale": jnp.array([2.0]),
        "bias": jnp.array([1.0]),
        "mean": jnp.array([3.0]),
        "variance": jnp.array([4.0 - 1e-5]),
    }
    out = StoredNorm(frozen=True).apply({"params": params}, jnp.full((1, 1, 1, 1), 7.0))
    np.testing.assert_allclose(out, 5.0, rtol=1e-6)


def test_both_layouts_hold_the_same_parameters():
    _, params, _ = tiny()
    params = jax.tree.map(
        lambda x: np.asarray(jax.random.uniform(jax.random.key(3), x.shape, minval=0.1)), params
    )
    for table in (torchvision_table(TINY), huggingface_table(TINY, "resnet.")):
        state = to_published(params, table) | {"fc.weight": np.zeros((3, 12), np.float32)}
        again = load_resnet(state, TINY)
        assert all(
            np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True)
        )


def test_half_precision_stays_half():
    model, params, batch = tiny(dtype="bfloat16", width=6)
    states = model.apply({"params": params}, batch).states
    assert states.dtype == jnp.bfloat16 and bool(jnp.isfinite(states).all())


def test_an_empty_config_is_resnet_50():
    assert ResNet(**encoder_args({})) == ResNet()


def test_mistakes_are_explained(tmp_path):
    model, params, batch = tiny()
    with pytest.raises(ValueError, match="33×33 pixels and got 32×33"):
        model.apply({"params": params}, {"image": batch["image"][:, :32]})
    with pytest.raises(ValueError, match="one entry each for every stage"):
        tiny(depths=(1,))
    with pytest.raises(ValueError, match="num_channels = 4"):
        encoder_args({"num_channels": 4})
    with pytest.raises(FileNotFoundError):
        read_resnet(tmp_path / "nowhere")
