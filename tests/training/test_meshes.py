"""Tests that a mesh changes where things are computed, and not what."""

import math

import jax
import numpy as np
import pytest

from tests.training.tiny import Stepper
from vlp_jax.parallel import put_batch

SHAPES = [(8, 1, 1), (2, 4, 1), (2, 2, 2)]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def stepper(request, experiment, devices8) -> Stepper:
    return Stepper(experiment, *request.param)


def shard_shapes(tree) -> list[tuple[int, ...]]:
    return [x.addressable_shards[0].data.shape for x in jax.tree.leaves(tree)]


def share_of_one_device(tree) -> float:
    """The share of a tree's bytes that one device holds."""
    held = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))
    return held / sum(x.nbytes for x in jax.tree.leaves(tree))


@pytest.mark.drawn(3)
@pytest.mark.slow
def test_every_mesh_gives_the_losses_of_one_device(stepper, batches, single_run):
    state, rows = stepper.run(batches)
    wanted_state, wanted_rows = single_run
    for step, (row, wanted) in enumerate(zip(rows, wanted_rows, strict=True)):
        assert row.keys() == wanted.keys() > {"itc_loss", "itm_loss", "mlm_loss", "vqa_loss"}
        for name in (n for n in wanted if n.endswith("loss")):
            np.testing.assert_allclose(row[name], wanted[name], 1e-5, err_msg=f"{name} of {step}")
    assert len({row["loss"] for row in rows}) == 5
    queue, wanted_queue = state.tasks["itc"], wanted_state.tasks["itc"]
    np.testing.assert_allclose(queue.image, wanted_queue.image, atol=1e-4)
    np.testing.assert_array_equal(queue.ids, wanted_queue.ids)


def test_parameters_teacher_and_moments_are_split_over_fsdp_and_tensor(stepper):
    fsdp, tensor = stepper.mesh.shape["fsdp"], stepper.mesh.shape["tensor"]
    state = stepper.initial
    kernel = state.params["fusion"]["layers"]["cross_attention"]["attention"]["query"]["kernel"]
    assert kernel.shape == (1, 16, 2, 8)
    assert shard_shapes(kernel) == [(1, 16 // fsdp, 2 // tensor, 8)]
    adam = next(part for part in state.opt_state if hasattr(part, "mu"))
    for copy in (state.teacher, adam.mu, adam.nu):
        assert shard_shapes(copy) == shard_shapes(state.params)
    ways = fsdp * tensor
    assert share_of_one_device(state.params) < (1.01 if ways == 1 else 0.6)
    assert share_of_one_device(state.params) >= 1 / ways


def test_batches_are_split_over_data_and_fsdp(stepper, batches):
    image = put_batch(batches[0], stepper.mesh)["image"]
    tensor = stepper.mesh.shape["tensor"]
    assert image.addressable_shards[0].data.shape == (tensor, 32, 32, 3)
    starts = {shard.index[0].start or 0 for shard in image.addressable_shards}
    assert len(starts) == math.prod(stepper.mesh.devices.shape) // tensor
