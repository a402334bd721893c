"""Tests of the plan: which runs there are, what they are called, and what is refused at once."""

from pathlib import Path

import pytest

from tests.sweep.runs import config_file, plan_in
from vlp_jax.config import load_config, to_plain
from vlp_jax.sweep import make_plan


def test_configs_times_variants_times_seeds_in_order(tmp_path):
    plan = plan_in(tmp_path, seeds=(3, 1), variants=[(), ("model.fusion=co_attention",)])
    folders = [str(run.workdir.relative_to(plan.out)) for run in plan.runs]
    assert folders == [
        "a/seed_3",
        "a/seed_1",
        "a_model.fusion=co_attention/seed_3",
        "a_model.fusion=co_attention/seed_1",
    ]
    assert plan.runs[1].name == "a, seed 1"
    assert plan.runs[2].name == "a model.fusion=co_attention, seed 3"
    assert list(plan.groups) == ["a", "a model.fusion=co_attention"]
    assert plan.only(3) is plan.runs[3]


def test_a_run_is_the_config_that_its_command_line_gives(tmp_path):
    plan = make_plan(
        [config_file(tmp_path / "a.py")],
        [["optimizer.learning_rate=0.5", "training.steps=9"]],
        ["data.batch_size=8"],
        [7],
        tmp_path,
    )
    (run,) = plan.runs
    assert run.overrides == [
        "--config.data.batch_size=8",
        "--config.optimizer.learning_rate=0.5",
        "--config.training.steps=9",
        "--config.seed=7",
    ]
    assert run.config == to_plain(load_config(run.spec, run.overrides))
    assert run.config["seed"] == 7 and run.config["training"]["steps"] == 9
    assert run.group == "a optimizer.learning_rate=0.5 training.steps=9"


def test_names_tell_configs_of_one_file_name_apart(tmp_path):
    models = ("albef", "lxmert")
    specs = [config_file(tmp_path / "configs" / model / "scenes.py") for model in models]
    plan = make_plan([*specs, f"{specs[0]}:smoke"], [], [], [0], tmp_path)
    assert list(plan.groups) == ["albef/scenes", "lxmert/scenes", "albef/scenes:smoke"]
    assert len({run.workdir for run in plan.runs}) == 3
    assert all(run.workdir.parent.parent == tmp_path for run in plan.runs)


def test_no_setting_leaves_the_folder_or_shares_one(tmp_path):
    values = ["../../x", "/x", "a b", "a_b", "A_B", "x" * 300, "x" * 301]
    variants = [[f"data.path={value}"] for value in values]
    plan = make_plan([config_file(tmp_path / "a.py")], variants, [], [0], tmp_path / "out")
    folders = [run.workdir.parent for run in plan.runs]
    assert len({str(folder).casefold() for folder in folders}) == len(values)
    for folder in folders:
        assert folder.resolve().parent == (tmp_path / "out").resolve()
        assert len(folder.name) < 120


REFUSED = {
    "no seed": (dict(seeds=()), "--seeds: expected at least one value"),
    "seed twice": (dict(seeds=(1, 1)), "--seeds: 1 is given twice"),
    "variant twice": (
        dict(variants=[("a.b=1", "a.c=2"), ("a.c=2", "a.b=1")]),
        "--override: a.b=1 a.c=2 is given twice",
    ),
    "plain twice": (dict(variants=[(), ()]), "--override: the config as it is is given twice"),
    "no value": (dict(variants=[("model.fusion",)]), "expected group.field=value"),
    "prefix": (dict(variants=[("--config.a=1",)]), 'group.field=value, without "--config."'),
    "seed": (dict(variants=[("seed=1",)]), "give seeds by --seeds"),
    "unknown field": (
        dict(variants=[("trainig.steps=1",)]),
        'a trainig.steps=1, seed 0: config.trainig: no such field. Did you mean "training"?',
    ),
    "negative seed": (dict(seeds=(-1,)), "config.seed = -1: must be in [0, 4294967295]"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_refused_before_anything_runs(tmp_path, arguments, message):
    with pytest.raises(ValueError) as error:
        plan_in(tmp_path, **arguments)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_config_names_the_nearest(tmp_path):
    config_file(tmp_path / "quickstart.py")
    with pytest.raises(FileNotFoundError, match='Did you mean ".*quickstart.py"'):
        make_plan([str(tmp_path / "quikstart.py")], [], [], [0], tmp_path)


def test_an_index_outside_of_the_sweep(tmp_path):
    with pytest.raises(ValueError, match="index 4: the sweep has 4 runs, 0 to 3"):
        plan_in(tmp_path).only(4)


def test_the_same_config_twice(tmp_path):
    spec = config_file(tmp_path / "a.py")
    with pytest.raises(ValueError, match="--config: .*a.py is given twice"):
        make_plan([spec, spec], [], [], [0], Path("out"))
