"""From a `DataConfig` to sources, vocabulary, processors and the mixture that training reads."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from vlp_jax.config import DataConfig, nearest
from vlp_jax.data.answer_fields import AnswerFields
from vlp_jax.data.masking import Masking
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.pairing import PAIRINGS
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.processor import Processor
from vlp_jax.data.region_masking import REGION_MASKINGS, RegionMasking
from vlp_jax.data.sources import SOURCES
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
    answers: tuple[str, ...]
    region_classes: tuple[str, ...] = ()
    region_attributes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-able form, from which `from_json` makes an equal vocabulary."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {"tokenizer": self.tokenizer.to_json(), **lists}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        """Returns the vocabulary that `to_json` described."""
        lists = {name: tuple(values.get(name, ())) for name in _LISTS}
        return cls(Tokenizer.from_json(values["tokenizer"]), **lists)


def open_source(config: DataConfig, name: str, split: str) -> Source:
    """Returns one split of a source, with the options that the config has for it.

    Options with a `kind` make a name of its own, so that one kind of source can occur several
    times: `source_args.cc3m = {"kind": "webdataset", "path": ...}`.
    """
    source = _source_class(config, name, "config.data.source")
    for other in config.source_args:
        _source_class(config, other, "config.data.source_args")
    options = {"path": config.path, **config.source_args.get(name, {})}
    options.pop("kind", None)
    return source(split=split, **options)


def make_vocabulary(config: DataConfig) -> Vocabulary:
    """Returns the tokenizer that the config names and the answers of all its sources."""
    sources = [open_source(config, name, "train") for name in config.sources]
    answers = {a for s in sources if "question" in s.provides for a in s.answers()}
    named = dict(zip(config.sources, sources))
    return Vocabulary(
        _tokenizer(config.vocabulary, sources, sorted(answers) if config.answer_length else []),
        tuple(sorted(answers)),
        _region_names(named, "region_classes"),
        _region_names(named, "region_attributes"),
    )


def make_processor(
    config: DataConfig, source: Source, vocabulary: Vocabulary, train: bool
) -> Processor:
    """Returns what turns a record of `source` into an example."""
    masking = Masking(config.mask_probability, at_least_one=config.mask_at_least_one)
    return Processor(
        tokenizer=vocabulary.tokenizer,
        provides=source.provides,
        image_size=config.image_size,
        text_length=config.text_length,
        question_length=config.question_length,
        regions=config.regions,
        answers=vocabulary.answers,
        questions=config.questions,
        answer_texts=_answer_texts(config, vocabulary.tokenizer) if train else None,
        augment=config.augment,
        flip=config.flip,
        mlm=masking,
        train=train,
        add_sep=config.add_sep,
        text_style=config.text_style,
        max_words=config.max_words,
        foils=config.foils and train,
        tags=config.tags,
        pairing=PAIRINGS.get_known(config.pairing, "config.data.pairing"),
        predict_wrong_pairs=config.predict_wrong_pairs,
        region_pixels=config.region_pixels,
        global_region=config.global_region,
        region_masking=_region_masking(config),
    )


def make_mixture(
    config: DataConfig, vocabulary: Vocabulary, seed: int, host: int = 0, hosts: int = 1
) -> Mixture:
    """Returns the training batches of all sources; this host gets its share of each batch."""
    for name in config.weights:
        _source_class(config, name, "config.data.weights")
    parts = []
    for name in config.sources:
        source = open_source(config, name, "train")
        pipeline = Pipeline(
            source,
            make_processor(config, source, vocabulary, train=True),
            config.batch_size,
            seed=seed,
            host=host,
            hosts=hosts,
            threads=config.threads,
            prefetch=config.prefetch,
        )
        parts.append((name, pipeline, config.weights.get(name, 1.0)))
    return Mixture(parts, seed)


def _source_class(config: DataConfig, name: str, path: str) -> type[Source]:
    """Returns the class of a source or of a name that `config.source_args` gives a kind."""
    args = config.source_args.get(name, {})
    if "kind" in args:
        return SOURCES.get_known(args["kind"], f"config.data.source_args.{name}.kind")
    if name not in SOURCES:
        named = [other for other, given in config.source_args.items() if "kind" in given]
        raise ValueError(
            f'{path}: unknown source "{name}".{nearest(name, [*SOURCES, *named])} '
            f"Known: {', '.join(sorted({*SOURCES, *named}))}. A name of your own needs its kind: "
            f"config.data.source_args.{name}.kind"
        )
    return SOURCES[name]


def _answer_texts(config: DataConfig, tokenizer: Tokenizer) -> AnswerFields | None:
    if not config.answer_length:
        return None
    return AnswerFields(tokenizer, config.answer_length, config.answers_per_question)


def _region_masking(config: DataConfig) -> RegionMasking | None:
    masking = REGION_MASKINGS.get_known(config.region_masking, "config.data.region_masking")
    return masking and replace(masking, probability=config.region_mask_probability)


def _region_names(sources: dict[str, Source], kind: str) -> tuple[str, ...]:
    """Returns the names that sources give to region classes or attributes; they must agree."""
    named = {name: getattr(s, kind)() for name, s in sources.items() if hasattr(s, kind)}
    if len(set(named.values())) > 1:
        counts = ", ".join(f"{name} {len(names)}" for name, names in named.items())
        raise ValueError(
            f"the sources of config.data.source differ in their {kind} ({counts}): one head can't "
            "predict both"
        )
    return next(iter(named.values()), ())


def _tokenizer(name: str, sources: list[Source], spelt: list[str]) -> Tokenizer:
    """Returns the tokenizer of that name; one that is fitted knows the words of `spelt`, too."""
    if name == "bert-base-uncased":
        return Tokenizer.bert_uncased()
    if name == "fit":
        return Tokenizer.fit(chain(spelt, *(source.texts() for source in sources)))
    path = Path(name)
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if path.is_file():
        return Tokenizer.from_vocab_file(path)
    raise FileNotFoundError(
        f'config.data.vocabulary = "{name}": expected "bert-base-uncased", "fit", or the path of '
        "a vocab.txt or a tokenizer directory"
    )
