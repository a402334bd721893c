"""Tests of the published recipes: cut down, their data feed their tasks and a step traces."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.training.tiny import ROOT
from tests.weights.weight_files import (
    BERT_CONFIG,
    HEADS,
    LENGTH,
    MLP,
    WIDTH,
    WORDS,
    bert_file,
)
from vlp_jax.config import ExperimentConfig, build, load_config
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox, use_mesh
from vlp_jax.tasks import build_tasks
from vlp_jax.training.checkpoint import read_run
from vlp_jax.training.experiment import assemble
from vlp_jax.weights.initial import read_initial_weights
from vlp_jax.weights.safetensors_file import write_directory
from vlp_jax.weights.zoo import ZOO

CONFIGS = ROOT / "configs"
MODELS = ("albef", "uniter", "vilbert", "lxmert", "visualbert", "oscar")


def spec(model: str, argument: str = "") -> str:
    path = f"{CONFIGS / model / 'pretrain.py'}"
    return f"{path}:{argument}" if argument else path


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_smoke_run_trains_all_tasks_of_the_recipe(model, caplog):
    published, small = load_config(spec(model)), load_config(spec(model, "smoke"))
    assert small.tasks.keys() == published.tasks.keys()
    cut = ("evaluate", "local_batch", "queue_size")
    for name, task in build_tasks(small).items():
        theirs = build_tasks(published)[name]
        for field in dataclasses.fields(task):
            if field.name not in cut:
                assert getattr(task, field.name) == getattr(theirs, field.name), (name, field.name)
    for name in ("global_region", "tags", "augment", "text_style", "add_sep", "text_length"):
        assert getattr(small.data, name) == getattr(published.data, name), name
    assert small.optimizer.groups == published.optimizer.groups
    assert small.training.schedule == published.training.schedule

    experiment = assemble(small)
    assert " is off" not in caplog.text and "does not use it" not in caplog.text
    with use_mesh(experiment.mesh):
        state = experiment.states.abstract
        shardings = jax.tree.map(lambda x: x.sharding, state)
        steps = experiment.jitted_steps(shardings)
        batch = experiment.mixture["emoji_scenes"].batch(0)
        for step in steps.values():
            after, values = jax.eval_shape(step, state, batch)
            assert jax.tree.structure(after) == jax.tree.structure(state)
    trained = {name for group in steps for name in group}
    assert trained == {name for name, task in build_tasks(published).items() if task.trains}


def test_uniter_trains_one_group_a_step():
    experiment = assemble(load_config(spec("uniter", "smoke")))
    assert set(experiment.schedule.every_group) == {
        ("itm", "alignment"), ("mlm",), ("region_feature",), ("region_class",)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "argument", "preset"),
    [
        *((model, "", model) for model in MODELS),
        ("albef", "4m", "albef_4m"),
        ("uniter", "large", "uniter_large"),
        ("oscar", "plus", "oscarplus"),
    ],
)
def test_a_recipe_trains_the_published_model(model, argument, preset):
    config = load_config(spec(model, argument))
    assert config.model == ZOO[preset].config
    assert config.data.add_sep == ZOO[preset].conventions.add_sep
    assert config.name == preset


def test_visualberts_region_tables_start_as_those_of_the_text(tmp_path):
    """`special_visual_initialize`: both entries of the recipe, on a BERT of one small layer."""
    file = bert_file(1)
    write_directory(tmp_path, file, BERT_CONFIG | {"num_hidden_layers": 1})
    recipe = load_config(spec("visualbert"))
    model = recipe.model
    block = dict(width=WIDTH, heads=HEADS, mlp_width=MLP, layers=1)
    values = dict(
        init_from=[{**entry, "path": str(tmp_path)} for entry in recipe.init_from],
        model=dict(
            vision="regions",
            vision_args=model.vision_args | dict(feature_width=3, width=WIDTH, positions=LENGTH),
            text_args=model.text_args | dict(vocab_size=WORDS, width=WIDTH, max_length=LENGTH),
            fusion="single_stream",
            fusion_args={k: v for k, v in (model.fusion_args | block).items() if k != "width"},
            pooler="tanh",
            heads=model.heads,
        ),
    )
    config = build(ExperimentConfig, values, "config")
    vocabulary = Vocabulary(Tokenizer.from_vocab([*SPECIAL_TOKENS, *"abcdef"]), ())
    built = build_model(config.model)
    params = unbox(abstract_params(built))
    given = read_initial_weights(config, built, params, vocabulary, read_run)
    filled = {path: value for filling in given.fillings for path, value in filling.arrays()}
    for ours, published in {"position": "position", "type": "token_type"}.items():
        table = file[f"bert.embeddings.{published}_embeddings.weight"]
        np.testing.assert_array_equal(filled[f"vision/{ours}/table"], table)
        np.testing.assert_array_equal(filled[f"text/{ours}/table"], table)
    assert "pooler/dense/kernel" in filled and "heads_mlm/transform/kernel" in filled


@pytest.mark.parametrize("model", MODELS)
def test_an_unknown_argument_names_the_nearest(model):
    with pytest.raises(ValueError, match='unknown argument "smok".* Did you mean "smoke"?'):
        load_config(spec(model, "smok"))
