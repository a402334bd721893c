"""The convolutions of detectors: groups, the stem's pooling, pictures in a larger frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from vlp_jax.detectors.trunk import Stage, Trunk
from vlp_jax.encoders.resnet import Convolution


def fresh(module, *inputs):
    """Random positive parameters, so that every shift and scale counts."""
    params = meta.unbox(jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"])
    rng = np.random.default_rng()
    draw = lambda x: jnp.asarray(rng.uniform(0.2, 1.0, x.shape) * rng.choice([-1, 1], x.shape))
    drawn = jax.tree.map(lambda x: draw(x).astype(jnp.float32), params)
    positive = lambda path, x: jnp.abs(x) if path[-1].key == "variance" else x
    return jax.tree_util.tree_map_with_path(positive, drawn)


def test_groups_are_contiguous_channels():
    x = np.random.default_rng().normal(size=(1, 5, 6, 8)).astype(np.float32)
    grouped = Convolution(12, 3, groups=4, epsilon=0.0)
    params = fresh(grouped, x)
    kernel = params["convolution"]["kernel"]
    assert kernel.shape == (3, 3, 2, 12)
    dense = np.zeros((3, 3, 8, 12), np.float32)
    for group in range(4):
        own = slice(3 * group, 3 * group + 3)
        dense[:, :, 2 * group : 2 * group + 2, own] = kernel[..., own]
    whole = {**params, "convolution": {"kernel": dense}}
    expected = Convolution(12, 3, epsilon=0.0).apply({"params": whole}, x)
    np.testing.assert_allclose(grouped.apply({"params": params}, x), expected, atol=1e-4)


def test_the_stage_is_four_steps_a_block():
    """A strided, dilated, grouped bottleneck against its definition, layer by layer."""
    x = np.random.default_rng().normal(size=(1, 7, 6, 4)).astype(np.float32)
    stage = Stage(8, 4, 1, 2, groups=2, epsilon=0.0, dilation=2)
    params = fresh(stage, x)
    block = params["block_0"]
    layer = lambda name, size, **options: (
        lambda x: Convolution(
            block[name]["norm"]["scale"].size, size, epsilon=0.0, **options
        ).apply({"params": block[name]}, x)
    )
    hidden = jax.nn.relu(layer("layer_0", 1)(x))
    hidden = jax.nn.relu(layer("layer_1", 3, stride=2, groups=2, dilation=2)(hidden))
    expected = jax.nn.relu(layer("layer_2", 1)(hidden) + layer("shortcut", 1, stride=2)(x))
    found = stage.apply({"params": params}, x)
    assert found.shape == (1, 4, 3, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("caffe", [False, True])
def test_a_frame_changes_nothing_inside_of_a_picture(caffe):
    trunk = Trunk(4, (4, 8, 8), (4, 4, 4), (1, 1, 1), 2, 0.0, caffe_pool=caffe)
    rng = np.random.default_rng()
    height, width = (int(side) for side in rng.integers(17, 70, 2))
    frame = np.zeros((2, 80, 72, 3), np.float32)
    frame[0, :height, :width] = rng.normal(size=(height, width, 3))
    frame[1] = rng.normal(size=(80, 72, 3))
    sizes = jnp.array([[height, width], [80, 72]])
    params = fresh(trunk, frame, sizes)
    run = jax.jit(lambda *given: trunk.apply({"params": params}, *given))
    alone = run(frame[:1, :height, :width], sizes[:1])
    rows, columns = trunk.extents(sizes)[0]
    assert alone.shape[1:3] == (rows, columns)
    together = run(frame, sizes)[:1, :rows, :columns]
    np.testing.assert_allclose(together, alone, atol=1e-5 * float(jnp.abs(alone).max()))
