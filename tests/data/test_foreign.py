"""The guard of foreign bytes, and JSON behind it."""

import errno
import json
import struct

import pytest

from vlp_jax.data.foreign import foreign_bytes, listed, shortened
from vlp_jax.data.json_text import parse_json, read_json, read_object

RAISED = (
    KeyError("x"), TypeError("x"), struct.error("x"), RecursionError("x"), MemoryError(),
    IndexError("x"), OSError("library's own"), UnicodeDecodeError("utf-8", b"x", 0, 1, "x"),
    ZeroDivisionError("x"), AssertionError(), EOFError(), RuntimeError("y" * 9999),
)  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_is_raised_is_a_short_value_error(error):
    with pytest.raises(ValueError, match=f"^the file: {type(error).__name__}") as caught:
        with foreign_bytes("the file"):
            raise error
    assert len(str(caught.value)) < 500


def test_errors_that_say_enough_stay():
    with pytest.raises(PermissionError), foreign_bytes("the file"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(KeyboardInterrupt), foreign_bytes("the file"):
        raise KeyboardInterrupt
    for text in ("wrong", "the file: wrong"):
        with pytest.raises(ValueError, match="^the file: wrong$"), foreign_bytes("the file"):
            raise ValueError(text)


def test_lists_in_messages_are_short():
    assert listed(["a", "b"]) == "a, b" and listed([]) == ""
    assert listed([str(k) for k in range(9)], 3) == "0, 1, 2 and 6 more"
    assert shortened("x" * 500, 10) == "x" * 10 + "…"


def test_json_in_every_encoding(tmp_path):
    value = {"ä": [1, "\u2028"]}
    text = json.dumps(value, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "a.json").write_bytes(text.encode(encoding))
        assert read_json(tmp_path / "a.json") == value
    assert parse_json(memoryview(text.encode()), "x") == value


@pytest.mark.parametrize(
    "data, message",
    [
        (b"[" * 10**6, "nested too deeply"),
        (b'{"a":' * 10**5, "nested too deeply"),
        (b"", "Expecting value"),
        (b"\xff\xfe\xfd", "utf-"),
        (b'"\xe4"', "'utf-8' codec can't decode"),
        (b"[1" + b"0" * 5000 + b"]", "digits"),
    ],
)
def test_json_that_is_none(data, message):
    with pytest.raises(ValueError, match=f"^f.json: .*{message}"):
        parse_json(data, "f.json")


def test_an_object_is_asked_for(tmp_path):
    file = tmp_path / "sizes.json"
    file.write_text('{"a": 1}')
    assert read_object(file) == {"a": 1}
    for text, message in (("[1]", "expected a JSON object, found list"), ("[" * 10**6, "deeply")):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"sizes.json.*{message}"):
            read_object(file)
