"""Files written by real PyTorch, where it is installed, read bit-equal to what it holds."""

import argparse
import warnings
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from vlp_jax.weights.safetensors_file import write_directory
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.torch_file import read_torch_file

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
          "bool", "complex64", "complex128"]  # fmt: skip
NEWER_DTYPES = ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]
containers = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def save(path, tree, is_zip: bool):
    torch.save(tree, path, _use_new_zipfile_serialization=is_zip)
    return path


def raw_bytes(value) -> bytes:
    flat = torch.empty(value.numel(), dtype=value.dtype).copy_(value.detach().reshape(-1))
    return bytes(flat.view(torch.uint8).tolist())


def same(array: np.ndarray, value, name: str) -> None:
    assert str(array.dtype) == str(value.dtype).removeprefix("torch."), name
    assert array.shape == tuple(value.shape), name
    assert array.tobytes() == (raw_bytes(value) if value.numel() else b""), name


def random_view(rng, value):
    """A random slice, transposition or broadcast of a tensor that shares its storage."""
    for _ in range(int(rng.integers(0, 4))):
        kind = rng.integers(4)
        if kind == 0 and value.dim() > 1:
            value = value.transpose(0, -1)
        elif kind == 1 and value.dim() and value.shape[0] > 1:
            value = value[int(rng.integers(value.shape[0])) :: int(rng.integers(1, 3))]
        elif kind == 2 and value.dim() and value.shape[0]:
            value = value[int(rng.integers(value.shape[0]))]
        elif kind == 3:
            value = value.unsqueeze(0).expand(2, *value.shape)
    return value


@containers
def test_random_tensors_and_views(tmp_path, is_zip):
    rng, tree = np.random.default_rng(), OrderedDict()
    for dtype in DTYPES + (NEWER_DTYPES if is_zip else []):
        shape = tuple(int(n) for n in rng.integers(0, 6, rng.integers(0, 4)))
        base = torch.from_numpy(rng.integers(0, 2, shape)).to(getattr(torch, dtype))
        tree[dtype] = base
        for index in range(3):
            tree[f"{dtype}.{index}"] = random_view(rng, base)
    result = read_torch_file(save(tmp_path / "x.pth", tree, is_zip))
    assert list(result) == list(tree)
    for name, value in tree.items():
        same(result[name], value, name)


@containers
def test_a_module_with_tied_weights_and_training_state(tmp_path, is_zip):
    model = torch.nn.Sequential(
        torch.nn.Embedding(7, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 7, bias=False)
    )
    model[2].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    model[2](model[0](torch.tensor([1, 2]))).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    tree = {
        "model": {f"module.{k}": v for k, v in model.state_dict().items()},
        "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=1e-4, dtype=torch.float16, device=torch.device("cpu")),
        "rng": torch.get_rng_state(), "shape": torch.Size([1, 2]), "best": np.float64(0.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    result = read_state_dict(save(tmp_path / "x.pth", tree, is_zip))
    assert result.meta.wrappers == ("model", "module.")
    assert result["0.weight"] is result["2.weight"]
    for name, value in model.state_dict().items():
        same(result[name], value, name)
    whole = read_torch_file(tmp_path / "x.pth")
    assert whole["args"].lr == 1e-4 and whole["args"].dtype == np.float16
    assert whole["shape"] == (1, 2) and whole["best"] == 0.5
    same(
        whole["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"], ""
    )
    same(whole["parameter"], tree["parameter"], "parameter")


@containers
def test_a_whole_pickled_module_is_refused_by_name(tmp_path, is_zip):
    path = save(tmp_path / "x.pth", torch.nn.Linear(2, 2), is_zip)
    with pytest.raises(ValueError, match="whole pickled torch.nn.modules.linear.Linear"):
        read_torch_file(path)


def test_torchscript_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "x.pt")
    with pytest.raises(ValueError, match="TorchScript"):
        read_torch_file(tmp_path / "x.pt")


def test_a_written_directory_opens_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = transformers.BertModel(config)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    write_directory(tmp_path / "bert", arrays, config.to_dict())
    loaded = transformers.BertModel.from_pretrained(tmp_path / "bert").state_dict()
    assert loaded.keys() == arrays.keys()
    result = read_state_dict(tmp_path / "bert")
    for name, value in loaded.items():
        same(result[name], value, name)


def test_bfloat16_values(tmp_path):
    values = torch.tensor([1.5, -2.0, float("inf")], dtype=torch.bfloat16)
    array = read_torch_file(save(tmp_path / "x.pth", {"w": values}, True))["w"]
    assert array.dtype == ml_dtypes.bfloat16 and array.astype(np.float32).tolist()[:2] == [
        1.5,
        -2.0,
    ]
