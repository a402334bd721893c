"""The detector that a run has trained (task "detection"), as one network from pixels to objects."""

from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, UInt8

from vlp_jax.data.images import resize
from vlp_jax.detectors.pixels import Prepared
from vlp_jax.detectors.surviving_class import SurvivorRule
from vlp_jax.heads.detection import Objects

# A picture has one region at least, as region models need; others are what is likelier than not.
RULE = SurvivorRule(least=1, score=0.5)


class TrainedDetector(nn.Module):
    """A vision encoder and a detection head on pictures of one size; boxes are in its pixels."""

    vision: nn.Module
    head: nn.Module

    def __call__(self, pixels: Float[Array, "b s s 3"], *_: Any) -> Objects:
        """Returns the objects; what is said of sizes and frames, all equal, is not looked at."""
        found = self.head(self.vision({"image": pixels}), RULE)
        return found._replace(boxes=found.boxes * pixels.shape[1])


def prepare_square(image: UInt8[np.ndarray, "h w 3"], side: int) -> Prepared:
    """Returns a picture as training sees it: resized to a square, each side by its own ratio."""
    height, width = image.shape[:2]
    return Prepared(resize(image, side), (side / height, side / width))


def found_columns(found: Objects) -> dict[str, Any]:
    """Returns what was found under the names of `Regions`."""
    return {
        "labels": found.labels,
        "confidence": found.scores,
        "class_scores": found.class_scores,
    }
