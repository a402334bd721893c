"""Tests of plug-ins: where they are found, when they run, and what is said of those that fail."""

import pytest

from vlp_jax.config import ExperimentConfig, load_config, write_config
from vlp_jax.config.plugins import check_plugins, load_plugins
from vlp_jax.tasks import TASKS
from vlp_jax.tasks import build_tasks as build
from vlp_jax.training.experiment import assemble

CONFIG = 'def get_config(): return dict(plugins=("{}",), tasks=dict({}={{}}))'
PLUGIN = """
from dataclasses import dataclass
from vlp_jax.tasks import TASKS, Task

@TASKS.register("{0}")
@dataclass(frozen=True)
class Mine(Task):
    speed: float = 2.0
"""


def build_tasks(config):
    load_plugins(config.plugins)
    return build(config)


@pytest.fixture
def forget(monkeypatch):
    """Takes what plug-ins register out again."""
    before = dict(TASKS)
    yield
    for name in TASKS.keys() - before.keys():
        del TASKS[name]


@pytest.fixture
def folders(tmp_path, monkeypatch, forget):
    """A folder for the config and another one to work in."""
    configs, here = tmp_path / "configs", tmp_path / "here"
    configs.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return configs, here


def test_a_plugin_stands_beside_the_config(folders):
    configs, _ = folders
    (configs / "mine.py").write_text(PLUGIN.format("beside"))
    (configs / "a.py").write_text(CONFIG.format("mine.py", "beside"))
    config = load_config(str(configs / "a.py"))
    assert config.plugins == (str(configs / "mine.py"),)
    assert build_tasks(config)["beside"].speed == 2.0


def test_a_plugin_is_found_from_the_working_directory(folders):
    configs, here = folders
    (here / "mine.py").write_text(PLUGIN.format("from_here"))
    (configs / "a.py").write_text(CONFIG.format("mine.py", "from_here"))
    config = load_config(f"{configs}/a.py")
    assert config.plugins == (str(here / "mine.py"),)
    assert "from_here" in build_tasks(config)


def test_a_plugin_is_found_whatever_else_is_overridden(folders):
    configs, here = folders
    (configs / "mine.py").write_text("")
    (here / "other.py").write_text("")
    (configs / "a.py").write_text("def get_config(): return dict(tasks=dict(vqa={}))")
    given = ("--config.plugins=mine.py", "--config.tasks.vqa.weight=2.0")
    assert load_config(f"{configs}/a.py", given).plugins == (str(configs / "mine.py"),)
    given = ("--config.plugins=('mine.py', 'other.py')",)
    found = (str(configs / "mine.py"), str(here / "other.py"))
    assert load_config(f"{configs}/a.py", given).plugins == found


def test_the_working_directory_comes_first(folders):
    configs, here = folders
    for folder in folders:
        (folder / "mine.py").write_text("")
    (configs / "a.py").write_text(CONFIG.format("mine.py", "vqa"))
    assert load_config(f"{configs}/a.py").plugins == (str(here / "mine.py"),)


def test_the_written_config_finds_it_from_anywhere(folders, tmp_path, monkeypatch):
    configs, here = folders
    (configs / "mine.py").write_text(PLUGIN.format("anywhere"))
    (configs / "a.py").write_text(CONFIG.format("mine.py", "anywhere"))
    config = load_config(f"{configs}/a.py")
    write_config(config, here / "config.json")
    monkeypatch.chdir(tmp_path)
    again = load_config(str(here / "config.json"))
    assert again == config and "anywhere" in build_tasks(again)


def test_settings_of_a_plugins_task_are_checked(folders):
    configs, _ = folders
    (configs / "mine.py").write_text(PLUGIN.format("checked"))
    (configs / "a.py").write_text(CONFIG.format("mine.py", "checked"))
    for override, message in (
        ("speed=x", "config.tasks.checked.speed = 'x' \\(str\\): expected float"),
        ("sped=1", 'config.tasks.checked.sped: no such field. Did you mean "speed"'),
        ("weight=-1", "config.tasks.checked.weight = -1.0: must be at least 0"),
    ):
        config = load_config(f"{configs}/a.py", [f"--config.tasks.checked.{override}"])
        with pytest.raises(ValueError, match=message):
            build_tasks(config)


def test_a_plugin_runs_once(folders):
    _, here = folders
    (here / "once.py").write_text("import pathlib\npathlib.Path('runs').open('a').write('x')\n")
    for path in ("once.py", str(here / "once.py"), "../here/once.py"):
        load_plugins((path,))
    assert (here / "runs").read_text() == "x"


def test_a_plugin_that_is_not_there_is_named(folders):
    with pytest.raises(FileNotFoundError, match='plug-in "gone.py": there is no such file'):
        assemble(ExperimentConfig(plugins=("gone.py",), tasks={"vqa": {}}))


def test_the_plugin_of_a_saved_run_runs_only_if_it_is_given(folders):
    """Nothing that a checkpoint names is run by itself."""
    _, here = folders
    (here / "given.py").write_text(PLUGIN.format("given"))
    config = ExperimentConfig(plugins=("/elsewhere/given.py",))
    with pytest.raises(ValueError, match="uses plug-ins, /elsewhere/given.py: Python code that"):
        check_plugins(config)
    load_plugins(["given.py"])
    check_plugins(config)
    check_plugins(ExperimentConfig())


def test_a_plugin_that_fails_is_named_and_can_be_mended(folders):
    _, here = folders
    (here / "broken.py").write_text("1 / 0")
    with pytest.raises(
        ValueError, match='plug-in "broken.py", line 1: ZeroDivisionError: division by'
    ):
        load_plugins(("broken.py",))
    (here / "broken.py").write_text(PLUGIN.format("mended") + "\n# mended")
    load_plugins(("broken.py",))
    assert "mended" in TASKS
