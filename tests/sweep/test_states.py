"""Tests of what is read from a run's folder."""

import json

import pytest

from tests.sweep.runs import finish, plan_in
from vlp_jax.sweep.states import SUMMARY, State, flat, progress, record_failure, record_start


def test_a_run_from_start_to_end(tmp_path):
    run = plan_in(tmp_path).runs[0]
    assert progress(run).state is State.WAITING
    record_start(run)
    assert progress(run).state is State.UNFINISHED
    record_failure(run, "ended with status 3: it diverged")
    assert progress(run).state is State.FAILED
    assert progress(run).failure == "ended with status 3: it diverged"
    record_start(run)
    assert progress(run).state is State.UNFINISHED
    finish(run, i2t_r1=0.5)
    assert progress(run).state is State.DONE and progress(run).figures == {"i2t_r1": 0.5}
    # A summary that an attempt left before it failed does not count.
    record_failure(run, "ended with status 1")
    assert progress(run).state is State.FAILED and progress(run).figures is None


def test_a_folder_with_another_config_is_refused(tmp_path):
    finish(plan_in(tmp_path, variants=[()]).runs[0])
    (tmp_path / "other").mkdir()
    other = plan_in(tmp_path / "other", variants=[()]).runs[0]
    changed = type(other)(**{**vars(other), "workdir": tmp_path / "out" / "a" / "seed_0"})
    assert progress(changed).state is State.DONE
    changed.config["training"]["steps"] = 5
    with pytest.raises(ValueError, match="config.training.steps is 4 there and 5 now. Choose"):
        progress(changed)


def edit_record(run, edit) -> None:
    path = run.workdir / "sweep.json"
    record = json.loads(path.read_text())
    edit(record["config"])
    path.write_text(json.dumps(record))


def test_a_run_from_before_a_field_was_there_is_known(tmp_path):
    run = plan_in(tmp_path).runs[0]
    finish(run)
    edit_record(run, lambda config: config["training"].pop("nan_patience"))
    assert progress(run).state is State.DONE
    edit_record(run, lambda config: config["training"].update(old_field=1))
    with pytest.raises(ValueError, match="sweep.json: config.training.old_field: no such field"):
        progress(run)


def test_a_folder_that_no_sweep_made_is_refused(tmp_path):
    run = plan_in(tmp_path).runs[0]
    run.workdir.mkdir(parents=True)
    (run.workdir / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="was not started by a sweep"):
        progress(run)


@pytest.mark.parametrize(
    ("text", "message"), [('{"i2t_r1": ', "not valid JSON"), ("[0.5]", "found list")]
)
def test_a_damaged_summary_is_named(tmp_path, text, message):
    run = plan_in(tmp_path).runs[0]
    finish(run)
    (run.workdir / SUMMARY).write_text(text)
    with pytest.raises(ValueError, match=f"summary.json.* {message}"):
        progress(run)


def test_flat_paths():
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
