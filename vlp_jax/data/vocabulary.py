"""What turns words, answers and classes into numbers, made from the sources of a run."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from vlp_jax.data.paths import any_path
from vlp_jax.data.sources.base import Source
from vlp_jax.data.tokenizer import Tokenizer

_LISTS = ("answers", "region_classes", "region_attributes")


@dataclass(frozen=True)
class Vocabulary:
    """What turns words and answers into numbers; saved with every checkpoint.

    `region_classes` and `region_attributes` name the detector's classes, in the order of their
    numbers; they are empty where no source names them. `answer_lists` are answers that some tasks
    know instead of `answers`, by the name of the list.
    """

    tokenizer: Tokenizer
    answers: tuple[str, ...] = ()
    region_classes: tuple[str, ...] = ()
    region_attributes: tuple[str, ...] = ()
    answer_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of_list(self, name: str) -> "Vocabulary":
        """Returns the same with the answers of a list; those of all for the name ""."""
        if not name:
            return self
        return dataclasses.replace(self, answers=self.answer_lists.get(name, ()))

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-able form, from which `from_json` makes an equal vocabulary."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        if self.answer_lists:
            lists["answer_lists"] = {name: list(x) for name, x in self.answer_lists.items()}
        return {"tokenizer": self.tokenizer.to_json(), **lists}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Vocabulary":
        """Returns the vocabulary that `to_json` described."""
        lists = {name: tuple(values.get(name, ())) for name in _LISTS}
        lists["answer_lists"] = {n: tuple(x) for n, x in values.get("answer_lists", {}).items()}
        return cls(Tokenizer.from_json(values["tokenizer"]), **lists)


def make_vocabulary(
    tokenizer: str,
    sources: Mapping[str, Source],
    more_texts: Iterable[str] = (),
    lists: Mapping[str, str] = {},
) -> Vocabulary:
    """Returns the tokenizer of that name and the answers and classes of all sources.

    A tokenizer that is fitted knows the words of `more_texts`, too. Answers keep the order of the
    sources where all have the same list, as published heads need; else they are sorted. `lists`
    names the list that a source's answers are in, where that is one of its own.
    """
    by_list: dict[str, list[Source]] = {"": []}
    for name, source in sources.items():
        if "question" in source.provides:
            by_list.setdefault(lists.get(name, ""), []).append(source)
    answers = {name: _answers(given) for name, given in by_list.items()}
    return Vocabulary(
        _tokenizer(tokenizer, sources.values(), more_texts),
        answers.pop(""),
        _region_names(sources, "region_classes"),
        _region_names(sources, "region_attributes"),
        answers,
    )


def _answers(sources: Iterable[Source]) -> tuple[str, ...]:
    lists = {source.answers() for source in sources}
    return next(iter(lists)) if len(lists) == 1 else tuple(sorted(set(chain(*lists))))


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
    path = any_path(name, "config.data.vocabulary")
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if path.is_file():
        return Tokenizer.from_vocab_file(path)
    raise FileNotFoundError(
        f'config.data.vocabulary = "{name}": expected "bert-base-uncased", "fit", or the path of '
        "a vocab.txt or a tokenizer directory"
    )
