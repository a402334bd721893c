"""The flat figures of a run: names with their chance and blind twins, written as summary.json."""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_jax.data.whole_file import write_whole
from vlp_jax.metrics.figures import Value

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _plain(name: str, value: Any, warnings: list[str]) -> Value:
    """Returns `value` as something JSON can hold; what is not finite becomes None and a warning."""
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if not isinstance(value, float):
        raise ValueError(
            f'summary figure "{name}" is of type {type(value).__name__}, '
            "expected a number, a text, a boolean or None"
        )
    if math.isfinite(value):
        return value
    warnings.append(f"{name} was {value} and is written as null")
    return None


def clean_summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures sorted by name, plain Python values, plus `warnings`, a list of texts.

    NaN and infinities become None and a warning each; warnings already in `figures` are kept.
    Raises ValueError for a name that is not lower_case_with_underscores or a nested value.
    """
    warnings = list(figures.get("warnings", ()))
    clean: dict[str, Any] = {}
    for name in sorted(figures):
        if not _NAME.fullmatch(name):
            raise ValueError(f'summary name "{name}": expected lower case, digits, underscores')
        if name != "warnings":
            clean[name] = _plain(name, figures[name], warnings)
    return clean | {"warnings": warnings}


def write_summary(path: str | os.PathLike, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the cleaned figures as JSON, whole or not at all, and returns them.

    See `clean_summary` for what is changed and refused.
    """
    summary = clean_summary(figures)
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")
    return summary
