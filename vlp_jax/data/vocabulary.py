"""What turns words, answers and classes into numbers, made from the sources of a run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from vlp_jax.data.sources.base import Source
from vlp_jax.data.tokenizer import Tokenizer

_LISTS = ("answers", "region_classes", "region_attributes")


@dataclass(frozen=True)
class Vocabulary:
    """What turns words and answers into numbers; saved with every checkpoint.

    `region_classes` and `region_attributes` name the detector's classes, in the order of their
    numbers; they are empty where no source names them.
    """

    tokenizer: Tokenizer
    answers: tuple[str, ...] = ()
    region_classes: tuple[str, ...] = ()
    region_attributes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-able form, from which `from_json` makes an equal vocabulary."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {"tokenizer": self.tokenizer.to_json(), **lists}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """Returns the vocabulary that `to_json` described."""
        lists = {name: tuple(values.get(name, ())) for name in _LISTS}
        return cls(Tokenizer.from_json(values["tokenizer"]), **lists)


def make_vocabulary(
    tokenizer: str, sources: Mapping[str, Source], more_texts: Iterable[str] = ()
) -> Vocabulary:
    """Returns the tokenizer of that name and the answers and classes of all sources.

    A tokenizer that is fitted knows the words of `more_texts`, too. Answers keep the order of the
    sources where all have the same list, as published heads need; else they are sorted.
    """
    lists = {s.answers() for s in sources.values() if "question" in s.provides}
    answers = next(iter(lists)) if len(lists) == 1 else sorted(set(chain.from_iterable(lists)))
    return Vocabulary(
        _tokenizer(tokenizer, sources.values(), more_texts),
        tuple(answers),
        _region_names(sources, "region_classes"),
        _region_names(sources, "region_attributes"),
    )


def _region_names(sources: Mapping[str, Source], kind: str) -> tuple[str, ...]:
    """Returns the names that sources give to region classes or attributes; they must agree."""
    given = {name: getattr(source, kind)() for name, source in sources.items()}
    named = {name: names for name, names in given.items() if names}
    if len(set(named.values())) > 1:
        counts = ", ".join(f"{name} {len(names)}" for name, names in named.items())
        raise ValueError(
            f"the sources of config.data.source differ in their {kind} ({counts}): one head can't "
            "predict both"
        )
    return next(iter(named.values()), ())


def _tokenizer(name: str, sources: Iterable[Source], more_texts: Iterable[str]) -> Tokenizer:
    if name == "bert-base-uncased":
        return Tokenizer.bert_uncased()
    if name == "fit":
        return Tokenizer.fit(chain(more_texts, *(source.texts() for source in sources)))
    path = Path(name)
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if path.is_file():
        return Tokenizer.from_vocab_file(path)
    raise FileNotFoundError(
        f'config.data.vocabulary = "{name}": expected "bert-base-uncased", "fit", or the path of '
        "a vocab.txt or a tokenizer directory"
    )
