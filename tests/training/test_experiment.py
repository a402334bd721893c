"""Tests of putting an experiment together: what follows from the data, and what does not fit."""

import json
import logging

import pytest

from tests.training.tiny import tiny, write_pairs
from vlp_jax.config import ExperimentConfig, build
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.parallel import use_mesh
from vlp_jax.tasks import build_tasks
from vlp_jax.training.experiment import assemble
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
    assert set(experiment.tasks) == {"itc", "itm", "mlm", "vqa"}
    assert experiment.schedule.groups == {"emoji_scenes": {("itc", "itm", "mlm", "vqa"): 1.0}}


@pytest.mark.slow
def test_metric_names_are_those_a_step_gives(experiment, single_run):
    assert set(experiment.states.metrics) == set(single_run[1][0]) | {NON_FINITE_SHARE}


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


def test_a_task_without_questions_is_dropped_with_a_warning(pairs, caplog):
    config = tiny(**pairs)
    with caplog.at_level(logging.WARNING):
        experiment = assemble(config)
    assert list(experiment.config.tasks) == ["itc", "itm", "mlm", "retrieval", "near_miss"]
    assert "vqa" not in experiment.config.model.heads
    said = caplog.text
    assert "task vqa is off and trains nothing: source json gives no answer_s" in said
    assert "head vqa is off: no task reads it, and nothing says how large it is" in said


def test_a_source_that_joins_after_the_end_is_named(caplog):
    two = dict(data__source="emoji_scenes::easy_vqa")
    with caplog.at_level(logging.WARNING):
        late = assemble(tiny("light", **two, data__per_source={"easy_vqa": {"first_step": 6}}))
    assert "source easy_vqa trains nothing: it joins at step 6 of a run of 6" in caplog.text
    assert {late.mixture.choice(step) for step in range(20)} == {"emoji_scenes", "easy_vqa"}
    assert {late.mixture.choice(step) for step in range(6)} == {"emoji_scenes"}
    alone = assemble(tiny("light", **two, data__per_source={"emoji_scenes": {"first_step": 9}}))
    assert {alone.mixture.choice(step) for step in range(9)} == {"easy_vqa"}


def test_no_task_at_all_is_left(pairs):
    message = (
        r"none of the tasks in config.tasks \(vqa\) can use source json, .* batches hold .*text_ids"
    )
    with pytest.raises(ValueError, match=message):
        assemble(tiny("light", **pairs))


MISFITS = {
    "unknown task": (
        dict(tasks={"vqqa": {}}),
        r'config.tasks.vqqa: unknown task "vqqa". Did you mean "vqa"\?',
    ),
    "unknown field": (
        dict(tasks__vqa__wieght=1.0),
        r'config.tasks.vqa.wieght: no such field. Did you mean "weight"\?',
    ),
    "no tasks": (dict(tasks={}), r"config.tasks is empty. Known tasks: .*itc"),
    "unknown form": (
        dict(tasks__vqa__form="cee"),
        r"config.tasks.vqa.form = 'cee'. Did you mean \"ce\"\?",
    ),
    "unknown kind": (
        dict(tasks__mine={"kind": "vqaa"}),
        r'config.tasks.mine: unknown task "vqaa". Did you mean "vqa"\?',
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
    "augmentation": (
        dict(data__augment="albeef"),
        r'config.data.augment: unknown augmentation "albeef". Did you mean "albef"\?',
    ),
    "exchange": (
        dict(tasks__pair={"exchange": "captions"}),
        r'config.tasks.pair.exchange: unknown pairing "captions". Did you mean "caption"\?',
    ),
    "region masking": (
        dict(tasks__region_feature={"masking": "unitr"}),
        r'config.tasks.region_feature.masking: unknown region masking .* Did you mean "uniter"',
    ),
    "different masking": (
        dict(tasks__mlm={}, tasks__words={"kind": "mlm", "probability": 0.3}),
        r'two tasks make the batch field "mlm_ids" in different ways: .*0.15.*0.3.*same settings',
    ),
    "queue": (
        dict(tasks__itc={"queue_size": 16}),
        r"config.tasks.itc.queue_size = 16 needs a momentum teacher .* config.training.momentum",
    ),
    "no negatives": (
        dict(data__batch_size=1, tasks__itm={"negatives": "random"}),
        r"config.tasks.itm takes its negatives from .* none with config.data.batch_size = 1",
    ),
    "no contrast": (
        dict(data__batch_size=1, tasks__itc={}),
        r"config.tasks.itc takes its negatives from .* none with config.data.batch_size = 1",
    ),
    "temperature": (
        dict(tasks__itc={}, tasks__p={"kind": "itc", "temperature_range": (0.1, 1.0)}),
        r"config.tasks.itc.temperature_range = .*, config.tasks.p.temperature_range = .*one range",
    ),
    "mix": (
        dict(training__mix={"vqaa": 1.0}),
        r'config.training.mix: there is no config.tasks.vqaa that trains. Did you mean "vqa"\?',
    ),
    "vocabulary file": (dict(data__vocabulary="fot"), r'vocabulary = "fot": expected .*"fit"'),
}


@pytest.mark.parametrize(("overrides", "message"), MISFITS.values(), ids=MISFITS)
def test_a_misfit_is_said_before_anything_is_computed(overrides, message, devices8):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        assemble(tiny("light", **overrides))


def test_a_dropped_task_leaves_the_mix_as_well(pairs):
    mix = {"itc": 1.0, "itm+vqa": 2.0, "mlm": 1.0}
    sampled = dict(training__schedule="sampled", training__mix=mix)
    experiment = assemble(tiny(**pairs, **sampled))
    assert experiment.config.training.mix == {"itc": 1.0, "itm": 2.0, "mlm": 1.0}
    assert experiment.schedule.every_group == (("itc",), ("itm",), ("mlm",))
    again = assemble(experiment.config, experiment.vocabulary)
    assert (again.config, again.schedule) == (experiment.config, experiment.schedule)


def test_a_task_can_be_there_twice():
    tasks = {"vqa": {"weight": 2.0}, "yes_no": {"kind": "vqa", "form": "bce"}}
    built = build_tasks(ExperimentConfig(tasks=tasks))
    assert (built["vqa"].weight, built["yes_no"].form) == (2.0, "bce")
    assert type(built["vqa"]) is type(built["yes_no"])


def test_a_task_that_is_none_is_off():
    built = build_tasks(tiny("pairs", tasks__retrieval=None, tasks__near_miss=None))
    assert list(built) == ["itc"]


def test_heads_that_tasks_read_are_added():
    experiment = assemble(tiny("light", model__heads={}))
    answers = len(experiment.vocabulary.answers)
    assert experiment.config.model.heads == {"vqa": {"classes": answers}}


def test_tasks_that_are_only_evaluated_add_no_head_and_train_nothing(experiment):
    evaluated = {"retrieval", "near_miss"}
    assert evaluated <= set(experiment.config.tasks) and not evaluated & set(experiment.tasks)
    assert not evaluated & set(experiment.states.shapes.tasks)


class Counted:
    """Counts the calls of a function that it passes on."""

    def __init__(self, function):
        self.function, self.calls = function, []
        self.split_names = vars(function).get("split_names", ())

    def __call__(self, *args, **kwargs):
        self.calls.append(args)
        return self.function(*args, **kwargs)


@pytest.mark.slow
def test_each_source_is_opened_once_and_its_first_batch_made_once(monkeypatch):
    opened = {}
    for name in ("emoji_scenes", "easy_vqa"):
        opened[name] = Counted(SOURCES[name])
        monkeypatch.setitem(SOURCES, name, opened[name])
    make = Counted(Pipeline._make)
    monkeypatch.setattr(Pipeline, "_make", lambda self, step: make(self, step))
    experiment = assemble(tiny("light", data__source="emoji_scenes::easy_vqa"))
    with use_mesh(experiment.mesh):
        state = experiment.states.abstract
        experiment.compiled_steps(state)
    batches = experiment.mixture.iterate()
    next(batches)
    batches.close()
    assert [len(source.calls) for source in opened.values()] == [1, 1]
    assert [step for _, step in make.calls].count(0) == 2  # one of each source
