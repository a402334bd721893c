"""Tests of putting an experiment together: what follows from the data, and what does not fit."""

import json
import logging

import pytest

from tests.training.tiny import tiny, write_pairs
from vlp_jax.config import ExperimentConfig, build
from vlp_jax.data.assemble import Vocabulary
from vlp_jax.training.experiment import assemble, build_objectives
from vlp_jax.training.step import NON_FINITE_SHARE


@pytest.fixture
def pairs(tmp_path) -> dict:
    """Overrides that train on captioned pictures without questions."""
    return dict(data__source="json", data__path=str(write_pairs(tmp_path)))


def test_the_data_fill_in_sizes(experiment):
    model = experiment.config.model
    assert model.text_args["vocab_size"] == experiment.vocabulary.tokenizer.size
    assert model.vision_args["image_size"] == 32
    assert model.heads["vqa"]["classes"] == len(experiment.vocabulary.answers) > 2
    assert set(experiment.objectives) == {"emoji_scenes"}
    assert set(experiment.objectives["emoji_scenes"]) == {"itc", "itm", "mlm", "vqa"}


def test_metric_names_are_those_a_step_gives(experiment, single_run):
    assert set(experiment.metric_names()) == set(single_run[1][0]) | {NON_FINITE_SHARE}


def test_what_a_checkpoint_says_of_the_run_gives_it_back(experiment):
    about = json.loads(json.dumps(experiment.about))
    assert build(ExperimentConfig, about["config"], "config") == experiment.config
    vocabulary = Vocabulary.from_json(about["vocabulary"])
    assert vocabulary.answers == experiment.vocabulary.answers
    words = "a red apple is left of a dog"
    ids = vocabulary.tokenizer.piece_ids(words)
    assert ids == experiment.vocabulary.tokenizer.piece_ids(words)


def test_a_resolved_config_assembles_to_itself(experiment):
    again = assemble(experiment.config, experiment.vocabulary)
    assert again.config == experiment.config


def test_an_objective_without_questions_is_dropped_with_a_warning(pairs, caplog):
    config = tiny(**pairs)
    with caplog.at_level(logging.WARNING):
        experiment = assemble(config)
    assert list(experiment.config.objectives) == ["itc", "itm", "mlm"]
    assert "vqa" not in experiment.config.model.heads
    said = caplog.text
    assert "objective vqa is off: no source of config.data.source = json gives answer_s" in said
    assert "head vqa is off: the data has no answers" in said


def test_no_objective_at_all_is_left(pairs):
    message = r"none of config.objectives \(vqa\) can use source json, .* batches hold .*text_ids"
    with pytest.raises(ValueError, match=message):
        assemble(tiny("light", **pairs))


MISFITS = {
    "no head": (
        dict(model__heads={}),
        r'objective vqa needs the head "vqa": add config.model.heads.vqa \(there are: none\)',
    ),
    "unknown objective": (
        dict(objectives={"vqqa": {}}),
        r'config.objectives.vqqa: unknown objective "vqqa". Did you mean "vqa"\?',
    ),
    "unknown field": (
        dict(objectives__vqa__wieght=1.0),
        r'config.objectives.vqa.wieght: no such field. Did you mean "weight"\?',
    ),
    "no objectives": (dict(objectives={}), r"config.objectives is empty. Known objectives: .*itc"),
    "unknown kind": (
        dict(objectives__vqa__form="cee"),
        r"config.objectives.vqa.form = 'cee'. Did you mean \"ce\"\?",
    ),
    "vocabulary": (
        dict(model__text_args__vocab_size=7),
        r"config.model.text_args.vocab_size = 7, but the data has \d+: leave the field out",
    ),
    "answers": (
        dict(model__heads__vqa={"classes": 3}),
        r"config.model.heads.vqa.classes = 3, but the data has \d+",
    ),
    "image size": (
        dict(model__vision_args__image_size=64),
        r"config.model.vision_args.image_size = 64, but the data has 32",
    ),
    "regions": (
        dict(model__vision="regions", model__vision_args={"width": 16}),
        r"the vision encoder reads .*region_features.*, and source emoji_scenes has no .*features",
    ),
    "mesh": (dict(mesh__data=3), r"mesh data=3, .* but 8 devices are available"),
    "small data": (
        dict(data__source_args={"emoji_scenes": {"concepts": 12, "size": 7}}),
        r"the data set has 7 records, fewer than one batch of 8; make the batch smaller",
    ),
    "source": (dict(data__source="emoji_scene"), r'unknown source .* Did you mean "emoji_scenes"'),
    "weights": (dict(data__weights={"emoji_scene": 1.0}), r'weights: unknown .*"emoji_scenes"'),
    "group": (
        dict(optimizer__groups=({"pattern": "audio"},)),
        r'groups\[0\].pattern = "audio" matches no parameter',
    ),
    "pairing": (
        dict(data__pairing="captions"),
        r'config.data.pairing: unknown pairing "captions". Did you mean "caption"\?',
    ),
    "region masking": (
        dict(data__region_masking="unitr"),
        r'config.data.region_masking: unknown region masking .* Did you mean "uniter"\?',
    ),
    "mix": (
        dict(training__mix={"vqaa": 1.0}),
        r'config.training.mix: there is no config.objectives.vqaa. Did you mean "vqa"\?',
    ),
    "vocabulary file": (dict(data__vocabulary="fot"), r'vocabulary = "fot": expected .*"fit"'),
}


@pytest.mark.parametrize(("overrides", "message"), MISFITS.values(), ids=MISFITS)
def test_a_misfit_is_said_before_anything_is_computed(overrides, message, devices8):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        assemble(tiny("light", **overrides))


def test_a_dropped_objective_leaves_the_mix_as_well(pairs):
    mix = {"itc": 1.0, "itm+vqa": 2.0, "mlm": 1.0}
    sampled = dict(training__schedule="sampled", training__mix=mix)
    experiment = assemble(tiny(**pairs, **sampled))
    assert experiment.config.training.mix == {"itc": 1.0, "itm": 2.0, "mlm": 1.0}
    assert experiment.schedule.every_task == (("itc",), ("itm",), ("mlm",))
    again = assemble(experiment.config, experiment.vocabulary)
    assert (again.config, again.schedule) == (experiment.config, experiment.schedule)


def test_an_objective_can_be_there_twice():
    built = build_objectives({"vqa": {"weight": 2.0}, "yes_no": {"kind": "vqa", "form": "bce"}})
    assert (built["vqa"].weight, built["yes_no"].form) == (2.0, "bce")
    assert type(built["vqa"]) is type(built["yes_no"])
