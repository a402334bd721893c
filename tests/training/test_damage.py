"""Checkpoints that have changed on the disk: found, named, and got round."""

import itertools
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.training.test_checkpoint import ABOUT, abstract, state_of
from tests.training.tiny import differing, tiny, without_checksums
from vlp_jax.parallel import make_mesh
from vlp_jax.training.checkpoint import CheckpointStore, DamagedCheckpoint, open_store, read_run
from vlp_jax.training.checkpoint_files import NOTE, changed_file, note_files
from vlp_jax.training.checkpoint_marks import GOOD
from vlp_jax.training.checksums import _sum_on_devices, _sum_on_host, checksums
from vlp_jax.training.loop import train

FLIPS = 30


def wide_state(number: int) -> dict:
    """One with enough noise in it that a flipped bit lands in an array."""
    draw = lambda shape: np.random.default_rng(number).normal(size=shape).astype(np.float32)
    return state_of(number) | {
        "params": {"text": {"kernel": jnp.asarray(draw((64, 64)))}},
        "opt_state": [None, {"mu": jnp.asarray(draw((64, 32)))}],
    }


@pytest.fixture
def saved(tmp_path) -> Path:
    """A workdir with the checkpoints of steps 1, 2 and 3."""
    store = CheckpointStore(tmp_path / "run", keep=3)
    for number in (1, 2, 3):
        store.save(number, wide_state(number), ABOUT)
    store.close()
    return tmp_path / "run"


def array_files(workdir: Path, step: int) -> list[Path]:
    files = [p for p in (workdir / "checkpoints" / str(step) / "state").rglob("d/*") if p.is_file()]
    return [p for p in files if p.stat().st_size > 4096]


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_every_flip_that_changes_a_number_is_found(saved):
    """A flip may also fall where nothing is read; then the state is what was saved."""
    draw, found = random.Random(0), 0
    for _ in range(FLIPS):
        file = draw.choice(array_files(saved, 3))
        bit = draw.randrange(8 * file.stat().st_size)
        flip(file, bit)
        with open_store(saved) as store:
            try:
                state = store.restore(abstract(wide_state(0)))
                assert differing(state, wide_state(3)) == []
            except DamagedCheckpoint as error:
                assert "the checkpoint of step 3 is damaged: " in str(error)
                assert (error.step, error.undamaged) == (3, 2)
                found += 1
        flip(file, bit)
    assert found >= 0.8 * FLIPS


def test_a_change_of_any_file_is_found_also_where_nothing_reads_it(saved):
    """Whatever its kind: a flipped bit, another size, no file."""
    folder = saved / "checkpoints" / "3"
    names = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in (NOTE, GOOD)]
    harms = [
        lambda file: flip(file, 8 * (file.stat().st_size // 2)),
        lambda file: file.write_bytes(file.read_bytes() + b"0"),
        lambda file: file.unlink(),
    ]
    for file, harm in itertools.product(names, harms):
        if not (before := file.read_bytes()):
            continue
        harm(file)
        with open_store(saved) as store, pytest.raises(DamagedCheckpoint) as error:
            store.about()
        assert (error.value.step, error.value.undamaged) == (3, 2)
        file.write_bytes(before)
    with open_store(saved) as store:
        assert store.about() == ABOUT


def changed(store: CheckpointStore, monkeypatch) -> None:
    """Lets the reader return another number than the disk holds, as a flip without a trace does."""
    restore = store._reader.restore

    def read(*arguments, **named):
        state = restore(*arguments, **named)
        kernel = state["params"]["text"]["kernel"]
        state["params"]["text"]["kernel"] = kernel + (np.arange(64) == 7) * np.float32(1e-6)
        return state

    monkeypatch.setattr(store._reader, "restore", read)


def test_the_array_that_differs_is_named(saved, monkeypatch):
    message = r"step 3 is damaged: params/text/kernel is not what was saved\. No older one can be"
    for read in (lambda s: s.restore(abstract(wide_state(0))), lambda s: s.restore_params()):
        with open_store(saved) as store:
            changed(store, monkeypatch)
            with pytest.raises(DamagedCheckpoint, match=message):
                read(store)


def test_the_newest_undamaged_one_is_named(saved):
    (saved / "checkpoints" / "2" / "about" / "metadata").write_text("{}")
    shutil.rmtree(saved / "checkpoints" / "3" / "state" / "d")
    message = "The newest undamaged one is of step 1: give --allow-older, or remove"
    with open_store(saved) as store, pytest.raises(DamagedCheckpoint, match=message):
        store.restore(abstract(wide_state(0)))


def test_another_vocabulary_is_damage(saved):
    path = saved / "checkpoints" / "3" / "about" / "metadata"
    assert '"yes"' in path.read_text()
    path.write_text(path.read_text().replace('"yes"', '"yet"'))
    with open_store(saved) as store:
        with pytest.raises(DamagedCheckpoint, match="config and vocabulary are not what was saved"):
            store.about()


def test_a_missing_file_of_checksums_is_damage(saved):
    shutil.rmtree(saved / "checkpoints" / "3" / "checksums")
    with open_store(saved) as store, pytest.raises(DamagedCheckpoint, match="cannot be read"):
        store.restore_params()


def test_a_checkpoint_from_before_checksums_loads_with_a_line(saved, caplog):
    without_checksums(saved / "checkpoints" / "3")
    with open_store(saved) as store:
        assert differing(store.restore(abstract(wide_state(0))), wide_state(3)) == []
    assert "the checkpoint of step 3 has no checksums: it is not verified" in caplog.text


def test_reading_warns_of_nothing(saved, caplog):
    with open_store(saved) as store:
        store.restore(abstract(wide_state(0)))
        store.restore_params()
        store.about()
    assert caplog.text == ""


OPTIONS = dict(training__checkpoint_every=2, optimizer__schedule="constant")


@pytest.mark.slow
def test_a_run_goes_on_from_an_older_one_where_that_is_allowed(tmp_path, caplog):
    config = tiny("light", training__steps=6, optimizer__warmup_steps=0, **OPTIONS)
    whole = train(config, tmp_path)
    for file in array_files(tmp_path, 6):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DamagedCheckpoint, match="of step 6 is damaged: .* of step 4: give --allow"):
        train(config, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["4", "6"]
    with pytest.raises(DamagedCheckpoint, match="of step 6 is damaged"):
        read_run(tmp_path)
    assert "text" in read_run(tmp_path, allow_older=True)[2]
    again = train(config, tmp_path, allow_older=True)
    assert differing(again.state, whole.state) == []
    assert "step 4 is taken instead" in caplog.text
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["4", "6", "6.damaged"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_checksums_are_the_same_on_every_mesh_and_on_the_host(devices8, dtype):
    array = np.random.default_rng(0).normal(size=(8, 16, 5)).astype(jnp.dtype(dtype))
    wanted = _sum_on_host([array])
    for axes in (PartitionSpec(), PartitionSpec("data"), PartitionSpec("data", "fsdp")):
        sharding = NamedSharding(make_mesh(2, 4, devices=devices8), axes)
        assert _sum_on_devices([jax.device_put(array, sharding)]) == wanted


def test_checksums_tell_every_flip_exchange_and_cast():
    array = np.random.default_rng(0).normal(size=(32,)).astype(np.float32)
    wanted = checksums({"a": array})
    others = [array.copy() for _ in range(32 * 32)]
    for bit, other in enumerate(others):
        other.view(np.uint8)[bit // 8] ^= 1 << bit % 8
    signs = array * np.where(np.arange(32) < 2, -1, 1).astype(np.float32)
    others += [np.roll(array, 1), array[::-1], signs, array.reshape(4, 8), array.view(np.int32)]
    assert all(checksums({"a": other}) != wanted for other in others)
    assert checksums({"k": jax.random.key(1)}) != checksums({"k": jax.random.key(2)})


def test_a_kill_while_the_note_is_written_damages_nothing(tmp_path, monkeypatch):
    def killed(path, content):
        path.write_text(content[:7].decode())
        raise KeyboardInterrupt

    (tmp_path / "array").write_bytes(b"12345678")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_bytes", killed)
        note_files(tmp_path)
    assert changed_file(tmp_path) is None
    note_files(tmp_path)
    (tmp_path / "array").write_bytes(b"12345679")
    assert changed_file(tmp_path) == 'its file "array" is not what was saved'
