"""Tests of the settings of all tasks, of every mistake in them, and of plug-ins."""

import dataclasses
import math
import sys

import pytest

from vlp_jax.config import ExperimentConfig, build, field_types
from vlp_jax.config.plugins import load_plugins
from vlp_jax.data.batch import FIELDS
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.heads import HEADS
from vlp_jax.tasks import TASKS, build_tasks
from vlp_jax.tasks.naming import metric_titles

SIZES = Sizes(9, 8, 6, Vocabulary(None, ("yes", "no")), {"region_targets": 6})
# The fields that the transforms of tasks make.
MADE = {
    *("mlm_ids", "mlm_labels", "pair_labels", "foil_ids", "foil_mask"),
    *("question_ids", "question_mask", "answer_scores", "labels", "region_overlaps"),
    *("object_labels", "phrase_positions", "phrase_overlaps"),
    *("candidate_mask", "candidate_overlaps"),
    *("choice_ids", "choice_mask", "choice_segments", "tag_ids", "tag_mask"),
    *("caption_ids", "caption_mask", "caption_labels", "object_labels"),
    *("answer_ids", "answer_mask", "answer_weights", "decoded_ids", "decoded_mask"),
    "reference_ids",
}


def built(tasks):
    return build_tasks(ExperimentConfig(tasks=tasks))


def mistake(tasks):
    with pytest.raises(ValueError) as error:
        built(tasks)
    return str(error.value)


def test_tasks_are_built_by_name():
    tasks = built({"itc": {"weight": 2, "temperature_range": [0.1, 1]}, "itm": {}})
    assert list(tasks) == ["itc", "itm"]
    assert tasks["itc"] == TASKS["itc"](weight=2.0, temperature_range=(0.1, 1.0))


def test_two_tasks_of_one_kind():
    tasks = built({"vqa": {}, "soft": {"kind": "vqa", "form": "kl"}})
    assert tasks["soft"].form == "kl" and tasks["vqa"].form == "bce"
    titles = metric_titles(tasks)
    assert {"vqa_loss", "vqa_accuracy", "soft_loss", "soft_vqa_accuracy"} == titles.keys()


def test_none_switches_a_task_off():
    assert list(built({"itc": {}, "itm": None})) == ["itc"]
    assert mistake({"itm": None}) == mistake({})


def of_sources(task, settings, **sizes):
    """Returns the task of an experiment with two sources, whose batches are 8 unless said."""
    own = {name: dict(batch_size=size) for name, size in sizes.items()}
    scenes = {name: {"kind": "emoji_scenes"} for name in ("first", "second")}
    data = dict(source="first::second", source_args=scenes, per_source=own, batch_size=8)
    config = build(ExperimentConfig, dict(data=data, tasks={task: settings}), "config")
    return build_tasks(config)[task], config


SECOND = "config.data.per_source.second.batch_size"


@pytest.mark.parametrize(
    ("task", "settings", "size", "message"),
    [
        ("itm", {}, 1, f"none with {SECOND} = 1: make it 2 or more"),
        ("itc", {}, 1, f"none with {SECOND} = 1: make it 2 or more"),
        ("alignment", {}, 1, f"none with {SECOND} = 1: make it 2 or more"),
        ("itm", dict(local_batch=4), 6, f"local_batch = 4: {SECOND} = 6 cannot be divided"),
        ("ranking", dict(candidates=6), 6, f"fewer than {SECOND} = 6"),
        ("ranking", dict(pairs=4), 6, f"a divisor of {SECOND} = 6"),
        ("text_assignment", {}, 2, f"{SECOND} = 2: make it 3 or more"),
    ],
)
def test_the_batches_of_each_source_that_trains_a_task_count(task, settings, size, message):
    with pytest.raises(ValueError, match=message):
        of_sources(task, settings, second=size)
    alone = settings | {"sources": ("first",)}
    if task != "text_assignment":  # which needs a model of its own
        assert of_sources(task, alone, second=size)[0].sources == ("first",)


def test_guessing_is_said_where_all_batches_have_one_size():
    said = lambda task, config: task.chances(config)
    assert said(*of_sources("itc", {})) == {"itc_accuracy": 1 / 8}
    assert said(*of_sources("itc", {}, second=4)) == {}
    assert said(*of_sources("itc", dict(sources=("second",)), second=4)) == {"itc_accuracy": 1 / 4}


def test_no_task():
    assert mistake({}) == f"config.tasks is empty. Known tasks: {', '.join(sorted(TASKS))}"


def test_an_unknown_task():
    assert mistake({"itx": {}}).startswith('config.tasks.itx: unknown task "itx". Did you mean "it')
    assert mistake({"mine": {"kind": "itx"}}).startswith("config.tasks.mine: unknown task")


@pytest.mark.parametrize("name", TASKS)
def test_mistakes_in_the_settings_of_each(name):
    path = f"config.tasks.{name}"
    assert mistake({name: {"wieght": 1}}).startswith(
        f'{path}.wieght: no such field. Did you mean "weight"? Allowed: weight'
    )
    for setting in field_types(TASKS[name]):
        assert mistake({name: {setting: {1, 2}}}).startswith(f"{path}.{setting} = {{1, 2}}")
    for weight in (math.nan, -1, -0.5, math.inf):
        assert mistake({name: {"weight": weight}}) == (
            f"{path}.weight = {float(weight)!r}: must be at least 0"
        )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mlm", {"probability": 1.5}, "probability = 1.5: must be in [0, 1)"),
        ("mlm", {"probability": math.nan}, "probability = nan: must be in [0, 1)"),
        ("mlm", {"alpha": -0.1}, "alpha = -0.1: must be in [0, 1]"),
        ("itc", {"queue_size": -1}, "queue_size = -1: must be at least 0"),
        ("itm", {"hardness": math.nan}, "hardness = nan: must be at least 0"),
        ("itm", {"foils": 1.5}, "foils = 1.5: must be in [0, 1]"),
        ("alignment", {"beta": 0}, "beta = 0.0: must be above 0"),
        ("region_class", {"probability": 1}, "probability = 1.0: must be in [0, 1)"),
        ("vqa", {"questions": 0}, "questions = 0: must be at least 1"),
        ("vqa_generative", {"answer_length": 2}, "answer_length = 2: must be at least 3"),
        ("mlm", {"evaluate": {"mlm": {"limit": 0}}}, "evaluate.mlm.limit = 0: must be at least 1"),
    ],
)
def test_ranges(name, settings, message):
    assert mistake({name: settings}) == f"config.tasks.{name}.{message}"


@pytest.mark.parametrize(
    ("name", "evaluate", "message"),
    [
        ("mlm", {"mlm": {"limits": 3}}, 'mlm.limits: no such field. Did you mean "limit"'),
        ("vqa", {"mine": {"rerank": 3}}, "mine.rerank: no such field."),
        ("near_miss", {"x": {"examples": -1}}, "x.examples = -1: must be at least 0"),
        ("retrieval", {"x": {"rank_by": "mathcing"}}, "x.rank_by = 'mathcing'. Did you mean \"ma"),
    ],
)
def test_mistakes_in_evaluations(name, evaluate, message):
    found = mistake({name: {"evaluate": evaluate}})
    assert found.startswith(f"config.tasks.{name}.evaluate.{message}")


@pytest.mark.parametrize("name", TASKS)
def test_what_each_says_it_reads_and_needs_exists(name):
    task = TASKS[name]()
    assert task.reads <= FIELDS.keys() | MADE
    assert bool(task.reads) == task.trains and task.title and task.weight == 1.0
    for need in task.heads(SIZES).values():
        assert need.sizes.keys() <= HEADS[need.kind].sized_by.keys() | {"feature"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.weight = 2.0


PLUGIN = """
from dataclasses import dataclass
from vlp_jax.tasks import TASKS, Task

@TASKS.register("{name}")
@dataclass(frozen=True)
class Mine(Task):
    size: int = 3
"""


@pytest.fixture
def plugin(tmp_path):
    """A file that registers the task "mine", which is forgotten afterwards."""
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="mine"))
    yield path
    TASKS.pop("mine", None)


def test_a_plugin_is_loaded_once_and_its_task_is_like_any(plugin):
    for _ in range(2):  # a second run of the file would register "mine" again
        load_plugins((str(plugin),))
    tasks = built({"mine": {"size": 5}})
    assert tasks["mine"].size == 5 and type(tasks["mine"]).__name__ == "Mine"
    assert mistake({"mine": {"sizes": 5}}).startswith("config.tasks.mine.sizes: no such field. Did")


def test_a_plugin_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_plugins((str(tmp_path / "mine.py"),))
    assert str(error.value) == f'plug-in "{tmp_path}/mine.py": there is no such file'
    with pytest.raises(FileNotFoundError, match="this is a folder"):
        load_plugins((str(tmp_path),))
    (tmp_path / "mine_too.py").touch()
    with pytest.raises(FileNotFoundError, match='file. Did you mean "mine_too.py"'):
        load_plugins((str(tmp_path / "mine_tow.py"),))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import nothing_of_the_kind", 1, "ModuleNotFoundError: No module named"),
        ("def f(:", 1, "SyntaxError: "),
        (PLUGIN.format(name="itc"), 5, "ValueError: "),
    ],
)
def test_a_plugin_that_fails(tmp_path, text, line, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    before = set(sys.modules)
    for _ in range(2):  # it is no better the second time
        with pytest.raises(ValueError) as error:
            load_plugins((str(path),))
        assert str(error.value).startswith(f'plug-in "{path}", line {line}: {message}')
        assert "\n" not in str(error.value)
    assert not [name for name in set(sys.modules) - before if "vlp_jax_plugin" in name]
