"""What an untrusted pickle may hold: opaque placeholders, allowed constructors, bounded values."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

MAX_DEPTH = 100
MAX_KEY_BITS = 64

CODE_RUNNERS = frozenset(
    "os posix nt subprocess sys importlib runpy pty shutil socket ctypes code commands pickle "
    "_pickle webbrowser multiprocessing signal threading _thread pdb timeit".split()
)
BUILTIN_RUNNERS = frozenset(
    "eval exec compile open __import__ execfile file input breakpoint".split()
)


class Opaque:
    """Stands for an object of a class that is not on the allow-list: a name without content."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str):
        self.module = module
        self.name = name

    def __repr__(self) -> str:
        return f"Opaque({self.module[:80]}.{self.name[:80]})"


class Constructor:
    """An allowed global that can be called: `call` gets the pickled arguments and checks them."""

    __slots__ = ("name", "call")

    def __init__(self, name: str, call: Callable[..., Any]):
        self.name = name
        self.call = call


def refuse_code_runners(module: str, name: str) -> None:
    """Raises ValueError for a global that a checkpoint never needs and an attack does."""
    root = module.partition(".")[0]
    is_builtin = root in ("builtins", "__builtin__") and name.partition(".")[0] in BUILTIN_RUNNERS
    if root in CODE_RUNNERS or is_builtin:
        raise ValueError(
            f'the pickle asks for "{module[:80]}.{name[:80]}", which could run code on this '
            "machine; a checkpoint never needs it. Nothing was run"
        )


def check_key(key: Any) -> Any:
    """Returns `key` if hashing it is cheap and safe, so that no file can provoke collisions."""
    if isinstance(key, tuple):
        if len(key) > 2 or any(isinstance(part, tuple) for part in key):
            raise ValueError("damaged pickle: a dictionary key is a long or nested tuple")
        return tuple(check_key(part) for part in key)
    if isinstance(key, int) and key.bit_length() > MAX_KEY_BITS:
        raise ValueError(f"damaged pickle: an integer key has more than {MAX_KEY_BITS} bits")
    plain = (str, bytes, int, float, type(None), Opaque, Constructor, np.generic, np.dtype)
    if not isinstance(key, plain):
        raise ValueError(f"damaged pickle: a dictionary key is a {type(key).__name__}")
    return key


def children(value: Any) -> Iterator[Any]:
    """Yields what a container holds; nothing for other objects."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, argparse.Namespace):
        yield from vars(value).values()


def check_depth(root: Any) -> None:
    """Raises ValueError if containers nest deeper than `MAX_DEPTH`; does not recurse itself."""
    seen: set[int] = set()
    level = [root]
    for _ in range(MAX_DEPTH):
        below = []
        for value in level:
            if id(value) not in seen:
                seen.add(id(value))
                below.extend(children(value))
        if not below:
            return
        level = below
    raise ValueError(f"the pickle nests containers more than {MAX_DEPTH} levels deep")
