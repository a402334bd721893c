"""What every data source offers, the registry of sources and the checks that sources share."""

import hashlib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from vlp_jax.config import Registry, nearest

SOURCES = Registry("source")

Record = dict[str, Any]


class Source(Protocol):
    """A random-access, deterministic, picklable and thread-safe list of records of one split.

    A source is built as `SOURCES[name](split=..., path=..., seed=..., **options)`. `seed` matters
    to sources that draw their records; sources that read published data take it and ignore it.
    `provides` names what each record holds: "image", "caption", "question", "regions", and others
    that docs/data.md lists.
    A source that provides questions also has `answers()`, its sorted closed answer vocabulary; one
    that knows the names of its region classes has `region_classes()` and `region_attributes()`.
    """

    provides: frozenset[str]
    attribution: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...

    def texts(self) -> Iterator[str]:
        """Yields texts of the training split, enough to fit a vocabulary."""
        ...


def check_choice(kind: str, value: Any, known: Iterable[Any]) -> None:
    """Raises ValueError with the nearest valid choice if `value` is not among `known`."""
    known = list(known)
    if value not in known:
        listed = ", ".join(map(str, known))
        raise ValueError(f'unknown {kind} "{value}".{nearest(str(value), known)} Known: {listed}')


def check_options(source: Any, unknown: dict[str, Any]) -> None:
    """Raises ValueError for the options that the constructor of `source` does not name."""
    if unknown:
        parameters = inspect.signature(type(source).__init__).parameters.values()
        known = [p.name for p in parameters if p.name != "self" and p.kind != p.VAR_KEYWORD]
        check_choice(f"option of source {type(source).__name__}", next(iter(unknown)), known)


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


def existing_path(path: str | Path, what: str) -> Path:
    """Returns `path` if it exists, else raises FileNotFoundError naming its nearest sibling."""
    path = Path(path).expanduser()
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings)
        if not path.parent.is_dir():
            hint = f" The folder {path.parent} does not exist either."
        raise FileNotFoundError(f"{what} {path} does not exist.{hint}")
    return path


def stable_fraction(key: str) -> float:
    """Returns a number in [0, 1) that depends on `key` only, the same in every process."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
