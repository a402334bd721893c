"""Detector: from pictures to regions, with the weights and by the rules of a published one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.images import decode
from vlp_jax.data.json_text import read_object
from vlp_jax.data.regions import Regions
from vlp_jax.data.regions.checks import check_regions
from vlp_jax.detectors.pixels import Prepared
from vlp_jax.inference.images import listed
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import DETECTORS
from vlp_jax.weights.zoo.detectors import Convention, PublishedDetector

# The frames that pictures are laid in, as width : height from the square to the longest side.
_SHAPES = (1.0, 4 / 3)


class Detector:
    """Finds the regions of pictures; make one with `vlp_jax.load_detector`.

    A picture's regions do not depend on the others that are given with it. All pictures are laid in
    one of five frames, `batch` of them at a time, so that at most five shapes are compiled.

    Attributes: `params`, `feature_width` (of what is found), `classes` (names of the labels),
    `frames` (height, width of each).
    """

    def __init__(
        self,
        published: PublishedDetector,
        params: Any,
        convention: Convention,
        classes: Sequence[str] = (),
        batch: int = 1,
    ):
        if batch < 1:
            raise ValueError(f"batch is {batch}, expected at least 1")
        self.params = jax.tree.map(jax.numpy.asarray, params)
        self.feature_width = params["class_head"]["kernel"].shape[0]
        self.classes = tuple(classes)
        self.frames = _frames(convention.shortest, convention.longest)
        self._columns = published.columns
        self._convention = convention
        self._batch = batch
        self._find = jax.jit(
            lambda params, *given: convention.detector.apply({"params": params}, *given)
        )

    def __call__(self, images: Any) -> list[Regions]:
        """Returns the regions of one picture or of each of a list, in pixels of the picture.

        A picture is a path, encoded bytes, a Pillow image or an array [H, W], [H, W, 3] or
        [H, W, 4]. FileNotFoundError or ValueError for one that cannot be read or is too narrow.
        """
        given = [decode(image, f"image {i}") for i, image in enumerate(listed(images))]
        prepared = [self._prepared(f"image {i}", image) for i, image in enumerate(given)]
        found: dict[int, Regions] = {}
        for frame, group in self._in_frames(prepared):
            values = self._found([prepared[i] for i in group], frame)
            for row, i in enumerate(group):
                own = {name: value[row] for name, value in values.items()}
                found[i] = _regions(f"image {i}", own, given[i].shape, self.classes)
        return [found[i] for i in range(len(given))]

    def _prepared(self, name: str, image: np.ndarray) -> Prepared:
        with foreign_bytes(name):
            return self._convention.prepare(image)

    def _in_frames(
        self, prepared: Sequence[Prepared]
    ) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Yields frames with at most `batch` pictures, by number, that go in each."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, picture in enumerate(prepared):
            groups.setdefault(self.frame(*picture.pixels.shape[:2]), []).append(i)
        for frame, numbers in groups.items():
            for start in range(0, len(numbers), self._batch):
                yield frame, numbers[start : start + self._batch]

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """Returns the smallest frame (height, width) that holds a picture of that size."""
        return next((h, w) for h, w in self.frames if h >= height and w >= width)

    def _found(self, pictures: Sequence[Prepared], frame: tuple[int, int]) -> dict[str, np.ndarray]:
        """Returns what is found in pictures, their places filled up with the last of them."""
        rows = list(pictures) + [pictures[-1]] * (self._batch - len(pictures))
        pixels = np.stack([_framed(picture.pixels, frame) for picture in rows])
        sizes = np.array([picture.pixels.shape[:2] for picture in rows], np.int32)
        enlarged = np.array([picture.enlarged for picture in rows], np.float32)
        with jax.default_matmul_precision("highest"):
            found = self._find(self.params, pixels, sizes, sizes, enlarged[:, 0])
        found = jax.device_get(found)
        return self._columns(found) | {
            "features": found.features,
            "boxes": found.boxes / enlarged[:, None, [1, 0, 1, 0]],
            "mask": found.mask,
        }


def _regions(
    name: str, values: dict[str, np.ndarray], shape: Sequence[int], classes: Sequence[str]
) -> Regions:
    """Returns the regions of one picture [height, width, 3]; ValueError if there are none."""
    mask = values.pop("mask")
    if not mask.any():
        raise ValueError(f"{name}: the detector found nothing in {shape[1]} x {shape[0]} pixels")
    kept = {key: value[mask] for key, value in values.items()}
    names = tuple(classes[i] for i in kept["labels"]) if classes else None
    regions = Regions(**kept, width=shape[1], height=shape[0], names=names)
    with foreign_bytes(name):
        check_regions(regions, None)
    return regions


def _frames(shortest: int, longest: int) -> tuple[tuple[int, int], ...]:
    """Returns frames for pictures of at most these sides, both ways, the smallest first."""
    sides = {min(longest, round(shortest * shape)) for shape in _SHAPES} | {longest}
    frames = {(shortest, side) for side in sides} | {(side, shortest) for side in sides}
    return tuple(sorted(frames, key=lambda frame: (frame[0] * frame[1], frame)))


def _framed(pixels: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    height, width = (side - n for side, n in zip(frame, pixels.shape[:2]))
    return np.pad(pixels, ((0, height), (0, width), (0, 0)))


def load_detector(
    name: str,
    weights: str | Path,
    *,
    convention: str = "",
    sizes: Mapping[str, Any] | None = None,
    classes: str | Path | Iterable[str] = (),
    batch: int = 1,
) -> Detector:
    """Returns a published detector, such as "frcnn_vg", with the weights of a published file.

    `convention` is whose pixels and choice of regions, by default the published configuration's
    (docs/detectors.md lists them). `sizes` are entries of that configuration where they differ.
    `classes` are names of the classes in order, or the file with them, `objects_vocab.txt` or the
    label map of VinVL; regions then have names, which OSCAR reads. `batch` pictures are computed
    at a time.
    Raises FileNotFoundError and ValueError, naming what was given and the nearest valid choice.
    """
    published: PublishedDetector = DETECTORS.get_known(name)
    known = Registry("convention")
    known.update(published.conventions(sizes or {}))
    chosen: Convention = known.get_known(convention or next(iter(known)))
    names = _class_names(classes) if isinstance(classes, str | Path) else tuple(classes)
    params = published.load(read_state_dict(weights), chosen.detector)
    detector = Detector(published, params, chosen, names, batch)
    count = chosen.detector.classes
    if names and len(names) != count:
        raise ValueError(f"{len(names)} names of classes were given, and the detector has {count}")
    return detector


def _class_names(path: str | Path) -> tuple[str, ...]:
    """Returns the first of each line's names, which commas separate, or those of a label map."""
    if Path(path).suffix == ".json":
        return _label_map(Path(path))
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return tuple(line.split(",")[0].strip().lower() for line in lines)


def _label_map(path: Path) -> tuple[str, ...]:
    """Returns the names of a file such as VinVL's, whose `label_to_idx` counts them from 1."""
    numbers = read_object(path).get("label_to_idx")
    if not isinstance(numbers, dict) or sorted(numbers.values()) != [*range(1, len(numbers) + 1)]:
        raise ValueError(f'{path} has no "label_to_idx" that numbers names of classes from 1')
    return tuple(sorted(numbers, key=numbers.get))
