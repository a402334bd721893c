"""Wrong pairs: what of a text belongs to another image, and how often."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.batch import Field
from vlp_jax.data.transforms import Example, Stage, Transform

PAIRINGS: Registry = Registry("pairing")
"""Maps a name to a `Pairing`."""

Part = Literal["caption", "second"]

# The draw of the record whose texts are shown.
STRANGER = 0


@dataclass(frozen=True)
class Pairing:
    """What of an example is exchanged for another image's, in training.

    exchanges: (part, probability, label) of each kind of wrong pair: `part` is the caption or the
        second text, `label` its number in `pair_labels`, where 0 is a right pair.
    second: the second text that this pairing needs: the tags (region labels) or a second caption.
    """

    exchanges: tuple[tuple[Part, float, int], ...] = ()
    second: Literal["", "tags", "caption"] = ""

    def draw(self, rng: np.random.Generator) -> tuple[Part | None, int]:
        """Returns the part to exchange, or None, and the pair's label."""
        if not self.exchanges:
            return None, 0
        draw = rng.random()
        for part, probability, label in self.exchanges:
            if draw < probability:
                return part, label
            draw -= probability
        return None, 0


PAIRINGS.register("none")(Pairing())
# LXMERT `src/pretrain/lxmert_data.py`, ViLBERT `vilbert/datasets/concept_cap_dataset.py`
PAIRINGS.register("caption")(Pairing((("caption", 0.5, 1),)))
# OSCAR section 3; OSCAR+ `oscar/datasets/oscar_tsv.py`, random_sent
PAIRINGS.register("oscar")(Pairing((("second", 0.5, 1),), "tags"))
PAIRINGS.register("oscarplus")(Pairing((("second", 0.25, 1), ("caption", 0.25, 2)), "tags"))
# VisualBERT `dataloaders/coco_dataset.py`
PAIRINGS.register("second_caption")(Pairing((("second", 0.5, 1),), "caption"))


@dataclass(frozen=True)
class ExchangeTexts(Transform):
    """Shows the texts of another image now and then, in training, and makes `pair_labels`.

    Notes for the other transforms: "exchanged", the part that is another's; "stranger", its record;
    "second", which second text is wanted; and, unless words and regions of wrong pairs are to be
    predicted, "unpredicted", the part whose words are not.
    """

    pairing: Pairing
    predict_wrong_pairs: bool = True

    stage = Stage.PAIRS
    makes = {"pair_labels": Field(("int32",), ("B",), "0 = text and image belong together")}

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, Any]:
        exchanged, label = self.pairing.draw(rng)
        return {
            "pair_labels": np.int32(label),
            "exchanged": exchanged,
            "stranger": example.others(STRANGER) if exchanged else None,
            "second": self.pairing.second,
            "unpredicted": None if self.predict_wrong_pairs else exchanged,
        }
