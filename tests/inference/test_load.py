"""Tests of loading a run: the newest checkpoint, a given one, the teacher, and what is missing."""

import shutil

import jax
import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import differing, plain, save_untrained, tiny
from vlp_jax.inference import Model, load
from vlp_jax.training.checkpoint import open_store


@pytest.mark.slow
def test_a_run_is_loaded_with_config_tokenizer_and_answers(run, model):
    assert isinstance(model, Model)
    assert model.config.name == "tiny" and model.config.model.text_args["vocab_size"] > 100
    assert model.tokenizer.size == model.config.model.text_args["vocab_size"]
    assert {"yes", "no", "left"} <= set(model.answers)
    with open_store(run) as store:
        assert differing(model.params, store.restore_params()) == []
    assert differing(load(str(run), step=0).params, model.params) == []


def test_the_teacher_is_another_choice(run, model):
    teacher = plain(vlp_jax.load(run, which="teacher").params)
    for name, value in plain(model.params).items():
        np.testing.assert_array_equal(teacher[name], 2 * value)


@pytest.mark.slow
def test_a_run_without_a_teacher(tmp_path):
    save_untrained(tmp_path / "light", tiny("light"))
    with pytest.raises(ValueError, match='step 0 in .* holds no "teacher"; it has .*params'):
        load(tmp_path / "light", which="teacher")


def test_a_missing_run_names_the_nearest(run):
    with pytest.raises(FileNotFoundError, match='Did you mean ".*runs.*/quickstart"'):
        load(run.with_name("quikstart"))
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 7"):
        load(run, step=7)


def test_a_folder_without_checkpoints(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match='empty" holds no checkpoints'):
        load(tmp_path / "empty")


def test_a_run_that_was_moved_still_loads(run, model, tmp_path):
    shutil.copytree(run, tmp_path / "moved")
    assert differing(load(tmp_path / "moved").params, model.params) == []
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(model.params))


GIVEN = {"answers": ["yes"], "tokenizer": "vocab.txt", "lowercase": False, "sizes": {"a": 1}}


@pytest.mark.parametrize("name", GIVEN)
def test_a_run_has_its_own_and_refuses_another(run, name):
    with pytest.raises(ValueError, match=f"is a run, which is read without {name}: give no {name}"):
        load(run, **{name: GIVEN[name]})


@pytest.mark.parametrize("given", [{"step": 3}, {"which": "teacher"}])
def test_weights_are_of_no_step(given):
    with pytest.raises(ValueError, match=f"a file of weights, .* give no {next(iter(given))}"):
        load("albef", "gone.pth", **given)
