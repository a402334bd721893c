"""Tests of the ring: on eight devices it gives the plain loss and gradients, from less memory."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.dense_contrastive import dense_loss
from tests.losses.similarity import random_ids, random_queue, unit, views_of
from tests.tasks.fakes import loss_of
from vlp_jax.losses import ring_contrastive
from vlp_jax.losses.contrastive import make_queues, make_sides
from vlp_jax.losses.contrastive_forms import SigmoidForm, SoftmaxForm
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.ring_contrastive import over_blocks, ring_loss
from vlp_jax.losses.similarity_blocks import Scale
from vlp_jax.parallel import batch_sharding, make_mesh, use_mesh
from vlp_jax.parallel.ring import ring_axes
from vlp_jax.tasks.contrast import ContrastiveTask

ROOT = Path(__file__).parents[2]
SIZE, STORED = 32, 11
# Settings, and whether there is a teacher with a queue.
CASES = {
    "softmax": ({}, False),
    "distilled": ({"smoothing": 0.1, "queue_ramp": True}, True),
    "distilled online": ({"in_batch": "online"}, True),
    "local": ({"local_batch": 8, "in_batch": "online"}, True),
    "sigmoid": ({"form": "sigmoid"}, False),
    "sigmoid distilled": ({"form": "sigmoid", "queue_ramp": True, "in_batch": "online"}, True),
}


@pytest.fixture(params=[(8, 1, 1), (2, 2, 2)], ids=str)
def mesh(request, devices8):
    with use_mesh(make_mesh(*request.param, devices=devices8)) as mesh:
        yield mesh


@pytest.fixture
def small_blocks(monkeypatch):
    """Cuts a device's columns, and the queue, into blocks with one to fill up."""
    monkeypatch.setattr(ring_contrastive, "BLOCK_COLUMNS", 3)


@pytest.fixture(scope="module")
def inputs():
    """The learned arrays, and the fixed ones."""
    rng = np.random.default_rng()
    both = lambda: (unit(rng, SIZE), unit(rng, SIZE))
    learned = {"vectors": both(), "temperature": np.float32(0.1), "bias": np.float32(-2)}
    fixed = {"taught": both(), "ids": random_ids(rng, SIZE, SIZE // 2)}
    return learned, fixed, random_queue(rng, STORED, SIZE // 2)


def outcome(case, implementation, inputs, mesh=None, **more):
    """Returns ((loss, accuracy), gradients) of one program."""
    settings, taught = CASES[case]
    task = ContrastiveTask(implementation=implementation, **settings, **more)

    def loss(learned, fixed, queue):
        scale = learned["temperature"], learned["bias"]
        views = views_of(fixed["ids"], *learned["vectors"], *scale)
        teacher = views_of(fixed["ids"], *fixed["taught"], *scale) if taught else None
        result = loss_of(task, views, teacher, queue if taught else None, 0.5)
        return result.loss, result.metrics["itc_accuracy"]

    learned, fixed, queue = inputs
    if mesh is not None:
        put = lambda x: jax.device_put(x, batch_sharding(mesh)) if np.ndim(x) else x
        learned, fixed = jax.tree.map(put, (learned, fixed))
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(learned, fixed, queue)


def check_equal(found, exact):
    (value, accuracy), gradients = found
    (exact_value, exact_accuracy), exact_gradients = exact
    np.testing.assert_allclose(value, exact_value, rtol=1e-6)
    assert accuracy == exact_accuracy
    largest = max(np.abs(x).max() for x in jax.tree.leaves(exact_gradients))
    assert largest > 1e-2
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, gradients, exact_gradients)


@pytest.mark.parametrize("case", CASES)
def test_eight_devices_give_the_plain_loss_and_gradients(case, inputs, mesh, small_blocks):
    found = outcome(case, "ring", inputs, mesh)
    gradient = found[1]["vectors"][0]
    assert gradient.addressable_shards[0].data.shape[0] == SIZE * mesh.shape["tensor"] // 8
    check_equal(found, outcome(case, "plain", inputs))


@pytest.mark.parametrize("case", ["distilled online", "sigmoid"])
def test_one_device_gives_the_plain_loss_and_gradients(case, inputs, small_blocks):
    check_equal(outcome(case, "ring", inputs), outcome(case, "plain", inputs))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", ["plain", "ring"])
def test_products_in_bfloat16(case, implementation, inputs, mesh, small_blocks):
    """Loss and gradients are those of float32 but for the rounding of what is multiplied."""
    (loss, _), gradients = outcome(case, implementation, inputs, mesh, products="bfloat16")
    (exact, _), exact_gradients = outcome(case, "plain", inputs)
    np.testing.assert_allclose(loss, exact, rtol=5e-3)
    assert loss != exact
    for found, sought in zip(*map(jax.tree.leaves, (gradients, exact_gradients)), strict=True):
        assert found.dtype == jnp.float32
        assert np.linalg.norm(found - sought) <= 2e-2 * np.linalg.norm(sought) + 1e-3


def test_gradients_of_many_blocks_are_added_in_float32(small_blocks):
    """Added in bfloat16, those of 200 blocks would be off by 1.5 percent."""
    rng, rows = np.random.default_rng(), 600
    image, text = (jnp.asarray(unit(rng, rows)) for _ in range(2))
    short = image.astype("bfloat16"), text.astype("bfloat16")

    def loss(image, text):
        sides = make_sides((image, text), None, jnp.arange(rows), None)
        scale = Scale(jnp.float32(0.1), jnp.float32(0))
        return ring_loss(SoftmaxForm(), (), sides, None, scale, jnp.float32(0))

    found = jax.grad(loss, (0, 1))(*short)
    sought = jax.grad(loss, (0, 1))(*(x.astype("float32") for x in short))
    for one, other in zip(found, sought):
        assert one.dtype == jnp.bfloat16
        assert np.linalg.norm(np.float32(one) - other) <= 1e-2 * np.linalg.norm(other)


def test_no_device_holds_the_vectors_of_all(inputs, mesh):
    settings, fixed, _ = inputs
    vectors = jax.device_put(settings["vectors"], batch_sharding(mesh))
    ids = jax.device_put(fixed["ids"], batch_sharding(mesh))

    def loss(vectors, ids):
        return loss_of(ContrastiveTask(implementation="ring"), views_of(ids, *vectors)).loss

    compiled = jax.jit(jax.value_and_grad(loss)).lower(vectors, ids).compile().as_text()
    assert "collective-permute" in compiled and "all-gather" not in compiled


@pytest.mark.parametrize(("count", "lengths"), [(1, {1}), (3, {3}), (4, {2}), (7, {3, 1})])
def test_blocks_go_over_all_columns_in_order(count, lengths, small_blocks):
    vectors, ids = np.random.default_rng().normal(size=(count, 2)), np.arange(count)
    seen = set()

    def step(total, block):
        seen.add(len(block["ids"]))
        return 3 * total + block["ids"].sum(), {"doubled": 2 * block["vectors"]}

    total, outputs = over_blocks(step, jnp.zeros(()), {"vectors": vectors, "ids": ids})
    assert total == {1: 0, 3: 3, 4: 3 * 1 + 5, 7: 9 * 3 + 3 * 12 + 6}[count]
    assert seen == lengths
    np.testing.assert_allclose(outputs["doubled"], 2 * vectors, rtol=1e-6)


@pytest.mark.slow
@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**32 - 1),
    part=st.integers(1, 5),
    devices=st.sampled_from([1, 8]),
    stored=st.sampled_from([0, 1, 7]),
    form=st.sampled_from([SoftmaxForm(), SoftmaxForm(0.2), SigmoidForm()]),
    kind=st.sampled_from(["alone", "online", "teacher"]),
)
def test_values_and_gradients_are_those_of_the_formulas(
    seed, part, devices, stored, form, kind, devices8, small_blocks
):
    rng, size = np.random.default_rng(seed), part * devices
    both = lambda count: tuple(unit(rng, count).astype(np.float64) for _ in range(2))
    own, taught = both(size), None if kind == "alone" else both(size)
    ids, fresh = random_ids(rng, size, 1 + size // 2), taught if kind == "teacher" else None
    queue = Queue(*both(stored), random_ids(rng, stored, 1 + size // 2), 0)

    def outcome(loss_of):
        def loss(own, scale):
            sides = make_sides(own, taught, ids, fresh)
            queues = make_queues(queue, taught is not None, 0.25) if stored else None
            return loss_of(sides, queues, scale, 0.4)

        scale = Scale(jnp.float64(0.2), jnp.float64(-1))
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(own, scale)

    with jax.enable_x64(True), use_mesh(make_mesh(devices=devices8[:devices])):
        found = outcome(partial(ring_loss, form, ring_axes(size)))
        exact = outcome(partial(dense_loss, form))
    assert found[0].dtype == np.float64
    # The shares of a queue are float32, whatever the vectors are.
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)
    jax.tree.map(close, found, exact)


@pytest.mark.slow
def test_the_ring_needs_an_eighth_of_the_memory():
    command = [sys.executable, ROOT / "benchmarks" / "contrastive_memory.py", "--size", "8192"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["devices"] for row in rows] == [8, 8, 8]
    assert all(row["ratio"] >= 8 for row in rows), rows
