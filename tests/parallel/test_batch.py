"""Tests of batches on the mesh, in one process."""

from dataclasses import dataclass

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from vlp_jax.parallel import MESH_AXES, batch_sharding, batch_share, make_mesh, put_batch


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


@dataclass(frozen=True)
class Device:
    """Stands in for a device of another process."""

    id: int
    process_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"


def mesh_of(processes: list[int], *shape: int) -> Mesh:
    """Returns a mesh whose devices, in order, belong to these processes."""
    devices = [Device(i, process) for i, process in enumerate(processes)]
    return Mesh(np.array(devices).reshape(shape), MESH_AXES)


@pytest.mark.parametrize(
    ("processes", "shape", "shares"),
    [
        ([0, 0, 1, 1], (4, 1, 1), [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], (1, 2, 2), [(0, 2), (1, 2)]),
        ([0, 1], (1, 1, 2), [(0, 1), (0, 1)]),
        ([0, 0, 1, 1], (1, 1, 4), [(0, 1), (0, 1)]),
        ([0, 1, 2, 3], (2, 1, 2), [(0, 2), (0, 2), (1, 2), (1, 2)]),
        ([1, 1, 0, 0], (2, 2, 1), [(1, 2), (0, 2)]),
        ([0, 1, 0, 1], (4, 1, 1), [(0, 2), (1, 2)]),
    ],
)
def test_processes_that_hold_the_same_rows_load_the_same_share(processes, shape, shares):
    mesh = mesh_of(processes, *shape)
    assert [batch_share(mesh, process) for process in sorted(set(processes))] == shares


def test_rows_that_two_processes_hold_in_part_are_refused():
    message = r"config.mesh.tensor = 2 .*2 processes of 3 devices.*tensor=2\). Valid: 1, 3, 6$"
    with pytest.raises(ValueError, match=message):
        batch_share(mesh_of([0, 0, 0, 1, 1, 1], 3, 1, 2), 0)


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
