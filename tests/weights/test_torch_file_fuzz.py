"""Damaged and hostile torch files: only ValueError comes out and nothing is executed or written."""

import codecs
import io
import os
import random
import sys
import time
import zipfile

import numpy as np
import pytest

from vlp_jax.weights.state_dict import read_state_dict

from .torch_writer import Call, Global, legacy_bytes, tensor, zip_bytes

CASES = 200
WRITERS = {"zip": zip_bytes, "legacy": legacy_bytes}
FORBIDDEN_EVENTS = (
    "os.",
    "subprocess.",
    "exec",
    "compile",
    "import",
    "ctypes.",
    "shutil.",
    "socket.",
)


# Python loads these parts of itself on first use, which the watch must not take for an attack.
for codec in ("cp437", "raw-unicode-escape", "latin-1", "ascii"):
    codecs.lookup(codec)


class Watch:
    """Records everything the interpreter is asked to run, import or write while it is on."""

    def __init__(self):
        self.on = False
        self.events = []
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if not self.on:
            return
        writes = event == "open" and self.opens_for_writing(*arguments[1:3])
        if writes or (event.startswith(FORBIDDEN_EVENTS) and event != "os.listdir"):
            self.events.append((event, str(arguments)[:200]))

    @staticmethod
    def opens_for_writing(mode, flags) -> bool:
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def __enter__(self):
        self.events.clear()
        self.on = True
        return self

    def __exit__(self, *_):
        self.on = False


@pytest.fixture(scope="module")
def watch():
    return Watch()


def sample(write) -> bytes:
    tree = {
        "model": {"layer.weight": tensor(np.arange(12, dtype=np.float32).reshape(3, 4)),
                  "layer.bias": tensor(np.arange(3, dtype=np.float16))},
        "args": Call(Global("argparse", "Namespace"), (), {"lr": 0.1}),
        "step": Call(Global("numpy.core.multiarray", "scalar"), (
            Call(Global("numpy", "dtype"), ("f8", False, True), (3, "<", None)), b"\0" * 8)),
        "epoch": 3,
    }  # fmt: skip
    return write(tree)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, doubles or splices bytes of a valid file, mostly inside its pickle."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(out)), rng.randrange(6)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice(
                b"cRbiou}]()\x85\x86\x87\x93\x81\x92Qqrhj\x8a\x8bX\x8eKJM.0123tdlase"
            )
        elif kind == 2:
            del out[at : at + rng.randrange(1, 20)]
        elif kind == 3:
            other = rng.randrange(len(data))
            out[at:at] = data[other : other + rng.randrange(1, 60)]
        elif kind == 4:
            out[at : at + 4] = rng.randbytes(4)
        else:
            out[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f"))
        out = out or bytearray(data)
    return bytes(out)


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Damages only the pickle inside a zip file, whose structure stays valid."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutate(content, rng) if name.endswith("data.pkl") else content)
    return target.getvalue()


@pytest.mark.parametrize(
    "write, mutate",
    [(zip_bytes, mutate), (zip_bytes, mutate_pickle), (legacy_bytes, mutate)],
    ids=["zip", "zip pickle", "legacy"],
)
def test_mutations_give_a_result_or_a_value_error(tmp_path, write, mutate, watch):
    data, path = sample(write), tmp_path / "weights.pth"
    path.write_bytes(data)
    assert set(read_state_dict(path)) == {"layer.weight", "layer.bias"}
    seed = random.SystemRandom().randrange(2**32)
    outcomes = {"read": 0, "refused": 0}
    for case in range(CASES):
        path.write_bytes(mutate(data, random.Random(seed * 1000 + case)))
        start = time.monotonic()
        try:
            with watch:
                read_state_dict(path)
            outcomes["read"] += 1
        except ValueError as error:
            assert str(path) in str(error), f"seed {seed}, case {case}"
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {case}") from error
        assert watch.events == [], f"seed {seed}, case {case}"
        assert time.monotonic() - start < 5, f"seed {seed}, case {case}"
    assert outcomes["refused"] > CASES // 10 and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "module, name, argument",
    [
        ("os", "system", "touch {0}"),
        ("posix", "system", "touch {0}"),
        ("builtins", "eval", "open('{0}', 'w')"),
        ("builtins", "exec", "open('{0}', 'w')"),
        ("__builtin__", "eval", "open('{0}', 'w')"),
        ("subprocess", "check_output", "touch {0}"),
    ],
)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_code_in_a_checkpoint_does_not_run(tmp_path, watch, write, module, name, argument):
    proof, path = tmp_path / "proof", tmp_path / "weights.pth"
    attack = Call(Global(module, name), (argument.format(proof),))
    path.write_bytes(write({"w": tensor(np.ones(2)), "x": attack}))
    with watch, pytest.raises(ValueError, match="Nothing was run"):
        read_state_dict(path)
    assert watch.events == [] and not proof.exists()


@pytest.mark.parametrize(
    "module, name",
    [("builtins", "getattr"), ("functools", "partial"), ("operator", "attrgetter"),
     ("torch.hub", "load"), ("torch.storage", "_load_from_bytes"), ("numpy", "load"),
     ("collections", "OrderedDict.__reduce__"), ("pathlib", "Path.touch")],
)  # fmt: skip
def test_other_functions_are_never_called(tmp_path, watch, module, name):
    path = tmp_path / "weights.pth"
    call = Call(Global(module, name), (str(tmp_path / "proof"),), {"__setstate__": 1})
    path.write_bytes(zip_bytes({"w": tensor(np.ones(2)), "x": call}))
    with watch:
        result = read_state_dict(path)
    assert watch.events == [] and list(result) == ["w"] and result.meta.skipped == ("x",)
    assert not (tmp_path / "proof").exists()


def test_the_watch_sees_what_it_must(tmp_path, watch):
    with watch:
        (tmp_path / "file").write_text("x")
        os.system("true")
    assert {event for event, _ in watch.events} >= {"open", "os.system"}
