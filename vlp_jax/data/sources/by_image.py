"""Records grouped by the image they show, and a source in which each image occurs once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.sources.base import Record, Source, check_index


@dataclass(frozen=True)
class ImageGroups:
    """Which rows show the same image: order int64 [N] of rows, image by image; starts [G + 1].

    Images stand in the order of their first row, and so do the rows of an image.
    number: int64 [N], the image of each row.
    """

    order: np.ndarray
    starts: np.ndarray
    number: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray) -> "ImageGroups":
        """Returns the groups of equal ids [N]."""
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        number = rank[inverse.reshape(-1)]
        counts = np.bincount(number, minlength=len(first))
        return cls(np.argsort(number, kind="stable"), np.append(0, np.cumsum(counts)), number)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, image: int) -> list[int]:
        """Returns the rows of image number `image`."""
        return self.order[self.starts[image] : self.starts[image + 1]].tolist()


class ByImage(Source):
    """Each image of a source once, with the captions of all records that show it.

    What else a record holds comes from the first record of the image that can be read;
    "captions_left_out" is how many of them can't be.
    """

    def __init__(self, source: Source, ids: np.ndarray):
        self._source = source
        self._groups = ImageGroups.of(ids)
        self._ids = np.asarray(ids)[self._groups.order[self._groups.starts[:-1]]]
        self.provides = source.provides
        self.attribution = source.attribution
        self.skipped = source.skipped

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> Record:
        """Returns the record of an image; the first ValueError or OSError if none can be read."""
        rows = self._groups.rows(check_index(index, len(self)))
        found: list[Record] = []
        problems: list[Exception] = []
        for row in rows:
            try:
                found.append(self._source[row])
            except (ValueError, OSError) as error:
                problems.append(error)
        if not found:
            raise problems[0]
        captions = [caption for record in found for caption in record.get("captions", ())]
        made = found[0] | ({"captions": captions} if captions else {})
        return made | ({"captions_left_out": len(problems)} if problems else {})

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every image, all different, int64 [G]."""
        return self._ids

    def by_image(self) -> Source:
        """Returns the source itself."""
        return self

    def texts(self) -> Iterator[str]:
        """Yields the texts of the source."""
        return self._source.texts()

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the source."""
        return self._source.answers()

    def region_classes(self) -> tuple[str, ...]:
        """Returns the region classes of the source."""
        return self._source.region_classes()

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the region attributes of the source."""
        return self._source.region_attributes()
