"""Small sources made of numbers and strings, for the tests of this folder."""

import cv2
import numpy as np

from vlp_jax.data.sources.base import Source

WORDS = ("red", "blue", "apple", "dog", "left", "right", "of", "a", "the", "face")


class FakeSource(Source):
    """Records with a picture, two captions, a question and two boxes; some of them broken."""

    provides = frozenset({"image", "caption", "question", "regions"})

    def __init__(self, size=20, seed=0, broken=()):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (size, 24, 32, 3), dtype=np.uint8)
        self.words = rng.choice(WORDS, (size, 2, 5))
        self.broken = dict(broken)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        record = {
            "image": self.images[index],
            "image_id": index,
            "captions": [" ".join(words) for words in self.words[index]],
            "question": "is there a dog?",
            "answers": {"yes": 1.0, "unheard of": 0.3},
            "boxes": np.array([[0, 0, 16, 12], [16, 12, 32, 24]], np.float32),
            "labels": ["dog", "red apple"],
        }
        return record | self.broken.get(index, {})


def png(pixels, extension=".png"):
    """Encodes RGB, RGBA or grey pixels."""
    if pixels.ndim == 3:
        code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        pixels = cv2.cvtColor(pixels, code)
    return cv2.imencode(extension, pixels)[1].tobytes()
