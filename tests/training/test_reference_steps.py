"""The parts of the training-step verification that need no compiled step."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from vlp_jax.training.reference_steps import (
    _batch,
    _count_steps,
    _remember_gradients,
    _without_noise,
)
from vlp_jax.verify.bundle import Bundle, read_bundle

GOLDEN = Path(__file__).parents[1] / "goldens" / "albef-trainstep-a"


def test_the_state_that_the_original_wrote_later_is_expected():
    bundle = read_bundle(GOLDEN)
    assert bundle.checkpoint.name == "checkpoint.pth"
    later = [name for name in bundle.expected if name.startswith("after_step0/")]
    assert len(later) > 200 and "after_step0/queue_ptr" in later
    before = bundle.state["text_proj.bias"]
    assert not np.array_equal(bundle.expected["after_step0/text_proj.bias"], before)


def test_no_image_comes_twice():
    bundle = read_bundle(GOLDEN)
    assert _count_steps(bundle) == 2
    ids = [_batch(bundle, step)["image_id"].tolist() for step in range(2)]
    assert ids == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_steps_are_counted_by_their_inputs():
    inputs = {f"step{k}/{name}": np.zeros(1) for k in range(3) for name in ("image", "alpha")}
    assert _count_steps(Bundle(GOLDEN, {}, inputs, {}, None)) == 3


def test_gradients_are_remembered_and_pass():
    remember = _remember_gradients()
    state = remember.init({"w": jnp.ones(2)})
    assert state["w"].tolist() == [0, 0]
    updates, state = remember.update({"w": jnp.array([3.0, 4.0])}, state)
    assert updates["w"].tolist() == state["w"].tolist() == [3, 4]


def test_biases_of_keys_are_masked():
    joined = _without_noise("visual_encoder.blocks.0.attn.qkv.bias", np.arange(6.0))
    assert joined.mask.tolist() == [True, True, False, False, True, True]
    alone = _without_noise("text_encoder.layer.0.attention.self.key.bias", np.arange(3.0))
    assert not alone.mask.any()
