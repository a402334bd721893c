"""Names of figures: each beside its chance and its blind twin."""

_TWINS = ("chance", "blind")
Value = float | int | str | bool | None


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


def figure_names(name: str) -> frozenset[str]:
    """Returns the numbers among the entries that `figure` may give."""
    return frozenset((name, twin(name, "chance"), twin(name, "blind")))
