"""Tests of the initial state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.training.tiny import plain, tiny
from vlp_jax.config import ModelConfig, build
from vlp_jax.model import build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import make_mesh, unbox
from vlp_jax.training.experiment import assemble


def test_the_first_state(single):
    state = single.initial
    assert int(state.step) == int(state.bad_steps) == 0
    params, teacher = plain(state.params), plain(state.teacher)
    assert all(np.array_equal(params[name], teacher[name]) for name in params)
    assert state.tasks.keys() == {"itc", "itm", "mlm", "vqa"}
    assert {name for name, own in state.tasks.items() if own is not None} == {"itc"}
    queue = state.tasks["itc"]
    assert queue.image.shape == queue.text.shape == (16, 8)
    assert queue.ids.tolist() == [-100] * 16
    names = set(single.experiment.states.metrics)
    assert {name for name, meter in state.meters.items() if meter.count == 0} == names
    assert float(state.params["heads_itc"]["temperature"]) == np.float32(0.07)


def test_teacher_and_parameters_share_no_memory(single):
    """Both are donated to the step, which a shared buffer would forbid."""
    pointers = lambda tree: {x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)}
    assert not pointers(single.initial.params) & pointers(single.initial.teacher)


def test_no_teacher_and_no_queue_unless_asked_for():
    state = assemble(tiny("light")).states.shapes
    assert state.teacher is None and state.tasks == {"vqa": None}


@pytest.mark.slow
def test_drawn_weights_take_the_configured_deviation():
    experiment = assemble(tiny("light", model__init_std=0.05))
    params = plain(jax.jit(lambda key: experiment.states.init(key).params)(jax.random.key(1)))
    drawn = np.concatenate([x.ravel() for name, x in params.items() if name.endswith("['kernel']")])
    assert abs(drawn.std() - 0.05) < 0.002
    for name, value in params.items():
        if name.endswith("['scale']"):
            assert (value == 1).all(), name
        if name.endswith("['bias']"):
            assert (value == 0).all(), name


@pytest.mark.slow
def test_stems_and_positions_keep_deviations_of_their_own():
    vision = dict(model__vision_args__stem_width=32, model__vision_args__position_std=0.4)
    experiment = assemble(tiny("light", model__init_std=0.05, **vision))
    params = jax.jit(lambda key: experiment.states.init(key).params)(jax.random.key(2))["vision"]
    assert 0.3 < np.std(params["positions"]) < 0.5
    fan_in = np.prod(params["stem_1"]["kernel"].shape[:3])
    assert np.std(params["stem_1"]["kernel"]) == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)


def drawn(**model):
    """Returns the parameters of a small model with deviation 0.05, by path."""
    config = build(ModelConfig, model, "config.model")
    params = init_params(build_model(config), jax.random.key(4), 0.05)
    return {name: np.std(x) for name, x in flatten_dict(unbox(params), sep="/").items()}


BLOCK = dict(width=64, heads=2, mlp_width=64, layers=2)
WORDS = dict(text_args=BLOCK | {"vocab_size": 50}, fusion_args=dict(layers=0))


@pytest.mark.slow
def test_convolutions_of_a_resnet_keep_their_deviation():
    vision = dict(image_size=32, embedding_width=16, widths=(64,), depths=(1,), width=64)
    found = drawn(vision="resnet", vision_args=vision, **WORDS)
    kernels = [name for name in found if name.endswith("convolution/kernel")]
    assert len(kernels) == 5
    # He et al. 2015, fan-out: outputs × receptive field.
    fan_out = {"stem": 16 * 49, "layer_0": 16, "layer_1": 16 * 9, "layer_2": 64, "shortcut": 64}
    for name in kernels:
        part = name.split("/")[-3]
        assert found[name] == pytest.approx(np.sqrt(2 / fan_out[part]), rel=0.15), name
    assert found["vision/projection/kernel"] == pytest.approx(0.05, rel=0.1)


@pytest.mark.slow
def test_every_learned_table_and_token_takes_the_models_deviation():
    vit = BLOCK | dict(image_size=32, patch_size=8, distilled=True, stem_width=16)
    found = drawn(vision_args=vit, heads=dict(mlm=dict(tied=False)), **WORDS)
    for name in ("vision/distillation_token", "vision/class_token", "heads_mlm/decoder"):
        assert found[name] == pytest.approx(0.05, rel=0.3), name
    assert found["heads_mlm/decoder"] == pytest.approx(0.05, rel=0.1)
    assert found["vision/layers/expand/kernel"] == pytest.approx(0.05, rel=0.05)
    assert found["vision/positions"] == pytest.approx(0.02, rel=0.1)
    assert found["vision/stem_1/kernel"] == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.1)
    regions = dict(feature_width=64, width=64, mask_embedding=True)
    found = drawn(vision="regions", vision_args=regions, **WORDS)
    assert found["vision/mask_embedding"] == pytest.approx(0.05, rel=0.25)


def test_only_parameters_moments_and_teacher_are_split(experiment, devices8):
    mesh = make_mesh(2, 2, 2, devices=devices8)
    states = dataclasses.replace(experiment.states, mesh=mesh)
    shardings = states.shardings
    for part in ("step", "tasks", "meters", "bad_steps", "key"):
        leaves = jax.tree.leaves(getattr(shardings, part))
        assert leaves and all(sharding.is_fully_replicated for sharding in leaves), part
    assert jax.tree.structure(shardings) == jax.tree.structure(states.shapes)
    assert not all(s.is_fully_replicated for s in jax.tree.leaves(shardings.opt_state))
    assert "fsdp=2" in states.report.text()


def test_the_abstract_state_is_the_state(experiment, single):
    shapes = experiment.states.abstract
    assert jax.tree.structure(shapes) == jax.tree.structure(single.initial)
    for shape, leaf in zip(jax.tree.leaves(shapes), jax.tree.leaves(single.initial)):
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)
    assert shapes.step.sharding.device_set == set(experiment.mesh.devices.flat)
    assert jnp.issubdtype(shapes.key.dtype, jax.dtypes.prng_key)


def test_the_shapes_are_those_of_a_state_that_is_drawn(experiment):
    """They are made without tracing the model, which `init` does."""
    drawn = jax.eval_shape(experiment.states.init, jax.random.key(0))
    assert jax.tree.structure(drawn) == jax.tree.structure(experiment.states.shapes)
    for one, other in zip(jax.tree.leaves(drawn), jax.tree.leaves(experiment.states.shapes)):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
