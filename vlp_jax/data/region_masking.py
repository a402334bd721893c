"""Masked region modelling: which regions are hidden, and what is shown in their place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.batch import FIELDS
from vlp_jax.data.region_fields import Regions
from vlp_jax.data.transforms import Example, Stage, Transform

REGION_MASKINGS: Registry = Registry("region masking")
"""Maps a name to the `RegionMasking` of a published model, or to None."""


@dataclass(frozen=True)
class RegionMasking:
    """How regions are hidden.

    probability: chance of each region to become a target.
    replace: of the targets, the shares shown as zeros, as a feature of another image, and as they
        are.
    at_least_one: hides a region, drawn at random, where the draw chose none.
    overlap: a region that shares more than this with a hidden one (intersection over union) does
        not count as a region in the mean that makes the global region; None counts all.
    """

    probability: float = 0.15
    replace: tuple[float, float, float] = (1.0, 0.0, 0.0)
    at_least_one: bool = False
    overlap: float | None = None

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"region masking probability is {self.probability}, expected 0 to 1")
        shares = np.asarray(self.replace, np.float64)
        if shares.shape != (3,) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
            raise ValueError(
                f"region masking replace is {self.replace}, expected three shares that sum to 1: "
                "zeros, another image's feature, unchanged"
            )
        if self.overlap is not None and not 0 <= self.overlap <= 1:
            raise ValueError(f"region masking overlap is {self.overlap}, expected 0 to 1 or None")


REGION_MASKINGS.register("none")(None)
# UNITER `data/mrm.py`
REGION_MASKINGS.register("uniter")(RegionMasking(at_least_one=True))
# LXMERT `src/pretrain/lxmert_pretrain.py`, random_feat
REGION_MASKINGS.register("lxmert")(RegionMasking(replace=(0.8, 0.1, 0.1)))
# ViLBERT `vilbert/datasets/concept_cap_dataset.py`, random_region
REGION_MASKINGS.register("vilbert")(RegionMasking(replace=(0.9, 0.0, 0.1), overlap=0.4))


def mask_regions(
    features: np.ndarray,
    rng: np.random.Generator,
    masking: RegionMasking,
    slots: int,
    other: Callable[[], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (features shown [N, F], hidden bool [N]) of N <= `slots` regions.

    `other` gives the features [M, F] of another image; it is called only where one of them is
    shown. The numbers drawn depend on `slots` alone, so that later draws of an example do not
    depend on how many regions it has.
    """
    count = len(features)
    chosen, kind, pick = rng.random((3, slots))[:, :count]
    forced = rng.random()
    hidden = chosen < masking.probability
    if masking.at_least_one and count and not hidden.any():
        hidden[int(forced * count)] = True
    zeros, foreign, _ = masking.replace
    shown = features.copy()
    shown[hidden & (kind < zeros)] = 0
    exchanged = hidden & (kind >= zeros) & (kind < zeros + foreign)
    if exchanged.any():
        given = other()
        rows = (pick[exchanged] * len(given)).astype(int)
        shown[exchanged] = given[rows] if len(given) else 0
    return shown, hidden


@dataclass(frozen=True)
class HideRegions(Transform):
    """Hides the features of regions, as a task of masked regions wants it, in training.

    Makes `region_hidden` and `region_targets`. Where the note "unpredicted" says that a part of
    the text is another image's, regions are hidden all the same and none is to be predicted.
    """

    masking: RegionMasking
    slots: int

    stage = Stage.REGIONS
    makes = {name: FIELDS[name] for name in ("region_hidden", "region_targets")}

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, Any]:
        regions: Regions = example["regions"]
        if regions.features is None:
            return {}
        shown, hidden = mask_regions(
            regions.features, rng, self.masking, self.slots, example["foreign_features"]
        )
        predicted = np.zeros_like(hidden) if example.get("unpredicted") else hidden
        fields = regions.fields | {
            "region_features": shown,
            "region_targets": regions.features,
            "region_hidden": predicted,
        }
        return {
            "regions": replace(regions, fields=fields, hidden=hidden, overlap=self.masking.overlap)
        }
