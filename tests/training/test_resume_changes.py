"""What a resumed run may change, what it says of it, and what it refuses."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from tests.training.tiny import tiny, write_pairs
from vlp_jax.config import DataConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference import load
from vlp_jax.training.experiment import assemble
from vlp_jax.training.loop import train
from vlp_jax.training.resume import check_records, check_resume, check_vocabulary

START = dict(training__steps=2, optimizer__schedule="constant", optimizer__warmup_steps=0)


@pytest.fixture(scope="module")
def resolved():
    """The resolved config of a run on answers."""
    return assemble(tiny("light", **START)).config


def changed(resolved, **overrides) -> list[str]:
    from vlp_jax.config import to_plain

    saved = json.loads(json.dumps(to_plain(resolved)))
    return check_resume(saved, assemble(tiny("light", **START | overrides)).config)


FREE = {
    "longer": dict(training__steps=100),
    "logs": dict(training__log_every=1, training__checkpoint_every=7, training__nan_patience=2),
    "kept": dict(training__keep_checkpoints=5),
    "evaluation": dict(training__evaluate_every=9, evaluation__batch_size=3),
    "measured": dict(tasks__vqa__evaluate={"x": {"limit": 3}}, tasks__retrieval=None),
    "mesh": dict(mesh__fsdp=2),
    "threads": dict(data__threads=2, data__prefetch=1, data__workers=1),
    "name": dict(name="another"),
    "a default spelled out": dict(model__text_args__epsilon=1e-12, tasks__vqa__weight=1.0),
    "init_from": dict(init_from=[{"path": "old.pth"}]),
}


@pytest.mark.parametrize("overrides", FREE.values(), ids=FREE)
def test_what_may_change_without_a_word(resolved, overrides):
    assert changed(resolved, **overrides) == []


SAID = {
    "batch": (
        dict(data__batch_size=16),
        "config.data.batch_size was 8 in the checkpoint and is",
    ),
    "length": (dict(data__text_length=10), "config.data.text_length was 12 in the checkpoint and"),
    "seed": (dict(seed=5), "config.seed was 0 in the checkpoint and is 5 now"),
    "rate": (dict(optimizer__learning_rate=0.5), "config.optimizer.learning_rate was 0.001 in"),
    "task": (dict(tasks__vqa__question_length=7), "config.tasks.vqa.question_length was 8 in the"),
    "weight": (dict(tasks__vqa__weight=2.0), "config.tasks.vqa.weight was 1.0 in the checkpoint"),
    "data": (
        dict(data__source_args__emoji_scenes__size=72),
        "config.data.source_args.emoji_scenes.size was 64 in the checkpoint and is 72 now",
    ),
    "dropout": (dict(model__text_args__dropout=0.1), "config.model.text_args.dropout was 0.0 in"),
    "dtype": (dict(training__dtype="bfloat16"), "config.training.dtype was 'float32' in the check"),
}


@pytest.mark.parametrize(("overrides", "line"), SAID.values(), ids=SAID)
def test_what_is_said_in_one_line(resolved, overrides, line):
    (found,) = changed(resolved, **overrides)
    assert found.startswith(line) and found.endswith(" now")


REFUSED = {
    "activation": dict(model__text_args__activation="relu"),
    "epsilon": dict(model__fusion_args__epsilon=1e-3),
    "pooler": dict(model__pooler="mean"),
}


@pytest.mark.parametrize("overrides", REFUSED.values(), ids=REFUSED)
def test_what_gives_parameters_another_meaning_is_refused(resolved, overrides):
    with pytest.raises(
        ValueError, match=r"config\.model\..* was .* and is .*: the parameters woul"
    ):
        changed(resolved, **overrides)


@pytest.mark.slow
def test_a_resumed_run_says_what_changed(tmp_path, capsys):
    train(tiny("light", **START), tmp_path)
    capsys.readouterr()
    more = dict(training__steps=4, data__batch_size=16, tasks__vqa__question_length=7)
    more["optimizer__momentum_dtype"] = "bfloat16"  # what was kept in float32 is rounded
    result = train(tiny("light", **START | more), tmp_path)
    found = optax.tree_utils.tree_get_all_with_path(result.state.opt_state, "mu")
    assert {str(x.dtype) for x in jax.tree.leaves([mu for _, mu in found])} == {"bfloat16"}
    shown = capsys.readouterr().err
    assert "config.data.batch_size was 8 in the checkpoint and is 16 now\n" in shown
    assert "config.tasks.vqa.question_length was 8" in shown and "training.steps" not in shown
    assert "config.optimizer.momentum_dtype was 'float32' in the checkpoint" in shown


@pytest.mark.slow
def test_a_run_may_go_on_with_a_teacher_in_bfloat16(tmp_path):
    start = dict(training__steps=2, training__checkpoint_every=2)
    train(tiny("pairs", **start), tmp_path)
    half = dict(training__teacher_dtype="bfloat16", training__steps=4)
    state = train(tiny("pairs", **start | half), tmp_path).state
    assert {str(x.dtype) for x in jax.tree.leaves(state.teacher)} == {"bfloat16"}
    assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {"float32"}
    loaded = load(tmp_path, which="teacher").params
    same = lambda a, b: np.testing.assert_array_equal(a, np.asarray(b, np.float32))
    jax.tree.map(same, loaded, state.teacher)


@pytest.mark.slow
def test_a_resumed_run_with_another_meaning_leaves_its_files(tmp_path):
    train(tiny("light", **START), tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ValueError, match="config.model.text_args.activation was 'gelu'"):
        train(tiny("light", **START, model__text_args__activation="relu"), tmp_path)
    assert (tmp_path / "config.json").read_text() == before


class Asking:
    """A source with these answers."""

    provides = frozenset({"question"})
    region_classes = region_attributes = staticmethod(tuple)

    def __init__(self, *answers: str):
        self.answers = lambda: answers


def test_answers_that_the_checkpoint_does_not_know_are_refused():
    names = [f"answer {i:02}" for i in range(48)]
    vocabulary = Vocabulary(Tokenizer.fit(["a"]), tuple(names))
    check_vocabulary(vocabulary, {"a": Asking(*names), "b": Asking(*names[:5])}, DataConfig())
    other = [f"new {i:02}" for i in range(20)]
    with pytest.raises(
        ValueError, match="^20 of the 48 answers of the data are not among the 48 o"
    ):
        check_vocabulary(vocabulary, {"a": Asking(*names[20:], *other)}, DataConfig())


@pytest.mark.slow
def test_a_run_whose_data_have_other_answers_does_not_go_on(tmp_path):
    def pairs(folder: Path, answers: tuple[str, ...]) -> Path:
        folder.mkdir(exist_ok=True)
        question = lambda i: {"question": "what?", "answer": answers[i % len(answers)]}
        return write_pairs(folder, 24, **{f"_{i}": question(i) for i in range(24)})

    path = pairs(tmp_path / "data", ("red", "blue"))
    data = dict(data__source="json", data__path=str(path))
    train(tiny("light", **START, **data), tmp_path / "run")
    pairs(tmp_path / "data", ("red", "green"))
    with pytest.raises(ValueError, match='1 of the 2 answers .* of the checkpoint \\("green"\\)'):
        train(tiny("light", **START | dict(training__steps=4), **data), tmp_path / "run")


@pytest.mark.slow
def test_another_number_of_records_is_said(tmp_path, capsys):
    assert check_records(None, {"a": 3}) == [] == check_records({"a": 3}, {"a": 3, "b": 1})
    (line,) = check_records({"a": 3000}, {"a": 2999})
    assert line.startswith("source a had 3,000 records at the checkpoint and has 2,999 now")
    path = write_pairs(tmp_path)
    data = dict(data__source="json", data__path=str(path))
    train(tiny("pairs", **START, **data), tmp_path / "run")
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries[:-2]))
    shutil.rmtree(tmp_path / "run" / "tensorboard", ignore_errors=True)
    capsys.readouterr()
    train(tiny("pairs", **START | dict(training__steps=4), **data), tmp_path / "run")
    assert "source json had 2" in capsys.readouterr().err
