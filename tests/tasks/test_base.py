"""Tests of what a task is without anything of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.chains import feed_of
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import ExperimentConfig
from vlp_jax.data.masking import MaskWords
from vlp_jax.tasks import Result, Task
from vlp_jax.tasks.naming import flat_name, metric_titles


def test_a_task_asks_for_nothing():
    task = Task()
    task.check("config.tasks.mine", ExperimentConfig(), {"mine": task})
    assert task.transforms(feed_of()) == () and task.heads(None) == {}
    assert task.words(["yes"]) == () and task.reads == frozenset()
    assert task.state(None, jax.random.key(0)) is None
    assert task.constrain({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match=r"Task has no loss\(step\): write one, or say trains"):
        loss_of(task, FakeViews({"image_id": [0]}))


def test_a_result_is_a_tree():
    doubled = jax.tree.map(lambda x: 2 * x, Result(jnp.ones(()), {"accuracy": 0.25}, (3,)))
    assert (doubled.loss, doubled.metrics, doubled.state) == (2, {"accuracy": 0.5}, (6,))


def test_a_plugins_task_has_its_own_names():
    class Mine(Task):
        metrics = {"speed": "Speed"}

    titles = metric_titles({"mine": Mine()})
    assert titles == {"mine_loss": "mine loss", "mine_speed": "Speed"}
    assert flat_name("mine", Mine(), "speed") == "mine_speed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.float32(1), "config.tasks.x: loss gives float32, expected a Result"),
        (Result(np.ones(3)), r"config.tasks.x: loss is ndarray \[3\], expected one number"),
        (Result(1.0, 2.0), "config.tasks.x: loss gives float as metrics, expected name"),
        (Result(1.0, {"acuracy": 1}), '"acuracy", which Mine.metrics does .* mean "accuracy"'),
        (Result(1.0, {"accuracy": "1"}), r"config.tasks.x: accuracy is str \[\], expected one"),
    ],
)
def test_what_a_loss_gives_is_checked(given, message):
    class Mine(Task):
        metrics = {"accuracy": "Accuracy"}

        def loss(self, step):
            return given

    with pytest.raises(ValueError, match=message):
        Mine().checked_loss(None, "config.tasks.x")


MASK = MaskWords(None)


@pytest.mark.parametrize("given", [MASK, [MASK], ("text",)], ids=("alone", "list", "text"))
def test_transforms_come_as_a_tuple(given):
    class Mine(Task):
        def transforms(self, feed):
            return given

    with pytest.raises(ValueError, match=r"Mine.transforms\(\) gives .*, expected a tuple"):
        Mine().checked_transforms(None)
