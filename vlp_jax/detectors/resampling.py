"""Pictures of another size, by Pillow's filters as its versions before 13 applied them."""

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in its pixels or between them."""


def resampled(
    image: np.ndarray, shape: tuple[int, int], by: Image.Resampling, box: Box | None = None
) -> np.ndarray:
    """Returns what Pillow's filter makes of a picture: uint8 of this width and height.

    Rows are filtered first, as in all versions of Pillow that models were published with; one call
    of Pillow 13 begins with columns where those shrink more, and rounds otherwise.
    """
    height, (new_width, new_height) = len(image), shape
    left, top, right, bottom = box or (0, 0, image.shape[1], height)
    rows = Image.fromarray(image).resize((new_width, height), by, (left, 0, right, height))
    return np.array(rows.resize((new_width, new_height), by, (0, top, new_width, bottom)))
