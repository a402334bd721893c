"""The flat figures of a run: names with their chance and blind twins, written as summary.json."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.config import nearest

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TWINS = ("chance", "blind")
_GROUPS = ("Retrieval", "Composition", "Question answering", "Language")
Value = float | int | str | bool | None


@dataclass(frozen=True)
class TableRow:
    """One metric with what it is compared with.

    `model`, `chance` and `blind` are shares in 0..1 when `unit` is "percent", plain numbers when it
    is "number"; None leaves a cell empty. `note` says what the blind baseline is. Rows of one
    `group` stand together, and `headline` rows are also shown large at the top of the report.
    """

    metric: str
    model: float | None
    chance: float | None = None
    blind: float | None = None
    note: str = ""
    group: str = ""
    unit: str = "percent"
    headline: bool = False

    def __post_init__(self):
        if self.unit not in ("percent", "number"):
            raise ValueError(f'unit is "{self.unit}", expected "percent" or "number"')

    def text(self, value: float | None) -> str:
        """Returns `value` as this row shows it: "71.3 %", "0.20 %", "12.5" or "–"."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.unit == "number":
            return f"{value:,.1f}"
        return f"{100 * value:.2f} %" if 0 < value < 0.01 else f"{100 * value:.1f} %"


def in_groups(rows: Sequence[TableRow]) -> list[TableRow]:
    """Returns the rows group by group: ours in the order of a report, then the others by name."""

    def place(row: TableRow) -> tuple[int, str]:
        known = row.group in _GROUPS
        return (_GROUPS.index(row.group), "") if known else (len(_GROUPS), row.group)

    return sorted(rows, key=place)


def twin(name: str, kind: str) -> str:
    """Returns the name of a figure's companion.

    `vqa_accuracy` has `vqa_chance` and `vqa_blind`, `i2t_r1` has `i2t_r1_chance`.
    """
    if kind not in _TWINS:
        raise ValueError(f'twin kind "{kind}": expected one of {", ".join(_TWINS)}')
    return f"{name.removesuffix('_accuracy')}_{kind}"


def figure(
    name: str,
    value: float,
    chance: float,
    blind: float | None = None,
    blind_name: str = "",
) -> dict[str, Value]:
    """Returns the flat entries of one figure: itself, its chance twin, its blind twin if any.

    `blind_name` says which baseline `blind` is and stands under `<twin>_name`.
    """
    entries: dict[str, Value] = {name: value, twin(name, "chance"): chance}
    if blind is not None:
        entries[twin(name, "blind")] = blind
        if blind_name:
            entries[twin(name, "blind") + "_name"] = blind_name
    return entries


def table_row(
    summary: Mapping[str, Any],
    name: str,
    metric: str,
    *,
    note: str = "",
    group: str = "",
    unit: str = "percent",
    headline: bool = False,
) -> TableRow:
    """Returns the row of figure `name` labelled `metric`, with its twins looked up in `summary`.

    Without a `note` the blind baseline's name is used. Raises ValueError for an unknown name.
    """
    if name not in summary:
        raise ValueError(f'the summary has no figure "{name}".{nearest(name, summary)}')
    blind = twin(name, "blind")
    return TableRow(
        metric=metric,
        model=summary[name],
        chance=summary.get(twin(name, "chance")),
        blind=summary.get(blind),
        note=note or summary.get(f"{blind}_name") or "",
        group=group,
        unit=unit,
        headline=headline,
    )


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
    path, summary = Path(path), clean_summary(figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)
    return summary
