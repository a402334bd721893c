"""Region features without a detector: each box cut from the picture, resized and flattened."""

import cv2
import numpy as np

from vlp_jax.data.images import NORMALISATIONS


def crop_features(image: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Returns float32 [N, 3·side²]: the pixels of each box, resized to side × side, normalised.

    `image` is uint8 [H, W, 3], `boxes` [N, 4] lie in the unit square; a box covers every pixel that
    it touches, at least one. Shrinking averages areas. The order is row, column, channel, and the
    normalisation CLIP's, as in the vision encoders that read whole pictures.
    """
    features = np.zeros((len(boxes), side, side, 3), np.float32)
    for feature, (left, top, right, bottom) in zip(features, _pixel_boxes(image, boxes)):
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        feature[:] = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    mean, std = (np.asarray(values, np.float32) for values in NORMALISATIONS["clip"])
    return ((features / 255 - mean) / std).reshape(len(boxes), 3 * side**2)


def _pixel_boxes(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the pixels [N, 4] that unit boxes touch: x1, y1 and, exclusive, x2, y2."""
    size = np.array([image.shape[1], image.shape[0]])
    # A corner that is a whole number of pixels may miss it by the rounding of float32.
    first = np.clip(np.floor(boxes[:, :2] * size + 1e-4), 0, size - 1)
    last = np.clip(np.ceil(boxes[:, 2:] * size - 1e-4), first + 1, size)
    return np.concatenate([first, last], axis=1).astype(int)
