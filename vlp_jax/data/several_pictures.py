"""The pictures of a record that has several, each read as one picture is."""

from dataclasses import dataclass

import numpy as np

from vlp_jax.data.batch import FIELDS, stack
from vlp_jax.data.entry import take
from vlp_jax.data.transforms import Example, Stage, Transform

_READ = {name for name, field in FIELDS.items() if "P?" in field.dims}


@dataclass(frozen=True)
class SeveralPictures(Transform):
    """Makes the fields of each of a record's "pictures", with an axis [P] in front of theirs.

    each: what makes the fields of one picture. `image_id` is the record's own.
    """

    each: tuple[Transform, ...]

    stage = Stage.PICTURE

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        made = []
        for picture in take(example.record, "pictures"):
            one = Example(picture, example.others)
            for transform in self.each:
                one.update(transform(one, rng))
            made.append({name: value for name, value in one.items() if name in _READ})
        return stack(made) | {"image_id": np.int32(take(example.record, "image_id"))}
