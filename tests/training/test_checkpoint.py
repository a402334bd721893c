"""Tests of checkpoints: what is kept, other meshes, other models, damage, and memory."""

import gc
import os
import re
import shutil
import stat
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.training.tiny import differing
from vlp_jax.parallel import make_mesh
from vlp_jax.training.checkpoint import CheckpointStore, open_store

ABOUT = {"config": {"name": "x"}, "vocabulary": {"answers": ["no", "yes"]}}


def state_of(number: int, mesh=None, width: int = 16) -> dict:
    """A state whose numbers say which step it is of, split over `fsdp` where that divides."""
    mesh = mesh or make_mesh(devices=jax.devices()[:1])
    split = NamedSharding(mesh, PartitionSpec("fsdp"))
    whole = NamedSharding(mesh, PartitionSpec())
    kernel = np.arange(width * 4, dtype=np.float32).reshape(width, 4) + number
    return {
        "params": {"text": {"kernel": jax.device_put(kernel, split)}},
        "teacher": None,
        "key": jax.device_put(jax.random.key(number), whole),
        "step": jax.device_put(jnp.int32(number), whole),
    }


def abstract(state):
    shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    return jax.tree.map(shape, state)


def steps_in(store: CheckpointStore) -> list[int]:
    return sorted(int(p.name) for p in store.directory.iterdir() if p.name.isdigit())


@pytest.fixture
def saved(tmp_path) -> Path:
    """A workdir with the checkpoints of steps 1 and 2."""
    store = CheckpointStore(tmp_path)
    for number in (1, 2):
        store.save(number, state_of(number), ABOUT | {"step": number})
    store.close()
    return tmp_path


@pytest.fixture
def reopened(saved):
    store = CheckpointStore(saved)
    yield store
    store.close()


def test_a_state_comes_back_bit_by_bit(reopened):
    assert reopened.latest_step == 2
    for step, number in ((None, 2), (1, 1)):
        restored = reopened.restore(abstract(state_of(0)), step)
        assert differing(restored, state_of(number)) == []
        assert restored["teacher"] is None
        assert reopened.about(step) == ABOUT | {"step": number}
    # The key is a typed one again, and draws what the saved one draws.
    assert jax.random.bits(restored["key"]) == jax.random.bits(jax.random.key(1))


@pytest.mark.parametrize("devices", [8, 4, 2, 1])
def test_a_state_comes_back_on_another_mesh(tmp_path, devices8, devices):
    store = CheckpointStore(tmp_path)
    store.save(5, state_of(5, make_mesh(2, 4, devices=devices8)), ABOUT)
    store.wait()
    mesh = make_mesh(1, devices, devices=devices8[:devices])
    restored = store.restore(abstract(state_of(0, mesh)))
    kernel = restored["params"]["text"]["kernel"]
    assert kernel.sharding.device_set == set(devices8[:devices])
    assert kernel.addressable_shards[0].data.shape == (16 // devices, 4)
    assert differing(restored, state_of(5)) == []
    store.close()


def test_the_newest_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for number in (1, 3, 4, 9):
        store.save(number, state_of(number), ABOUT)
    store.close()
    assert steps_in(store) == [4, 9]


def test_the_best_is_kept_beside_the_newest(tmp_path):
    store = CheckpointStore(tmp_path, keep=1, best="accuracy")
    figures = {1: 0.2, 2: 0.9, 3: 0.5, 4: None, 5: 0.8}
    for number, accuracy in figures.items():
        metrics = {} if accuracy is None else {"accuracy": accuracy, "other": 3.0}
        store.save(number, state_of(number), ABOUT, metrics)
    store.wait()
    assert steps_in(store) == [2, 5]
    store.save(6, state_of(6), ABOUT, {"accuracy": 0.95})
    store.close()
    assert steps_in(store) == [6]


def test_the_best_is_remembered_by_the_next_process(tmp_path):
    for number, accuracy in ((1, 0.9), (2, 0.1), (3, 0.2)):
        store = CheckpointStore(tmp_path, keep=1, best="accuracy")
        store.save(number, state_of(number), ABOUT, {"accuracy": accuracy})
        store.close()
    assert steps_in(store) == [1, 3]


def test_a_step_that_exists_is_left_alone(reopened):
    reopened.save(2, state_of(77), {"other": True})
    reopened.wait()
    assert int(reopened.restore(abstract(state_of(0)))["step"]) == 2
    assert reopened.about() == ABOUT | {"step": 2}


def test_parameters_alone_come_back_as_numpy(reopened):
    params = reopened.restore_params(1)
    assert isinstance(params["text"]["kernel"], np.ndarray)
    assert differing(params, state_of(1)["params"]) == []


def test_a_missing_teacher_is_named(reopened):
    with pytest.raises(ValueError, match='step 2 .* holds no "teacher"; it has params'):
        reopened.restore_params(which="teacher")


def test_no_checkpoint_and_an_unknown_step(tmp_path, reopened):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7 in .*there are \[1, 2\]"):
        reopened.restore(abstract(state_of(0)), 7)
    empty = CheckpointStore(tmp_path / "empty")
    assert empty.latest_step is None
    with pytest.raises(FileNotFoundError, match="no complete checkpoint in .*empty"):
        empty.restore(abstract(state_of(0)))
    empty.close()


def test_another_model_is_listed_before_anything_is_read(reopened):
    wanted = abstract(state_of(0, width=8))
    wanted["params"] |= {"image": jax.ShapeDtypeStruct((3,), jnp.float32)}
    del wanted["step"]
    with pytest.raises(ValueError) as error:
        reopened.restore(wanted)
    text = str(error.value)
    assert "of step 2" in text and "another model or another configuration" in text
    assert "missing in the checkpoint: params/image (3,)" in text
    assert "only in the checkpoint: step ()" in text
    assert "params/text/kernel: checkpoint (16, 4), model (8, 4)" in text


def test_a_long_list_of_differences_is_cut(reopened):
    many = {f"layer_{i}": jax.ShapeDtypeStruct((i,), jnp.float32) for i in range(40)}
    with pytest.raises(ValueError, match="… and 31 more"):
        reopened.restore({"params": many})


def unfinished(folder: Path) -> None:
    """What a process killed while it was saving step 3 leaves behind."""
    shutil.copytree(folder / "2", folder / "3.orbax-checkpoint-tmp")
    shutil.rmtree(folder / "3.orbax-checkpoint-tmp" / "state" / "d")


def stray(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "backup").mkdir()


@pytest.mark.parametrize("leave", [unfinished, stray])
def test_what_is_no_checkpoint_is_ignored(saved, leave):
    folder = saved / "checkpoints"
    leave(folder)
    with open_store(saved) as reader:
        assert reader.latest_step == 2
    left = {p.name for p in folder.iterdir()}
    assert len(left) > 2  # reading removes nothing
    store = CheckpointStore(saved, keep=3)
    store.save(3, state_of(3), ABOUT)
    store.close()
    assert steps_in(store) == [1, 2, 3]
    assert not list(folder.glob("*tmp*"))
    assert (folder / "notes.txt").exists() == (leave is stray)


def cut_data(folder: Path) -> None:
    for file in (folder / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_about(folder: Path) -> None:
    (folder / "about" / "metadata").write_text('{"config": {')


DAMAGES = {
    "no state": lambda folder: shutil.rmtree(folder / "state"),
    "no data": lambda folder: shutil.rmtree(folder / "state" / "d"),
    "no metadata": lambda folder: (folder / "state" / "_METADATA").unlink(),
    "data cut short": cut_data,
    "about cut short": cut_about,
    "no about": lambda folder: shutil.rmtree(folder / "about"),
    "empty": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_with_the_way_out(saved, damage):
    folder = saved / "checkpoints" / "2"
    damage(folder)
    store = CheckpointStore(saved)
    with pytest.raises(ValueError) as error:
        store.about()
        store.restore(abstract(state_of(0)))
    text = str(error.value)
    assert re.search(
        'the checkpoint of step 2 is damaged: (it cannot be read|its file "state/)', text
    )
    assert str(folder) in text
    assert "the run then goes on from step 1" in text
    store.close()
    shutil.rmtree(folder)
    with open_store(saved) as store:
        assert int(store.restore(abstract(state_of(0)))["step"]) == 1


def test_a_damaged_only_checkpoint_starts_anew(saved):
    shutil.rmtree(saved / "checkpoints" / "1")
    cut_about(saved / "checkpoints" / "2")
    with open_store(saved) as store, pytest.raises(ValueError, match="the run then starts anew"):
        store.about()


def test_open_store_names_the_nearest_run(tmp_path):
    CheckpointStore(tmp_path / "quickstart").close()
    (tmp_path / "notes").mkdir()
    message = 'holds no checkpoints. Did you mean "quickstart".* Runs beside it: quickstart$'
    with pytest.raises(FileNotFoundError, match=message):
        with open_store(tmp_path / "quikstart"):
            pass
    with pytest.raises(FileNotFoundError, match='nowhere/run" holds no checkpoints.$'):
        with open_store(tmp_path / "nowhere" / "run"):
            pass


def test_open_store_takes_the_folder_of_checkpoints_as_well(saved):
    with open_store(saved / "checkpoints") as store:
        assert store.latest_step == 2


def test_a_workdir_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ValueError, match='cannot create ".*run/checkpoints": Not a directory'):
        CheckpointStore(tmp_path / "run")


def test_a_workdir_that_cannot_be_written(saved, monkeypatch):
    folder = saved / "checkpoints"
    if os.geteuid() == 0:  # whom no permission stops
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(ValueError, match=f'the workdir "{folder}" is not writable'):
            CheckpointStore(saved)
        with open_store(saved) as store:  # reading needs no permission to write
            assert int(store.restore(abstract(state_of(0)))["step"]) == 2
    finally:
        folder.chmod(stat.S_IRWXU)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_saving_again_and_again_needs_no_more_memory(tmp_path):
    size = 24 * 2**20
    big = {"params": jnp.ones((size // 4,), jnp.float32)}
    store = CheckpointStore(tmp_path, keep=1)
    used = []
    for number in range(7):
        store.save(number, big, ABOUT)
        store.wait()
        gc.collect()
        used.append(resident_bytes())
    store.close()
    # The first saves fill caches; five more may not add as much as one state.
    assert used[6] - used[1] < size, [u // 2**20 for u in used]
