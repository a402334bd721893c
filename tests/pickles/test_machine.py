"""The pickle interpreter: like pickle on plain data, harmless and bounded on everything else."""

import pickle
import pickletools
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.weights.torch_writer import Call, Global, pickle_bytes
from vlp_jax.pickles.machine import OPERATIONS, PickleMachine
from vlp_jax.pickles.safety import Constructor, Opaque, refuse_code_runners

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**500), 2**500) | st.floats(allow_nan=False)
    | st.text(max_size=20) | st.binary(max_size=20)
)  # fmt: skip
KEYS = st.text(max_size=5) | st.integers(-(2**63), 2**63 - 1) | st.tuples(st.integers(0, 9))
TREES = st.recursive(
    SCALARS | st.sets(st.integers(0, 99)) | st.frozensets(st.text(max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


def run(data: bytes):
    import io

    def find(module, name):
        refuse_code_runners(module, name)
        if name == "list":
            return Constructor("list", lambda items=(): list(items))
        return Opaque(module, name)

    return PickleMachine(find, lambda claim: ("storage", claim), {}).run(io.BytesIO(data))


@settings(max_examples=60, deadline=None)
@given(tree=TREES)
def test_plain_data_reads_like_pickle(tree):
    # Protocols below 4 write sets and bytes through globals; the torch allow-list covers those.
    for protocol in (4, 5):
        assert run(pickle.dumps(tree, protocol)) == tree


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_old_protocols_read_like_pickle(protocol):
    tree = {"a": [1, -5, 2.5, True, None], "b": ("x", "ü\n'\""), 3: {"deep": [[]]}, "n": 10**40}
    assert run(pickle.dumps(tree, protocol)) == tree


def test_shared_and_cyclic_objects_stay_shared():
    inner = [1]
    cycle = {"a": inner, "b": inner}
    cycle["self"] = cycle
    result = run(pickle.dumps(cycle))
    assert result["a"] is result["b"] and result["self"] is result


def test_every_opcode_of_the_format_is_handled():
    assert set(OPERATIONS) == {opcode.name for opcode in pickletools.opcodes}


def test_unknown_classes_stay_opaque_whatever_is_done_to_them():
    unknown = Call(Global("apex.amp", "Scaler"), (1, [2]), {"state": 3})
    result = run(pickle_bytes({"x": unknown, "y": Global("apex", "amp")}))
    assert isinstance(result["x"], Opaque)
    assert repr(result["x"]) == "Opaque(apex.amp.Scaler)" and result["y"].name == "amp"


def test_an_opaque_result_can_be_filled_and_called_again():
    data = b"ca\nb\n)R(K\x01K\x02u(K\x03e)R."  # items, list items, then a call of the result
    result = run(data)
    assert isinstance(result, Opaque) and (result.module, result.name) == ("a", "b")


@pytest.mark.parametrize("opcodes", [b"(ca\nb\nK\x01o.", b"(K\x01ia\nb\n.", b"ca\nb\n)}\x92."])
def test_every_way_of_making_an_object_is_opaque(opcodes):
    assert isinstance(run(opcodes), Opaque)


@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"),
        ("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("sys", "exit"),
        ("builtins", "__import__"), ("builtins", "open"), ("importlib", "import_module"),
        ("runpy", "run_path"), ("os.path", "os.system"), ("pickle", "loads"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_globals_that_run_code_are_errors_that_name_them(module, name, protocol):
    data = pickle_bytes({"w": Call(Global(module, name), ("echo hacked",))}, protocol)
    with pytest.raises(ValueError, match=f"{module}.{name}.*Nothing was run"):
        run(data)


def test_stack_global_is_looked_up_like_global():
    data = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R."
    with pytest.raises(ValueError, match="os.system"):
        run(data)


def nested(depth: int) -> bytes:
    return b"]" * depth + b"a" * (depth - 1) + b"."


def test_moderate_nesting_is_read_and_deep_nesting_is_an_error():
    value = run(nested(90))
    for _ in range(89):
        (value,) = value
    assert value == []
    for depth in (200, 300_000):
        with pytest.raises(ValueError, match="levels deep"):
            run(nested(depth))


@pytest.mark.parametrize(
    "data",
    [
        b")" + b"\x85" * 300_000 + b".",  # nested tuples
        b"}" + b")" + b"\x85" * 300_000 + b"K\x01s.",  # nested tuple as a key: hashing recurses
        b"(" * 300_000 + b".",  # marks only
        b"}" * 200_000 + b".",  # many results
    ],
)
def test_other_deep_shapes_do_not_crash(data):
    try:
        run(data)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "exhausted"),
        (b"\x80\x02", "exhausted"),
        (b".", "damaged"),
        (b"\x80\x63}.", "protocol 99"),
        (b"\xff.", "unknown"),
        (b"h\x05.", "damaged"),  # a memo entry that was never set
        (b"K\x01K\x02R.", "damaged"),  # calls a number
        (b"}(K\x01u.", "without a value"),
        (b"]K\x01K\x02s.", "fills a list"),
        (b"}]K\x01s.", "key is a list"),
        (b"\x82\x01.", "extension registry"),
        (b"\x97.", "out-of-band"),
        (b"\x8b" + struct.pack("<i", 200) + b"\x7f" * 200 + b".", "1024 bits"),
        (b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x7f.", "not enough data"),
        (b"I" + b"7" * 5000 + b"\n.", "digits"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b".", "remain"),  # ten-thousand-petabyte bytes
        (b"X" + struct.pack("<I", 2**32 - 1) + b".", "remain"),
        (b"}r" + struct.pack("<I", 2**32 - 1) + b"j\x00\x00\x00\x00.", "damaged"),
    ],
)
def test_damaged_pickles_are_value_errors(data, message):
    with pytest.raises(ValueError, match=message):
        run(data)


def test_a_huge_memo_index_costs_nothing():
    assert (
        run(b"}r" + struct.pack("<I", 2**32 - 1) + b"0j" + struct.pack("<I", 2**32 - 1) + b".")
        == {}
    )


def test_colliding_keys_are_refused_quickly():
    modulus = 2**61 - 1
    keys = b"".join(
        b"\x8a\x14" + (modulus * (2**64 + i)).to_bytes(20, "little") + b"N" for i in range(50_000)
    )
    start = time.monotonic()
    with pytest.raises(ValueError, match="integer key"):
        run(b"}(" + keys + b"u.")
    assert time.monotonic() - start < 20
    long_key = b"(" + b"J\xff\xff\xff\xff" * 20 + b"t"
    with pytest.raises(ValueError, match="tuple"):
        run(b"}" + long_key + b"Ns.")


def test_copying_a_large_list_over_and_over_is_stopped():
    many = b"](" + b"N" * 100_000 + b"eq\x000"
    copies = b"cbuiltins\nlist\nh\x00\x85R" * 1000
    with pytest.raises(ValueError, match="operations"):
        run(many + copies + b".")


def test_exponential_sharing_is_read_without_expanding():
    data = b"]q\x00" + b"(h\x00h\x00lq\x00" * 60 + b"."
    result = run(data)
    assert isinstance(result, list) and result[0] is result[1]
