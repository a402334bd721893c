"""Detector: from pictures to regions, with the weights and by the rules of a published one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vlp_jax.config import Registry
from vlp_jax.config.build import coerce
from vlp_jax.config.plugins import check_plugins
from vlp_jax.config.ranges import Count
from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.images import decode
from vlp_jax.data.json_text import read_object
from vlp_jax.data.paths import existing_file
from vlp_jax.data.regions import Regions
from vlp_jax.data.regions.checks import check_regions
from vlp_jax.detectors.pixels import Prepared
from vlp_jax.inference.images import listed
from vlp_jax.inference.trained_detector import TrainedDetector, found_columns, prepare_square
from vlp_jax.model import build_model
from vlp_jax.tasks.detection import HEAD as DETECTION
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
    `frames` (height, width of each), `batch`, `made_with` (what its regions depend on).
    """

    def __init__(
        self,
        columns: Callable[[Any], dict[str, Any]],
        params: Any,
        feature_width: int,
        convention: Convention,
        made_with: Mapping[str, Any],
        classes: Sequence[str] = (),
        batch: int = 1,
    ):
        self.params = jax.tree.map(jax.numpy.asarray, params)
        self.feature_width = feature_width
        self.classes = tuple(classes)
        self.made_with = dict(made_with)
        self.frames = _frames(convention.shortest, convention.longest)
        self._columns = columns
        self._convention = convention
        self.batch = batch
        self._find = jax.jit(
            lambda params, *given: convention.detector.apply({"params": params}, *given)
        )

    def __call__(self, images: Any) -> list[Regions]:
        """Returns the regions of one picture or of each of a list, in pixels of the picture.

        A picture is a path, encoded bytes, a Pillow image or an array [H, W], [H, W, 3] or
        [H, W, 4]. FileNotFoundError or ValueError for one that cannot be read, is too narrow or in
        which nothing is found.
        """
        given = {f"image {i}": image for i, image in enumerate(listed(images))}
        found = self._found({name: self._read(name, image) for name, image in given.items()})
        for problem in found.values():
            if isinstance(problem, ValueError):
                raise problem
        return [found[name] for name in given]

    def attempt(self, images: Mapping[str, Any]) -> dict[str, Regions | Exception]:
        """Returns the regions of each picture by its name, or the error for which it has none."""
        read, problems = {}, {}
        for name, image in images.items():
            try:
                read[name] = self._read(name, image)
            except (ValueError, OSError) as error:
                problems[name] = error
        found = self._found(read) | problems
        return {name: found[name] for name in images}

    def _read(self, name: str, image: Any) -> "_Picture":
        pixels = decode(image, name)
        with foreign_bytes(name):
            return _Picture(self._convention.prepare(pixels), *pixels.shape[:2])

    def _found(self, pictures: Mapping[str, "_Picture"]) -> dict[str, Regions | ValueError]:
        """Returns what is in pictures by name, computed together where they fit one frame."""
        groups: dict[tuple[int, int], list[str]] = {}
        for name, picture in pictures.items():
            groups.setdefault(self.frame(*picture.prepared.pixels.shape[:2]), []).append(name)
        found: dict[str, Regions | ValueError] = {}
        for frame, names in groups.items():
            for start in range(0, len(names), self.batch):
                some = names[start : start + self.batch]
                values = self._computed([pictures[name].prepared for name in some], frame)
                for row, name in enumerate(some):
                    own = {key: value[row] for key, value in values.items()}
                    found[name] = _regions(name, own, pictures[name], self.classes)
        return found

    def frame(self, height: int, width: int) -> tuple[int, int]:
        """Returns the smallest frame (height, width) that holds a picture of that size."""
        return next((h, w) for h, w in self.frames if h >= height and w >= width)

    def _computed(
        self, pictures: Sequence[Prepared], frame: tuple[int, int]
    ) -> dict[str, np.ndarray]:
        """Returns what is found in pictures; the last one fills the places that are left."""
        rows = list(pictures) + [pictures[-1]] * (self.batch - len(pictures))
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


class _Picture(NamedTuple):
    """A picture for the network, and the size that it had."""

    prepared: Prepared
    height: int
    width: int


def _regions(
    name: str, values: dict[str, np.ndarray], picture: _Picture, classes: Sequence[str]
) -> Regions | ValueError:
    """Returns the regions of one picture, or the error of one that has none or impossible ones."""
    mask, (_, height, width) = values.pop("mask"), picture
    if not mask.any():
        return ValueError(f"{name}: the detector found nothing in {width} x {height} pixels")
    kept = {key: value[mask] for key, value in values.items()}
    names = tuple(classes[i] for i in kept["labels"]) if classes else None
    regions = Regions(**kept, width=width, height=height, names=names)
    try:
        check_regions(regions, None)
    except ValueError as error:
        return ValueError(f"{name}: {error}")
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
    name: str | Path,
    weights: str | Path | None = None,
    *,
    convention: str = "",
    sizes: Mapping[str, Any] | None = None,
    classes: str | Path | Iterable[str] = (),
    batch: int = 1,
) -> Detector:
    """Returns a published detector, such as "frcnn_vg", with the weights of a published file.

    Without `weights` the name is the workdir of a run that has trained one (task "detection"),
    which takes `batch` alone: all else is the run's.
    `convention` is whose pixels and choice of regions, by default the published configuration's
    (docs/detectors.md lists them). `sizes` are entries of that configuration where they differ; a
    folder as `weights` may have them as `config.json`. `classes` are names of the classes in order,
    or the published file with them; regions then have names, which OSCAR reads.
    `batch` pictures are computed at a time.
    Raises FileNotFoundError and ValueError, naming what was given and the nearest valid choice.
    """
    batch = coerce(batch, Count, "batch")
    if weights is None:
        return _of_run(name, batch, convention=convention, sizes=sizes, classes=classes)
    published: PublishedDetector = DETECTORS.get_known(str(name))
    state = read_state_dict(weights)
    known = Registry("convention")
    known.update(published.conventions(dict(state.meta.config) | dict(sizes or {})))
    convention = convention or next(iter(known))
    chosen: Convention = known.get_known(convention)
    names = _class_names(classes) if isinstance(classes, str | Path) else tuple(classes)
    params = published.load(state, chosen.detector)
    width, count = params["class_head"]["kernel"].shape
    if names and len(names) != count - 1:
        raise ValueError(
            f"{len(names)} names of classes were given, and the detector has {count - 1}"
        )
    made_with = {"detector": name, "convention": convention, "weights": Path(weights).name}
    return Detector(published.columns, params, width, chosen, made_with, names, batch)


def _of_run(name: str | Path, batch: int, **given: Any) -> Detector:
    """Returns the detector of a run; ValueError where something is given that the run says."""
    if str(name) in DETECTORS:
        raise ValueError(f'load_detector("{name}") needs the file with its weights as well')
    for option, value in given.items():
        if value not in (None, "", ()):
            raise ValueError(f'"{name}" is a run, which says all of its detector: give no {option}')
    from vlp_jax.training.checkpoint import read_run  # Orbax is slow to import

    config, vocabulary, params = read_run(name)
    check_plugins(config)
    head = params.get(f"heads_{DETECTION}")
    if head is None:
        raise ValueError(f'the model of "{name}" has no head "{DETECTION}": it finds no objects')
    model = build_model(config.model, config.training.dtype)
    network = TrainedDetector(model.vision, model.head(DETECTION))
    side = config.data.image_size
    convention = Convention(network, partial(prepare_square, side=side), side, side)
    made_with = {"detector": str(name), "convention": "run", "weights": config.name}
    given = {"vision": params["vision"], "head": head}
    width = head["class_head"]["kernel"].shape[0]
    names = vocabulary.region_classes
    return Detector(found_columns, given, width, convention, made_with, names, batch)


def _class_names(path: str | Path) -> tuple[str, ...]:
    """Returns the first of each line's names, which commas separate, or those of a label map."""
    file = existing_file(path, "names of classes")
    if file.suffix == ".json":
        return _label_map(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(line.split(",")[0].strip().lower() for line in lines)


def _label_map(path: Path) -> tuple[str, ...]:
    """Returns the names of a file such as VinVL's, whose `label_to_idx` counts them from 1."""
    numbers = read_object(path).get("label_to_idx")
    if not isinstance(numbers, dict) or sorted(numbers.values()) != [*range(1, len(numbers) + 1)]:
        raise ValueError(f'{path} has no "label_to_idx" that numbers names of classes from 1')
    return tuple(sorted(numbers, key=numbers.get))
