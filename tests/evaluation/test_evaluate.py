"""Tests of which evaluation tasks run on which source."""

from types import SimpleNamespace

import pytest

from tests.data.sources.tars import write_shards
from vlp_jax.config import DataConfig, ExperimentConfig
from vlp_jax.evaluation.context import Context
from vlp_jax.evaluation.evaluate import _cannot_run


def reason(args, task_source, heads=("itc",), needs=("image", "caption")):
    """Returns why a task on `task_source` would be left out of an experiment on "web"."""
    data = DataConfig(source="web", source_args=args)
    bound = SimpleNamespace(model=SimpleNamespace(heads={"itc": {}}))
    task = SimpleNamespace(source=task_source, split="test", heads=heads, needs=needs)
    return _cannot_run(Context(ExperimentConfig(data=data), None, bound), task)


@pytest.fixture
def args(tmp_path):
    shards = {"kind": "webdataset", "path": str(write_shards(tmp_path / "web", 2, 10))}
    return {"web": shards, "coco": {**shards, "holdout": 0.3}, "easy_vqa": {}}


def test_a_named_source_may_be_evaluated_without_being_trained_on(args):
    assert reason(args, "") is None
    assert reason(args, "web") is None
    assert reason(args, "coco") is None


def test_other_tasks_are_left_out_with_their_reason(args):
    assert "nor a name of config.data.source_args that gives a kind" in reason(args, "easy_vqa")
    assert reason(args, "coco", heads=("itc", "itm")) == "the model has no head itm"
    assert reason(args, "coco", needs=("question",)) == "its source gives no question"
