"""What every data source is, the registry of sources and the checks that sources share."""

import abc
import dataclasses
import hashlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from vlp_jax.config import Registry, nearest
from vlp_jax.config.build import checked_fields
from vlp_jax.config.ranges import Range
from vlp_jax.data.foreign import listed, shortened

Record = dict[str, Any]


@dataclass(eq=False)
class Source(abc.ABC):
    """A random-access, deterministic, picklable and thread-safe list of records of one split.

    A source is a dataclass whose fields are its options: `SOURCES[name](split=..., path=...,
    seed=..., **options)`. Unknown names and values of a wrong type are a ValueError, the latter
    from `super().__post_init__()`. A subclass that is no dataclass checks its options itself.

    split: "train", "validation", "test" or what else the source names. path: its data. seed: what
    sources draw their records from; those that read published data ignore it.

    provides: what each record holds: "image", "caption", "question", "regions", and others that
    docs/data.md lists. attribution: whom to credit. skipped: why entries have been left out.
    split_names: all splits there can be, () if that depends on the data.
    """

    split: str = "train"
    path: str | None = None
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0

    provides: ClassVar[frozenset[str]] = frozenset()
    attribution: ClassVar[str] = "User-supplied data."
    skipped: ClassVar[Sequence[str]] = ()
    split_names: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, /, *arguments: Any, **options: Any):
        owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
        if "__dataclass_fields__" in vars(owner):  # its fields are the options
            known = [field.name for field in dataclasses.fields(owner) if field.init]
            for name in options:
                check_choice(f"option of source {cls.__name__}", name, known)
        return super().__new__(cls)

    def __post_init__(self):
        """Raises ValueError for an option of a wrong type; paths become text."""
        names = [field.name for field in dataclasses.fields(self) if field.init]
        given = {name: _as_text(vars(self)[name]) for name in names}
        vars(self).update(checked_fields(type(self), given, f"source {type(self).__name__}"))

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Record: ...

    def annotation(self, index: int) -> Record:
        """Returns a record, without its picture and regions where these cost time to read."""
        return self[index]

    def texts(self) -> Iterator[str]:
        """Yields texts of the training split, enough to fit a vocabulary."""
        yield from ()

    def answers(self) -> tuple[str, ...]:
        """Returns the closed answer vocabulary, sorted; () where there are no questions."""
        return ()

    def region_classes(self) -> tuple[str, ...]:
        """Returns the names of the region classes by number; () where they are not known."""
        return ()

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the names of the region attributes by number; () where they are not known."""
        return ()

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N].

        Reads all records where a source does not know better. One that can't be read gets a
        negative number of its own.
        """
        return np.array([_image_id(self, index) for index in range(len(self))], np.int64)

    def by_image(self) -> "Source":
        """Returns the records with each image once and all of its captions, as retrieval counts.

        The source itself if no two of its records show one image; otherwise images stand in the
        order of their first record, which gives all but the captions.
        """
        from vlp_jax.data.sources.by_image import ByImage  # noqa: PLC0415 (it is a source itself)

        ids = self.image_ids()
        return self if len(np.unique(ids)) == len(ids) else ByImage(self, ids)


SOURCES = Registry("source", Source)


def of_split(kind: type[Source], split: str, options: Mapping[str, Any]) -> Source:
    """Returns a split of a source with its options; ValueError if these name a split themselves."""
    if "split" in options:
        raise ValueError(
            f"split = {options['split']!r} is no option: training reads the split train, and an "
            "evaluation what config.tasks.<task>.evaluate.<name>.split says"
        )
    return kind(split=split, **options)


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _image_id(source: Source, index: int) -> int:
    try:
        return int(source[index].get("image_id", -1 - index))
    except (ValueError, OSError):
        return -1 - index


def check_choice(kind: str, value: Any, known: Iterable[Any]) -> None:
    """Raises ValueError with the nearest valid choice if `value` is not among `known`."""
    known = list(known)
    if value not in known:
        hint = nearest(str(value), known)
        shown = listed(list(map(str, known)), 40)
        raise ValueError(f'unknown {kind} "{shortened(str(value), 200)}".{hint} Known: {shown}')


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """Returns `value` if it is an integer in [low, high], else raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; expected an integer from {low} to {high}")
    return value


def check_index(index: int, length: int) -> int:
    """Returns `index` (Python convention for negative ones) or raises IndexError."""
    if not -length <= index < length:
        raise IndexError(f"record {index} of a source with {length} records")
    return index % length


def usable_texts(read: Callable[[int], Iterable[str]], rows: Iterable[int]) -> Iterator[str]:
    """Yields the texts that `read` returns for each row that can be read.

    Others are passed over, because training counts and lists them; if all are, the first one's
    ValueError or OSError is raised.
    """
    problem, usable = None, False
    for row in rows:
        try:
            texts = list(read(row))
        except (ValueError, OSError) as error:
            problem = problem or error
            continue
        usable = True
        yield from texts
    if problem is not None and not usable:
        raise problem


def package_folder(package: str, *parts: str) -> Path:
    """Returns a folder inside an installed pip package, without importing the package.

    Raises ValueError with the pip extra to install if the package or the folder is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(missing_package(package))
    folder = Path(spec.submodule_search_locations[0], *parts)
    if not folder.is_dir():
        raise ValueError(f"package {package} holds no folder {folder}. {missing_package(package)}")
    return folder


def missing_package(package: str, extra: str = "quickstart") -> str:
    """Returns the sentence that says how to install an optional package."""
    return f'This source needs the package "{package}": pip install "vlp_jax[{extra}]"'


def optional_module(name: str, extra: str) -> Any:
    """Returns an imported optional module, or raises ValueError with the pip extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ValueError(f"{missing_package(package, extra)} ({error})") from None


def stable_digest(key: str) -> int:
    """Returns 64 bits that depend on `key` only, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def stable_fraction(key: str) -> float:
    """Returns a number in [0, 1) that depends on `key` only, the same in every process."""
    return stable_digest(key) / 2**64
