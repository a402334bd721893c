"""State dicts from every container: wrappers, old names, shards, and errors that say why."""

import json
import mmap
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from vlp_jax.weights.safetensors_file import write_directory, write_safetensors
from vlp_jax.weights.state_dict import read_state_dict

from .torch_writer import Call, Global, Tensor, legacy_bytes, tensor, zip_bytes

WEIGHTS = {"layer.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "layer.bias": np.ones(2)}


def tensors(prefix: str = "") -> dict:
    return {prefix + name: tensor(array) for name, array in WEIGHTS.items()}


def save(folder, data: bytes, name: str = "weights.pth"):
    (folder / name).write_bytes(data)
    return folder / name


def check(result):
    assert result.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert result[name].dtype == array.dtype and result[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("suffix", ["pth", "pt", "th", "bin", "safetensors", "anything"])
def test_format_is_recognised_by_content(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    write_safetensors(path, WEIGHTS, {"note": "x"})
    result = read_state_dict(str(path))
    check(result)
    assert result.meta.container == "safetensors" and result.meta.metadata == {"note": "x"}
    for write, kind in ((zip_bytes, "torch zip"), (legacy_bytes, "torch legacy")):
        path.unlink()
        path.write_bytes(write(tensors()))
        result = read_state_dict(path)
        check(result)
        assert result.meta.container == kind and result.meta.path == path
        assert result.meta.dtypes == {"layer.weight": "float16", "layer.bias": "float64"}


@pytest.mark.parametrize(
    "tree, wrappers, beside",
    [
        (tensors(), (), ()),
        ({"model": tensors()}, ("model",), ()),
        ({"epoch": 3, "state_dict": tensors("module.")}, ("state_dict", "module."), ("epoch",)),
        ({"model_state_dict": tensors(), "optimizer": {}}, ("model_state_dict",), ("optimizer",)),
        ({"model": {"name": "albef"}, "state_dict": tensors()}, ("state_dict",), ("model",)),
        ({"model": {}, "state_dict": tensors()}, ("state_dict",), ("model",)),
        ({"state_dict": {"model": tensors(), "x": 1}}, ("state_dict", "model"), ("x",)),
        (tensors("module."), ("module.",), ()),
        (tensors("_orig_mod."), ("_orig_mod.",), ()),
        (tensors("module._orig_mod."), ("_orig_mod.", "module."), ()),
        (tensors("module.module."), ("module.", "module."), ()),
        ({"state_dict": tensors("model.")}, ("state_dict", "model."), ()),
        ({"model_ema": tensors(), "args": {}}, ("model_ema",), ("args",)),
        ({"ema": {"state_dict": tensors("module.")}}, ("ema", "state_dict", "module."), ()),
        ({"ema": tensors(), "model": tensors()}, ("model",), ("ema",)),
        ({"module": {"module": tensors("module.")}}, ("module", "module", "module."), ()),
    ],
)
def test_wrappers_are_taken_off(tmp_path, tree, wrappers, beside):
    result = read_state_dict(save(tmp_path, zip_bytes(tree)))
    check(result)
    assert result.meta.wrappers == wrappers and result.meta.beside == beside


def test_module_is_kept_where_some_names_lack_it(tmp_path):
    tree = {"module.a": tensor(np.ones(1)), "b": tensor(np.ones(1))}
    result = read_state_dict(save(tmp_path, zip_bytes(tree)))
    assert list(result) == ["module.a", "b"]
    twice = {"module.module.a": tensor(np.ones(1))}
    assert list(read_state_dict(save(tmp_path, zip_bytes(twice)))) == ["a"]


def test_what_compilation_leaves_inside_of_names_and_counters_are_taken_off(tmp_path):
    one, count = tensor(np.ones(1)), tensor(np.array(3))
    names = "module.a._orig_mod.b", "module._fsdp_wrapped_module.c"
    tree = {name: one for name in names} | {"n_averaged": count}
    result = read_state_dict(save(tmp_path, zip_bytes(tree)))
    assert list(result) == ["a.b", "c"] and result.meta.skipped == ("n_averaged",)
    both = {"a.b": one, "a._orig_mod.b": one}
    with pytest.raises(ValueError, match='both "a._orig_mod.b" and "a.b"'):
        read_state_dict(save(tmp_path, zip_bytes(both)))


def test_layer_norm_names(tmp_path):
    one = tensor(np.ones(1))
    names = ["a.LayerNorm.gamma", "a.LayerNorm.beta", "b.gamma", "b.beta", "ls1.gamma", "beta.x",
             "final_norm.gamma", "gamma"]  # fmt: skip
    result = read_state_dict(save(tmp_path, zip_bytes({name: one for name in names})))
    assert list(result) == ["a.LayerNorm.weight", "a.LayerNorm.bias", "b.weight", "b.bias",
                            "ls1.gamma", "beta.x", "final_norm.weight", "gamma"]  # fmt: skip
    for order in (["norm.gamma", "norm.weight"], ["norm.weight", "norm.gamma"]):
        with pytest.raises(ValueError, match='both "norm.gamma" and "norm.weight"'):
            read_state_dict(save(tmp_path, zip_bytes({name: one for name in order})))


def test_tied_tensors_stay_one_array(tmp_path):
    shared = tensor(np.arange(4.0))
    tied = Tensor(shared.storage, shared.shape, shared.strides)
    result = read_state_dict(save(tmp_path, legacy_bytes({"a": shared, "b": tied})))
    assert result["a"] is result["b"]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_of_numpy_arrays_is_read_as_detectron2_writes_it(tmp_path, protocol):
    tree = {"model": WEIGHTS, "__author__": "someone"}
    result = read_state_dict(save(tmp_path, pickle.dumps(tree, protocol), "weights.pkl"))
    check(result)
    assert result.meta.container == "pickle" and result.meta.beside == ("__author__",)
    for content, message in (([1], "without arrays by name"), ({"a": 1}, "holds no tensors")):
        with pytest.raises(ValueError, match=message):
            read_state_dict(save(tmp_path, pickle.dumps(content, protocol), "weights.pkl"))


class _Runs:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    path = save(tmp_path, pickle.dumps({"model": WEIGHTS, "x": _Runs()}), "weights.pkl")
    with pytest.raises(ValueError, match=r"weights.pkl: .*exec"):
        read_state_dict(path)


def test_values_that_are_no_weights_are_listed(tmp_path):
    tree = tensors() | {
        "version": 2,
        "extra": Call(Global("my", "Thing"), ()),
        5: tensor(np.ones(1)),
    }
    result = read_state_dict(save(tmp_path, zip_bytes(tree)))
    check(result)
    assert result.meta.skipped == ("version", "extra", "5")


@pytest.mark.parametrize(
    "tree, message",
    [
        ({}, "holds no tensors .keys: nothing"),
        ({"a": 1}, "holds no tensors .keys: a"),
        (
            {"optimizer": {"state": {0: {"exp_avg": tensor(np.ones(1))}}}},
            "optimizer state and no model",
        ),
        ({"state": {0: {"step": 1}}, "param_groups": []}, "optimizer state and no model"),
        ({"generator": tensors(), "epoch": 1}, "only under generator .*model or state_dict"),
    ],
)
def test_files_without_weights_say_what_they_hold(tmp_path, tree, message):
    with pytest.raises(ValueError, match=message):
        read_state_dict(save(tmp_path, zip_bytes(tree)))


def test_missing_paths(tmp_path):
    save(tmp_path, zip_bytes(tensors()), "ALBEF.pth")
    with pytest.raises(FileNotFoundError, match='Did you mean "ALBEF.pth"'):
        read_state_dict(tmp_path / "ALBEFF.pth")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_state_dict(tmp_path / "nowhere" / "x.pth")


def test_directories(tmp_path):
    write_directory(tmp_path / "new", WEIGHTS, {"hidden_size": 2})
    result = read_state_dict(tmp_path / "new")
    check(result)
    assert result.meta.config == {"hidden_size": 2} and result.meta.path == tmp_path / "new"
    old = tmp_path / "old"
    old.mkdir()
    save(old, legacy_bytes(tensors()), "pytorch_model.bin")
    check(read_state_dict(old))
    assert read_state_dict(old).meta.config == {}


def test_safetensors_comes_before_the_torch_file(tmp_path):
    save(tmp_path, zip_bytes({"other": tensor(np.ones(1))}), "pytorch_model.bin")
    write_safetensors(tmp_path / "model.safetensors", WEIGHTS)
    check(read_state_dict(tmp_path))


@pytest.mark.parametrize("size", [640, 896, 1152, 1408])
def test_a_header_whose_size_begins_like_a_pickle(tmp_path, size):
    """The size is what comes first: 640 is 80 02, with which a pickle of protocol 2 begins."""
    entry = {"layer.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps(entry).encode().ljust(size)
    content = struct.pack("<Q", size) + header + np.float32([1, 2]).tobytes()
    (tmp_path / "model.safetensors").write_bytes(content)
    found = read_state_dict(tmp_path)
    assert found.meta.container == "safetensors"
    np.testing.assert_array_equal(found["layer.weight"], np.float32([1, 2]))
    (tmp_path / "model.safetensors").write_bytes(content[: size // 2])
    with pytest.raises(ValueError, match="damaged or truncated safetensors file"):
        read_state_dict(tmp_path)


def write_shards(folder, weight_map: dict, kind: str):
    if kind == "safetensors":
        write_safetensors(folder / "one", {"layer.weight": WEIGHTS["layer.weight"]})
        write_safetensors(folder / "two", {"layer.bias": WEIGHTS["layer.bias"]})
        index = "model.safetensors.index.json"
    else:
        save(folder, zip_bytes({"layer.weight": tensor(WEIGHTS["layer.weight"])}), "one")
        save(folder, legacy_bytes({"layer.bias": tensor(WEIGHTS["layer.bias"])}), "two")
        index = "pytorch_model.bin.index.json"
    (folder / index).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_sharded_directories(tmp_path, kind):
    write_shards(tmp_path, {"layer.weight": "one", "layer.bias": "two"}, kind)
    check(read_state_dict(tmp_path))


@pytest.mark.parametrize(
    "weight_map, error, message",
    [
        ({"layer.weight": "two"}, ValueError, '"layer.weight" is not in two'),
        ({"layer.weight": "tow"}, FileNotFoundError, 'Did you mean "two"'),
        ({"layer.weight": "../one"}, ValueError, "not the name of a file beside it"),
        ({"layer.weight": "/etc/passwd"}, ValueError, "not the name of a file beside it"),
        ({"layer.weight": ".."}, ValueError, "is a folder; expected a file"),
        ({"layer.weight": 3}, ValueError, "not the name"),
        ([], ValueError, "weight_map"),
    ],
)
def test_bad_shard_indices(tmp_path, weight_map, error, message):
    write_shards(tmp_path, weight_map, "safetensors")
    with pytest.raises(error, match=message):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 200_000, '"x"', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_bad_json(tmp_path, text):
    raw = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "model.safetensors.index.json").write_bytes(raw)
    with pytest.raises(ValueError, match="index.json"):
        read_state_dict(tmp_path)


def test_directories_without_known_files_list_candidates(tmp_path):
    save(tmp_path, zip_bytes(tensors()), "multi_task_model.bin")
    with pytest.raises(FileNotFoundError, match="model.safetensors.*multi_task_model.bin"):
        read_state_dict(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's memory counters")
@pytest.mark.parametrize("write", [zip_bytes, legacy_bytes])
def test_released_pages_leave_memory_and_arrays_stay_valid(tmp_path, write):
    values = np.random.default_rng().standard_normal(4 * 2**20)
    state = read_state_dict(save(tmp_path, write({"w": tensor(values)})))

    def shared_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE

    before = shared_bytes()
    total = state["w"].sum()
    assert shared_bytes() - before > 0.9 * values.nbytes
    state.release_pages()
    assert shared_bytes() - before < 0.1 * values.nbytes and state["w"].sum() == total
