"""Tests of the command line itself: verbs, help, and errors that are one readable message."""

import importlib
import subprocess
import sys

import pytest

from tests.training.tiny import command, environment
from vlp_jax.cli import main as module
from vlp_jax.cli.main import VERBS, main
from vlp_jax.config.plugins import PluginError, load_plugins


def exit_status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_help_lists_every_verb_with_its_summary(capsys):
    assert exit_status("--help") == 0
    shown = "".join(capsys.readouterr().out.split())
    for verb in VERBS:
        summary = importlib.import_module(f"vlp_jax.cli.{verb}").__doc__.strip().splitlines()[0]
        assert "".join((verb + summary).split()) in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert exit_status(verb, "--help") == 0
    assert f"usage: vlp-jax {verb}" in capsys.readouterr().out


def test_unknown_verbs_and_arguments(capsys):
    assert exit_status("trian") == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err
    assert exit_status() == 2
    assert exit_status("evaluate", "--workdir", "x", "--stop", "3") == 2
    assert "unknown arguments: --stop 3" in capsys.readouterr().err


def test_a_verb_without_a_config_takes_no_overrides(capsys):
    assert exit_status("models", "--config.seed=3") == 2
    assert "unknown arguments: --config.seed=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ValueError("a reason"), FileNotFoundError("a reason"), PermissionError("a reason")],
    ids=lambda error: type(error).__name__,
)
def test_user_errors_are_one_line(monkeypatch, capsys, error):
    def fail(args):
        raise error

    monkeypatch.setattr("vlp_jax.cli.evaluate.run", fail)
    assert main(["evaluate", "--workdir", "x"]) == 1
    assert capsys.readouterr().err == "vlp-jax evaluate: a reason\n"


def test_what_a_plugin_should_have_given_is_one_line(monkeypatch, capsys):
    def fail(args):
        raise PluginError("transform Turn gives tuple")

    monkeypatch.setattr("vlp_jax.cli.evaluate.run", fail)
    assert main(["evaluate", "--workdir", "x"]) == 1
    assert capsys.readouterr().err == "vlp-jax evaluate: transform Turn gives tuple\n"


def test_our_own_mistakes_keep_their_trace(monkeypatch):
    def fail(args):
        raise TypeError("a bug")

    monkeypatch.setattr("vlp_jax.cli.evaluate.run", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(["evaluate", "--workdir", "x"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}['a']", "{place}: KeyError: 'a'"),
        ("int('a')", "invalid literal for int() with base 10: 'a' ({place})"),
    ],
)
def test_a_mistake_in_a_plugin_is_one_line_that_says_where(
    tmp_path, monkeypatch, capsys, line, message
):
    file = tmp_path / "mine.py"
    file.write_text(f"def fail(args):\n    {line}\n")
    load_plugins([file])
    mine = next(m for m in sys.modules.values() if vars(m).get("__file__") == str(file))
    monkeypatch.setattr("vlp_jax.cli.evaluate.run", mine.fail)
    assert main(["evaluate", "--workdir", "x"]) == 1
    shown = message.format(place=f'plug-in "{file}", line 2')
    assert capsys.readouterr().err == f"vlp-jax evaluate: {shown}\n"


def test_arguments_come_from_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vlp-jax", "--help"])
    with pytest.raises(SystemExit):
        module.main()
    assert "Vision-language pre-training in JAX" in capsys.readouterr().out


def test_python_m_is_the_same_command():
    ended = subprocess.run(
        command("train", "--config", "nowhere.py", "--workdir", "x"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith('vlp-jax train: no config file "nowhere.py"')
    assert "Traceback" not in ended.stderr
