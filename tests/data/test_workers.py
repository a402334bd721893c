"""Tests of worker processes: the same batches, and no way to end that is not a sentence."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from tests.data import fakes
from tests.data.chains import chain, questions, words
from tests.data.fakes import FakeSource
from vlp_jax.config.plugins import PluginError
from vlp_jax.data.masking import Masking
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.pipeline import Pipeline, evaluation_batches
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.records import SkippedRecords

# Workers can't import the tests: another package of this name may be installed.
for module in (fakes, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

CHAIN = chain(questions(), words(Masking(0.5)), regions=2, augment="crop_flip")
BROKEN = {2: {"image": b"junk"}, 5: {"captions": ["", "!?"]}}


class Failing(FakeSource):
    """A source that raises an exception of a kind for every record."""

    def __init__(self, kind, *said):
        super().__init__(8)
        self.kind, self.said = kind, said

    def __getitem__(self, index):
        raise self.kind(*self.said)


class Unsendable(Exception):
    """An exception that can't be made again from its message."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class OfThisProcess(FakeSource):
    """A source that can't be pickled."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Devices(FakeSource):
    """A source whose records say which platform JAX has in the process that reads them."""

    def __getitem__(self, index):
        import jax

        number = ("cpu", "gpu", "tpu").index(jax.default_backend())
        return super().__getitem__(index) | {"image_id": number * 100 + (os.getpid() != MAIN)}


MAIN = os.getpid() if multiprocessing.parent_process() is None else os.getppid()


def pipeline(source=None, size=6, **options):
    """Returns a pipeline of small pictures that two workers read."""
    source = source or FakeSource(broken=BROKEN)
    return Pipeline(source, CHAIN, size, seed=1, shuffle=False, reading=Reading(**options))


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def processes():
    """Returns the worker processes that there are."""
    return [p for p in multiprocessing.active_children() if "grain" in p.name.lower()]


def ended(children):
    """Says whether processes end within a few seconds."""
    for child in children:
        child.join(10)
    return not any(child.is_alive() for child in children)


@pytest.mark.parametrize(
    "workers, threads, prefetch",
    [
        (1, 1, 1),
        pytest.param(2, 2, 3, marks=pytest.mark.slow),
        pytest.param(3, 0, 0, marks=pytest.mark.slow),
    ],
)
def test_batches_are_the_same_with_any_workers_from_any_step(workers, threads, prefetch):
    alone = pipeline()
    made = pipeline(threads=threads, prefetch=prefetch, workers=workers)
    for start in (0, 7):
        stream = made.iterate(start)
        for step in range(start, start + 5):
            assert same(next(stream), alone.batch(step))
        stream.close()


@pytest.mark.slow
def test_evaluation_batches_are_the_same():
    skipped, expected = SkippedRecords(), SkippedRecords()
    source = FakeSource(11, broken=BROKEN)
    alone = list(evaluation_batches(source, CHAIN, 4, skipped=expected))
    reading = Reading(workers=2)
    made = list(evaluation_batches(source, CHAIN, 4, skipped=skipped, reading=reading))
    assert len(made) == 3 and all(map(same, made, alone))
    assert skipped.reasons == expected.reasons and set(skipped.reasons) == {2, 5}


@pytest.mark.slow
def test_what_workers_skip_is_counted_and_said_once_in_the_main_process(caplog):
    alone, made = pipeline(), pipeline(workers=2)
    stream = made.iterate()
    with caplog.at_level(logging.WARNING):
        for step in range(8):  # two epochs and more: both workers meet the same records
            next(stream)
            alone.batch(step)
    stream.close()
    assert made.skipped == alone.skipped and made.skipped_total == 2
    said = [line for line in caplog.messages if "skipped record 2" in line]
    assert len(said) == 2  # one for each pipeline


@pytest.mark.slow
@pytest.mark.parametrize("order", ["drawn", "in_turn"])
def test_a_mixture_has_its_workers_together(order):
    def mixture(reading=Reading()):
        parts = [
            ("a", pipeline(FakeSource(12)), 1),
            ("b", pipeline(FakeSource(7, broken=BROKEN)), 1),
        ]
        return Mixture(parts, 2, order, reading)

    alone, made = mixture(), mixture(Reading(workers=2))
    stream = made.iterate(3)
    for step in range(3, 13):
        assert same(next(stream), alone.batch(step))
    assert len(processes()) == 2 and made.skipped == alone.skipped
    assert set(made.skipped) == {"b/2", "b/5"}
    stream.close()


@pytest.mark.slow
def test_closing_and_dropping_end_the_processes():
    closed, dropped = (pipeline(workers=2).iterate() for _ in range(2))
    next(closed), next(dropped)
    children = processes()
    assert len(children) == 4
    closed.close()
    del dropped
    assert ended(children)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source, kind, message",
    [
        (
            Failing(OSError, "the disk is gone"),
            ValueError,
            "8 of 8 records .* could be used.*disk is gone",
        ),
        (Failing(PluginError, "a transform is wrong"), PluginError, "^a transform is wrong$"),
        (
            Failing(Unsendable, "this", "that"),
            RuntimeError,
            r"a worker process failed:\n[\s\S]*this and that",
        ),
    ],
)
def test_errors_of_workers_arrive(source, kind, message):
    stream = pipeline(source, workers=1).iterate()
    with pytest.raises(kind, match=message):
        next(stream)
    assert ended(processes())


@pytest.mark.slow
def test_a_killed_worker_is_one_sentence_and_no_hang():
    stream = pipeline(workers=2).iterate()
    next(stream)
    children = processes()
    os.kill(children[0].pid, signal.SIGKILL)
    with pytest.raises(ValueError, match=r"a worker process .* exit code -9 \(killed.*workers = 0"):
        for _ in range(50):
            next(stream)
    assert ended(children)


@pytest.mark.slow
def test_signals_of_the_terminal_do_not_reach_workers():
    stream, alone = pipeline(workers=2).iterate(), pipeline()
    killer = threading.Thread(target=_signal_all_for_a_while)
    killer.start()
    for step in range(8):
        assert same(next(stream), alone.batch(step))
    killer.join()
    stream.close()


def _signal_all_for_a_while():
    until = time.monotonic() + 60
    seen = set()
    while len(seen) < 2 and time.monotonic() < until:  # each as it starts
        time.sleep(0.02)
        for child in processes():
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(child.pid, number)
            seen.add(child.pid)


@pytest.mark.slow
def test_workers_have_no_device_but_the_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")  # where there is none, to use it would fail
    stream = pipeline(Devices(), workers=1).iterate()
    assert set(next(stream)["image_id"].tolist()) == {1}
    stream.close()


def test_a_source_that_cannot_be_pickled_is_refused():
    stream = pipeline(OfThisProcess(), workers=2).iterate()
    with pytest.raises(ValueError, match=r"pickled.*cannot pickle .*lock.*workers = 0"):
        next(stream)


PROGRAM = """
import multiprocessing, sys, time
import numpy as np
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import Feed, make_chain
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.sources.base import Source
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary

class Numbers(Source):
    provides = frozenset({"image"})

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"image": np.zeros((8, 8, 3), np.uint8), "image_id": index}

if __name__ == "__main__":
    feed = Feed(DataConfig(image_size=8), Numbers.provides, Vocabulary(Tokenizer.fit(["a"])), True)
    made = Pipeline(Numbers(), make_chain(feed, lambda feed: []), 4, reading=Reading(workers=2))
    stream = made.iterate()
    next(stream)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_workers_end_with_a_main_process_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    main = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    children = [int(pid) for pid in main.stdout.readline().split()]
    main.kill()
    main.wait()
    until = time.monotonic() + 30
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(children) == 2 and not any(map(_runs, children))


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
