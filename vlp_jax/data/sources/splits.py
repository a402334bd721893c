"""Which records belong to a split: by a hash of what identifies them, or by the split's name."""

from collections.abc import Collection, Mapping

import numpy as np

from vlp_jax.data.sources.base import check_choice

SPLITS = ("train", "validation", "test")


def check_request(name: str, split: str, path: str | None, expected: str) -> None:
    """Raises ValueError for an unknown split or without a `path`.

    `name` is that of the source in the registry, `expected` says what the path leads to.
    """
    check_choice(f"split of source {name}", split, SPLITS)
    if not path:
        raise ValueError(f"source {name} needs `path`: {expected}")


def check_holdout(holdout: float) -> float:
    """Returns the share of records to hold out, or raises ValueError unless it is in [0, 1)."""
    number = isinstance(holdout, int | float) and not isinstance(holdout, bool)
    if not number or not 0 <= holdout < 1:
        raise ValueError(f"holdout is {holdout!r}; expected a share of at least 0 and below 1")
    return float(holdout)


def held_out_mask(places: np.ndarray, holdout: float) -> np.ndarray:
    """Returns bool [N]: which records are kept for validation, by their `places` in [0, 1).

    A record's place depends on it alone, so adding records moves none from one set to the other,
    except that at least one is held out and one is not where the places differ. Records of one
    place stay together. With `holdout` 0 none is held out.
    """
    if not len(places) or not holdout:
        return np.zeros(len(places), bool)
    limit = np.clip(holdout, places.min(), places.max())
    return (places <= limit) & (places < places.max())


def split_name(split: str, renamed: Mapping[str, str] | None, known: Collection[str]) -> str:
    """Returns what a data set calls the split that this package calls `split`.

    renamed: this package's name → the data set's, for those that differ. A data set's "val" is
    found without. ValueError for a split that the data set lacks.
    """
    check_choice("split", split, SPLITS)
    renamed = renamed or {}
    for name in renamed:
        check_choice("split in `splits`", name, SPLITS)
    if split in renamed:
        return renamed[split]
    if split in known:
        return split
    if split == "validation" and "val" in known:
        return "val"
    example = f'splits = {{"{split}": "{next(iter(known), "train")}"}}'
    raise ValueError(
        f'the data set has no split "{split}", it has {", ".join(known)}. Name the one to use, '
        f"as in {example}"
    )
