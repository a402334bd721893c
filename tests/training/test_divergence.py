"""A run that diverges: which steps count, what is saved, and from where the run goes on."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_checkpoint import ABOUT, state_of, steps_in
from tests.training.tiny import differing, tiny
from vlp_jax.training import loop
from vlp_jax.training.checkpoint import CheckpointStore, open_store
from vlp_jax.training.checkpoint_marks import DIVERGED, GOOD
from vlp_jax.training.loop import NonFiniteError, train

GOES_ON_FROM_4 = "goes on from the checkpoint of step 4, which is good"
EVERY = dict(
    training__checkpoint_every=1, optimizer__schedule="constant", optimizer__warmup_steps=0
)


def config_of(steps: int, rate: float = 1e-3):
    return tiny("light", training__steps=steps, optimizer__learning_rate=rate, **EVERY)


def marks(workdir: Path) -> dict[int, str | None]:
    with open_store(workdir) as store:
        return {step: store.marks.of(step) for step in store.steps}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The state after six good steps."""
    return train(config_of(6), tmp_path_factory.mktemp("undisturbed")).state


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e12, 1e15, 1e30])
def test_parameters_that_ruin_the_next_loss_are_not_good(tmp_path, undisturbed, rate, caplog):
    """They are finite at any rate, so that step 5 is saved; what comes of them is not."""
    train(config_of(4), tmp_path)
    with pytest.raises(NonFiniteError, match=GOES_ON_FROM_4):
        train(config_of(30, rate), tmp_path)
    assert marks(tmp_path) == {4: GOOD, 5: DIVERGED}
    with open_store(tmp_path) as store:
        assert (store.latest_step, store.good_step) == (4, 4)
        assert int(store.about()["config"]["training"]["steps"]) == 4
    assert differing(train(config_of(6), tmp_path).state, undisturbed) == []
    assert "the checkpoint of step 5 is set aside: no step after it was finite" in caplog.text
    assert (tmp_path / "checkpoints" / "5.diverged").is_dir()


def poison(monkeypatch, *steps: int) -> None:
    """Makes the data of these steps, counted from 0, give a loss that is not finite."""
    put, number = loop.put_batch, iter(range(1000))

    def put_batch(batch, mesh):
        if next(number) in steps:
            batch = batch | {"answer_scores": np.full_like(batch["answer_scores"], np.nan)}
        return put(batch, mesh)

    monkeypatch.setattr(loop, "put_batch", put_batch)


@pytest.mark.slow
def test_nothing_is_saved_while_steps_are_bad(tmp_path, monkeypatch):
    """Step 3 is due and bad; the checkpoint is made up for at step 4."""
    poison(monkeypatch, 1, 2)
    saved, save = [], CheckpointStore.save
    spy = lambda self, step, *more: (saved.append(step), save(self, step, *more))
    monkeypatch.setattr(CheckpointStore, "save", spy)
    settings = EVERY | dict(training__checkpoint_every=3, training__steps=7)
    train(tiny("light", **settings), tmp_path)
    assert saved == [4, 6, 7]
    assert marks(tmp_path) == {6: GOOD, 7: None}


@pytest.mark.slow
def test_bad_last_steps_are_not_saved(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, 4, 5)
    result = train(config_of(6), tmp_path)
    assert result.step == 6 and steps_in(CheckpointStore(tmp_path)) == [3, 4]
    message = "the last 2 steps were not finite and are not saved: the newest checkpoint is of"
    assert f"{message} step 4" in capsys.readouterr().err


def test_the_newest_good_one_outlives_unproven_ones(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3):
        store.save(step, state_of(step), ABOUT)
    store.mark_good(2)
    for step in (4, 5, 6):
        store.save(step, state_of(step), ABOUT)
    store.wait()
    assert steps_in(store) == [2, 5, 6] and store.good_step == 2
    store.mark_good(6)
    store.save(7, state_of(7), ABOUT)
    store.close()
    assert steps_in(store) == [6, 7]
    assert json.loads(json.dumps(marks(tmp_path))) == {"6": GOOD, "7": None}


def test_a_mark_is_of_one_checkpoint_not_of_its_step(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, state_of(1), ABOUT)
    store.mark_good(1)
    store.wait()
    store.set_aside(1, "damaged")
    assert store.latest_step is None
    store.save(1, state_of(1), ABOUT)
    store.close()
    assert marks(tmp_path) == {1: None}
