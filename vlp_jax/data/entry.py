"""One entry of a record, or an error that says what the record has instead."""

from collections.abc import Mapping
from typing import Any


def take(record: Mapping[str, Any], key: str) -> Any:
    """Returns a record's entry; a missing or None one is a ValueError."""
    if record.get(key) is None:
        raise ValueError(f'the record has no "{key}", it has {", ".join(record) or "nothing"}')
    return record[key]
