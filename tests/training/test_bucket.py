"""Runs in a bucket: their checkpoints and rows, and a run that is killed there and goes on."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import vlp_jax
from tests.training.test_checkpoint import ABOUT, abstract, state_of
from tests.training.tiny import CONFIG, command, differing, environment, tiny
from vlp_jax.cli.measure.run_checks import check_workdir
from vlp_jax.data.buckets import bucket_path
from vlp_jax.training import row_file
from vlp_jax.training.checkpoint import CheckpointStore, DamagedCheckpoint, open_store
from vlp_jax.training.checkpoint_marks import DIVERGED, GOOD
from vlp_jax.training.loop import train
from vlp_jax.training.row_file import RowFile, read_rows

pytestmark = pytest.mark.slow  # where gcsfs is installed

DEADLINE = 300  # seconds, for a machine that has much else to do


def test_checkpoints_and_their_marks_come_back(cloud):
    store = CheckpointStore("gs://here/marked", keep=2)
    for number in (1, 2, 3):
        store.save(number, state_of(number), ABOUT | {"step": number})
        store.mark_good(number)
    store.save(4, state_of(4), ABOUT)
    store.mark_diverged()
    store.close()
    names = [name for name in cloud.buckets["here"] if name.startswith("marked/checkpoints/")]
    assert sorted({name.split("/")[2] for name in names}) == ["3", "4"]
    with open_store("gs://here/marked") as store:
        assert [store.marks.of(step) for step in store.steps] == [GOOD, DIVERGED]
        assert store.latest_step == 3 and store.about() == ABOUT | {"step": 3}
        assert differing(store.restore(abstract(state_of(0))), state_of(3)) == []


def test_a_damaged_checkpoint_is_told_and_set_aside(cloud):
    store = CheckpointStore("gs://here/damaged")
    for number in (1, 2):
        store.save(number, state_of(number), ABOUT)
    store.wait()
    name = next(n for n in cloud.buckets["here"] if n.startswith("damaged/checkpoints/2/state/d/"))
    content = bytearray(cloud.buckets["here"][name][1])
    content[len(content) // 2] ^= 1
    cloud.put("here", name, bytes(content))
    with pytest.raises(DamagedCheckpoint, match="step 2 is damaged.* undamaged one is of step 1"):
        store.about()
    store.set_aside(2, "damaged")
    assert store.latest_step == 1 and store.steps == [1]
    assert "damaged/checkpoints/2.damaged/commit_success.txt" in cloud.buckets["here"]
    store.close()


def test_a_half_saved_checkpoint_is_none(cloud):
    store = CheckpointStore("gs://here/half")
    store.save(1, state_of(1), ABOUT)
    store.close()
    kept = {n: c for n, (_, c) in cloud.buckets["here"].items() if n.startswith("half/")}
    for name, content in kept.items():
        if not name.endswith("1/commit_success.txt"):
            cloud.put("here", name.replace("/1/", "/2/"), content)
    with open_store("gs://here/half") as store:
        assert store.steps == [1]
    CheckpointStore("gs://here/half").close()
    assert not any(name.startswith("half/checkpoints/2/") for name in cloud.buckets["here"])


def test_rows_are_kept_when_asked_for_and_from_time_to_time(cloud, monkeypatch):
    path = bucket_path("gs://here/rows/metrics.jsonl", "rows")
    steps = lambda: [row["step"] for row in read_rows(path)]
    rows = RowFile(path, 0)
    rows.write({"step": 1})
    assert steps() == []
    rows.keep()
    assert steps() == [1]
    monkeypatch.setattr(row_file, "BUCKET_SECONDS", 0)
    rows = RowFile(path, 1)
    rows.write({"step": 2})
    assert steps() == [1, 2]
    RowFile(path, 1).close()
    assert steps() == [1]


def test_a_store_that_fails_ends_no_run(cloud, caplog):
    cloud.buckets["closed"] = {}
    rows = RowFile(bucket_path("gs://closed/metrics.jsonl", "rows"), 0)
    rows.write({"step": 1})
    cloud.forbidden.add("closed")
    rows.keep()
    assert "gs://closed/metrics.jsonl is not written, for now: Forbidden" in caplog.text
    cloud.forbidden.remove("closed")
    rows.close()
    assert cloud.buckets["closed"]["metrics.jsonl"][1] == b'{"step": 1}\n'


REFUSED = {
    "gs://forbidden/run": "workdir gs://forbidden/run cannot be written: Forbidden",
    "gs://gone/run": 'workdir gs://gone/run cannot be written: there is no bucket "gone"',
    "gs://": 'workdir "gs://" names no bucket; expected gs://bucket/folder',
}


@pytest.mark.parametrize(("workdir", "message"), REFUSED.items())
def test_a_bucket_that_cannot_be_written_is_told_before_training(cloud, workdir, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(tiny("light"), workdir)
    assert "gone" not in cloud.buckets


def test_a_preflight_tries_to_write_there(cloud):
    check = lambda workdir: check_workdir(bucket_path(workdir, "workdir"), 1 << 20, 2)
    assert check("gs://here/new").verdict == "ok"
    assert check("gs://forbidden/new").verdict == "wrong"
    assert not any(name.startswith("new/") for name in cloud.buckets["here"])


def test_a_run_that_is_not_there(cloud):
    store = CheckpointStore("gs://here/beside/run")
    store.save(1, state_of(1), ABOUT)
    store.close()
    hint = re.escape(
        'is neither a path nor a published model. Did you mean "gs://here/beside/run"?'
    )
    with pytest.raises(FileNotFoundError, match=hint):
        vlp_jax.load("gs://here/beside/rum")
    with pytest.raises(ValueError, match="the run gs://forbidden/run: Forbidden"):
        vlp_jax.load("gs://forbidden/run")


def start(workdir: str | Path, *more: str) -> subprocess.Popen:
    options = ("steps=20", "log_every=1", "checkpoint_every=4", "writers=('tensorboard',)")
    given = [f"--config.training.{option}" for option in options]
    return subprocess.Popen(
        command("train", "--config", f"{CONFIG}:light", "--workdir", workdir, *given, *more),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(workdir: str | Path, *more: str) -> None:
    process = start(workdir, *more)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors


def kill_after(name: str, workdir: str, objects: dict) -> None:
    """Starts the run and kills it once an object is there."""
    process = start(workdir)
    deadline = time.monotonic() + DEADLINE
    while name not in objects:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_run_killed_in_a_bucket_equals_one_undisturbed_on_a_disk(cloud, tmp_path):
    objects = cloud.buckets["here"]
    kill_after("killed/run/checkpoints/8/commit_success.txt", "gs://here/killed/run", objects)
    assert "killed/run/checkpoints/20/commit_success.txt" not in objects
    assert b'{"step": 8, ' in objects["killed/run/metrics.jsonl"][1]
    finish("gs://here/killed/run", "--report")
    finish(tmp_path)
    assert objects["killed/run/metrics.jsonl"][1] == (tmp_path / "metrics.jsonl").read_bytes()
    params = [vlp_jax.load(place).params for place in ("gs://here/killed/run", tmp_path)]
    assert differing(*params) == []
    assert b"<html" in objects["killed/run/report.html"][1]
    kept = "\n".join(objects)
    assert "killed/run/summary.json" in kept and "killed/run/tensorboard/events.out" in kept
    assert "killed/run/vocab.txt" in kept and "killed/run/pictures/1.png" in kept
