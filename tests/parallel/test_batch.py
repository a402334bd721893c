"""Tests of batches on the mesh, in one process."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import batch_sharding, make_mesh, put_batch


@pytest.fixture(scope="module")
def mesh(devices8):
    return make_mesh(data=2, fsdp=2, tensor=2, devices=devices8)


def test_batch_sharding(mesh):
    assert batch_sharding(mesh).spec == P(("data", "fsdp"))


def test_values_types_and_placement(mesh):
    rng = np.random.default_rng()
    batch = {
        "image": rng.integers(0, 256, (8, 4, 4, 3)).astype(np.uint8),
        "text_mask": rng.random((8, 5)) < 0.5,
        "image_id": np.arange(8, dtype=np.int32),
    }
    placed = put_batch(batch, mesh)
    for name, array in batch.items():
        assert placed[name].dtype == array.dtype
        assert placed[name].sharding == batch_sharding(mesh)
        assert placed[name].addressable_shards[0].data.shape[0] == 2
        np.testing.assert_array_equal(placed[name], array)


def test_an_empty_batch(mesh):
    assert put_batch({}, mesh) == {}


@pytest.mark.parametrize(("size", "valid"), [(10, "8 or 12"), (3, "4"), (0, "4")])
def test_indivisible(mesh, size, valid):
    with pytest.raises(ValueError) as error:
        put_batch({"image_id": np.zeros(size)}, mesh)
    message = str(error.value)
    assert message.startswith(f"batch of {size} examples") and "8 devices" in message
    assert message.endswith(f"Nearest valid: {valid}")


def test_different_sizes(mesh):
    with pytest.raises(ValueError, match="differ in their number of examples: a=4, b=8"):
        put_batch({"a": np.zeros(4), "b": np.zeros(8)}, mesh)


def test_scalars(mesh):
    with pytest.raises(ValueError, match='"step" is a scalar'):
        put_batch({"step": np.int32(1)}, mesh)


def test_each_device_works_on_its_own_examples(mesh):
    total = jax.jit(lambda batch: batch["x"].sum())(put_batch({"x": np.arange(12)}, mesh))
    assert int(total) == 66
