"""Masked language modelling: which tokens are hidden, and behind what."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.batch import IGNORE, Field
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example, Transform


@dataclass(frozen=True)
class Masking:
    """How tokens are masked; the defaults are BERT's (Devlin et al. 2019, section 3.1).

    probability: chance of each ordinary token to become a target.
    replace: of the targets, the shares shown as [MASK], as a random token, and as they are.
    random_range: half-open id range of the random tokens; None is the whole vocabulary.
    at_least_one: hides the first ordinary token where the draw chose none (UNITER).
    """

    probability: float = 0.15
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1)
    random_range: tuple[int, int] | None = None
    at_least_one: bool = False

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"masking probability is {self.probability}, expected 0 to 1")
        shares = np.asarray(self.replace, np.float64)
        if shares.shape != (3,) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
            raise ValueError(
                f"masking replace is {self.replace}, expected three shares that sum to 1: "
                "[MASK], random token, unchanged"
            )
        if self.random_range is not None and not 0 <= self.random_range[0] < self.random_range[1]:
            raise ValueError(
                f"masking random_range is {self.random_range}, expected 0 <= first < last"
            )


def mask_tokens(
    ids: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    mask_id: int,
    size: int,
    special_ids: Iterable[int],
    masking: Masking = Masking(),
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (mlm_ids, mlm_labels), int32 of the shape of `ids` [..., L].

    Padding (mask False) and `special_ids` are never targets. `size` is the vocabulary's size.
    Three numbers are drawn per position, whatever they are used for, so that an example's later
    draws do not depend on its text. Each model's choices: ALBEF `models/model_pretrain.py`
    (never [PAD] or [CLS]), UNITER `data/mlm.py` (`random_range`, `at_least_one`).
    """
    chosen_draw, kind, word = rng.random((3, *ids.shape))
    ordinary = mask.copy()
    for special in special_ids:  # quicker than np.isin for a handful of ids
        ordinary &= ids != special
    chosen = ordinary & (chosen_draw < masking.probability)
    show_mask = masking.replace[0]
    show_random = show_mask + masking.replace[1]
    if masking.at_least_one:
        forced = _first_where_none(chosen, ordinary)
        chosen = chosen | forced
        kind = np.where(forced, -1.0, kind)  # UNITER always hides the forced token behind [MASK]
    low, high = masking.random_range or (0, size)
    mlm_ids = np.where(chosen & (kind < show_mask), mask_id, ids)
    at_random = chosen & (kind >= show_mask) & (kind < show_random)
    mlm_ids = np.where(at_random, low + (word * (high - low)).astype(np.int32), mlm_ids)
    return mlm_ids.astype(np.int32), np.where(chosen, ids, IGNORE).astype(np.int32)


def _first_where_none(chosen: np.ndarray, ordinary: np.ndarray) -> np.ndarray:
    """Marks the first ordinary position of every row that has no chosen one."""
    first = ordinary & (np.cumsum(ordinary, axis=-1) == 1)
    return first & ~chosen.any(axis=-1, keepdims=True)


@dataclass(frozen=True)
class MaskWords(Transform):
    """Makes `mlm_ids` and `mlm_labels`, the caption with some words masked and what they were.

    Words of the part that the note "unpredicted" names have no label; they are still masked, for
    unmasked words would tell a wrong pair.
    """

    tokenizer: Tokenizer
    masking: Masking = Masking()

    makes = {
        "mlm_ids": Field(("int32",), ("B", "L"), "caption tokens with some of them masked"),
        "mlm_labels": Field(("int32",), ("B", "L"), f"masked tokens; {IGNORE} elsewhere"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        tokenizer, ids = self.tokenizer, example["text_ids"]
        shown, labels = mask_tokens(
            ids,
            example["text_mask"],
            rng,
            mask_id=tokenizer.mask_id,
            size=tokenizer.size,
            special_ids=(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id),
            masking=self.masking,
        )
        unpredicted = example.get("unpredicted")
        if unpredicted:
            segments = example.get("text_segments", np.zeros_like(ids))
            labels[segments == (1 if unpredicted == "second" else 0)] = IGNORE
        return {"mlm_ids": shown, "mlm_labels": labels}
