"""JSON from files that others have written, as one value."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.paths import read_file

_FILE = "JSON file"


def parse_json(
    data: bytes | bytearray | memoryview | str,
    name: str,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Returns the value of a JSON text; ValueError that begins with `name` if it is none.

    A byte order mark and UTF-16 are read; text that is nested too deeply is an error like others.
    `pairs_hook` makes what stands for an object of its (key, value) pairs.
    """
    with foreign_bytes(name):
        try:
            text = data if isinstance(data, str) else _decoded(bytes(data))
            return json.loads(text, object_pairs_hook=pairs_hook)
        except RecursionError:
            raise ValueError("not valid JSON: it is nested too deeply") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not valid JSON: {shortened(str(error))}") from None


def read_json(file: Path, pairs_hook: Callable[[list], Any] | None = None) -> Any:
    """Returns the value in a file, as `parse_json` and `read_file` do."""
    return parse_json(read_file(file, _FILE), str(file), pairs_hook)


def read_object(file: str | Path, what: str = _FILE) -> dict[str, Any]:
    """Returns the JSON object in a file; ValueError where it holds anything else.

    `what` is what messages call the file, before its path.
    """
    name = str(file) if what == _FILE else f"{what} {file}"
    content = parse_json(read_file(file, what), name)
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected a JSON object, found {type(content).__name__}")
    return content


def _decoded(data: bytes) -> str:
    return data.decode(json.detect_encoding(data))
