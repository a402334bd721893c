"""Declares which published tensor is which parameter of ours: the alphabet of every key table.

A table is a list of calls such as `linear("cls_head.0", "heads_nlvr2/hidden")`. Each call says the
published name, our path and, by its own name, how the numbers are laid out. The same entries are
read in both directions (`vlp_jax.weights.conversion`); all of them are linear and lossless, so
gradients go through them as well.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Entry:
    """One published tensor and the parameter (of a fused projection: the parameters) it fills.

    Attributes:
      published: the tensor's name, then the names under which the file repeats it (tied tensors).
      ours: paths in our parameter tree.
      to_ours: published array -> one array for each path.
      to_published: one array for each path -> published array.
    """

    published: tuple[str, ...]
    ours: tuple[str, ...]
    to_ours: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    to_published: Callable[..., np.ndarray]


Entries = list[Any]  # entries and lists of entries, nested as deep as is convenient


@dataclass(frozen=True)
class KeyTable:
    """A bijection between published tensors and parameters; make it with `key_table`.

    Attributes:
      entries: one for each published tensor that the model computes with.
      unmodelled: regular expressions (full match) of names that a file may hold besides: buffers,
        queues, momentum copies, weights that the original never uses. They are carried back on
        writing, and their absence is fine.
    """

    entries: tuple[Entry, ...]
    unmodelled: tuple[str, ...] = ()

    @cached_property
    def names(self) -> frozenset[str]:
        """Every published name of every entry, tied copies included."""
        return frozenset(name for entry in self.entries for name in entry.published)

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every parameter path that the table fills."""
        return frozenset(path for entry in self.entries for path in entry.ours)

    def carries(self, name: str) -> bool:
        """Says whether a published name is allowed though the model does not compute with it."""
        return any(re.fullmatch(pattern, name) for pattern in self.unmodelled)

    def renamed(self, pattern: str, replacement: str) -> "KeyTable":
        """Returns the entries whose first name matches `pattern`, with every name substituted.

        ALBEF's momentum copies, for one, have the layout of the model they follow under `*_m`.
        """
        kept = [entry for entry in self.entries if re.search(pattern, entry.published[0])]
        new = lambda entry: tuple(re.sub(pattern, replacement, n) for n in entry.published)
        return key_table(
            [Entry(new(e), e.ours, e.to_ours, e.to_published) for e in kept], unmodelled=(".*",)
        )


def key_table(*entries: Entry | Entries, unmodelled: Iterable[str] = ()) -> KeyTable:
    """Returns the table of all entries; a name or path that appears twice is a ValueError."""
    flat = tuple(_flatten(entries))
    for kind in ("published", "ours"):
        counts = Counter(name for entry in flat for name in getattr(entry, kind))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"key table names {kind} {', '.join(twice[:5])} more than once")
    return KeyTable(flat, tuple(unmodelled))


def raw(published: str, ours: str, tied: Iterable[str] = ()) -> Entry:
    """The numbers as they are."""
    return Entry((published, *tied), (ours,), lambda x: (x,), lambda x: x)


def transposed(published: str, ours: str, tied: Iterable[str] = ()) -> Entry:
    """A matrix [out, in] that we hold as [in, out]."""
    return Entry((published, *tied), (ours,), lambda x: (x.T,), lambda x: x.T)


def embedding(published: str, ours: str, tied: Iterable[str] = ()) -> Entry:
    """A look-up table [size, width]; an output layer tied to it is named in `tied`."""
    return raw(f"{published}.weight", f"{ours}/table", tied)


def linear(published: str, ours: str, tied: Iterable[str] = ()) -> Entries:
    """`Linear`: weight [out, in] and bias. `tied` are further prefixes with the same numbers."""
    return [
        transposed(f"{published}.weight", f"{ours}/kernel", [f"{t}.weight" for t in tied]),
        raw(f"{published}.bias", f"{ours}/bias", [f"{t}.bias" for t in tied]),
    ]


def norm(published: str, ours: str) -> Entries:
    """`LayerNorm`: weight and bias [width]."""
    return [raw(f"{published}.weight", f"{ours}/scale"), raw(f"{published}.bias", f"{ours}/bias")]


def conv(published: str, ours: str, tied: Iterable[str] = ()) -> Entry:
    """The kernel [out, in, h, w] of a convolution, without a bias, that we hold as [h, w, in, out].

    `tied` are further prefixes with the same numbers.
    """
    return Entry(
        tuple(f"{prefix}.weight" for prefix in (published, *tied)),
        (f"{ours}/kernel",),
        lambda x: (x.transpose(2, 3, 1, 0),),
        lambda x: x.transpose(3, 2, 0, 1),
    )


def biased_conv(published: str, ours: str) -> Entries:
    """A convolution with its bias."""
    return [conv(published, ours), raw(f"{published}.bias", f"{ours}/bias")]


def patch_conv(published: str, ours: str, patch: int) -> Entries:
    """A convolution [out, channels, patch, patch] that we hold as a `Linear` over patch pixels."""

    def to_ours(x: np.ndarray) -> tuple[np.ndarray]:
        return (x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),)

    def to_published(x: np.ndarray) -> np.ndarray:
        return x.reshape(patch, patch, -1, x.shape[-1]).transpose(3, 2, 0, 1)

    weight = Entry((f"{published}.weight",), (f"{ours}/kernel",), to_ours, to_published)
    return [weight, raw(f"{published}.bias", f"{ours}/bias")]


def split_heads(published: str, ours: str, heads: int, tied: Iterable[str] = ()) -> Entries:
    """`SplitHeads`: a projection [heads·k, in] with bias, to queries, keys or values."""
    names = lambda last: tuple(f"{prefix}.{last}" for prefix in (published, *tied))
    return [
        Entry(
            names("weight"),
            (f"{ours}/kernel",),
            lambda x: (_split(x, heads),),
            _joined,
        ),
        Entry(
            names("bias"),
            (f"{ours}/bias",),
            lambda x: (x.reshape(heads, -1),),
            lambda x: x.reshape(-1),
        ),
    ]


def merge_heads(published: str, ours: str, heads: int) -> Entries:
    """`MergeHeads`: the projection [out, heads·k] with bias that follows attention."""

    def to_ours(x: np.ndarray) -> tuple[np.ndarray]:
        return (x.T.reshape(heads, -1, x.shape[0]),)

    def to_published(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, x.shape[-1]).T

    weight = Entry((f"{published}.weight",), (f"{ours}/kernel",), to_ours, to_published)
    return [weight, raw(f"{published}.bias", f"{ours}/bias")]


def fused_qkv(published: str, ours: str, heads: int) -> Entries:
    """One projection [3·heads·k, in] with bias, rows ordered query, key, value.

    `published` ends where "weight" and "bias" begin: "attn.qkv." or "attn1.in_proj_".
    """
    paths = lambda last: tuple(f"{ours}/{part}/{last}" for part in ("query", "key", "value"))
    return [
        Entry(
            (f"{published}weight",),
            paths("kernel"),
            lambda x: tuple(_split(part, heads) for part in np.split(x, 3)),
            lambda *parts: np.concatenate([_joined(part) for part in parts]),
        ),
        Entry(
            (f"{published}bias",),
            paths("bias"),
            lambda x: tuple(part.reshape(heads, -1) for part in np.split(x, 3)),
            lambda *parts: np.concatenate([part.reshape(-1) for part in parts]),
        ),
    ]


def _split(weight: np.ndarray, heads: int) -> np.ndarray:
    """[heads·k, in] -> [in, heads, k]; heads are contiguous in the published output."""
    return weight.T.reshape(weight.shape[1], heads, -1)


def _joined(kernel: np.ndarray) -> np.ndarray:
    """[in, heads, k] -> [heads·k, in]."""
    return kernel.reshape(kernel.shape[0], -1).T


def _flatten(entries: Iterable) -> Iterable[Entry]:
    for entry in entries:
        if isinstance(entry, Entry):
            yield entry
        else:
            yield from _flatten(entry)
