"""From a `DataConfig` to sources, vocabulary, processors and the mixture that training reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.config import DataConfig
from vlp_jax.data.masking import Masking
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.processor import Processor
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.base import Source
from vlp_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """What turns words and answers into numbers; saved with every checkpoint."""

    tokenizer: Tokenizer
    answers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-able form, from which `from_json` makes an equal vocabulary."""
        return {"tokenizer": self.tokenizer.to_json(), "answers": list(self.answers)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        """Returns the vocabulary that `to_json` described."""
        return cls(Tokenizer.from_json(values["tokenizer"]), tuple(values["answers"]))


def open_source(config: DataConfig, name: str, split: str) -> Source:
    """Returns one split of a source, with the options that the config has for it."""
    source = SOURCES.get_known(name, "config.data.source")
    for other in config.source_args:
        SOURCES.get_known(other, "config.data.source_args")
    options = {"path": config.path, **config.source_args.get(name, {})}
    return source(split=split, **options)


def make_vocabulary(config: DataConfig) -> Vocabulary:
    """Returns the tokenizer that the config names and the answers of all its sources."""
    sources = [open_source(config, name, "train") for name in config.sources]
    answers = {a for s in sources if "question" in s.provides for a in s.answers()}
    return Vocabulary(_tokenizer(config.vocabulary, sources), tuple(sorted(answers)))


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
        augment=config.augment,
        flip=config.flip,
        mlm=masking,
        train=train,
        add_sep=config.add_sep,
        text_style=config.text_style,
        max_words=config.max_words,
        foils=config.foils and train,
        tags=config.tags,
    )


def make_mixture(
    config: DataConfig, vocabulary: Vocabulary, seed: int, host: int = 0, hosts: int = 1
) -> Mixture:
    """Returns the training batches of all sources; this host gets its share of each batch."""
    for name in config.weights:
        SOURCES.get_known(name, "config.data.weights")
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


def _tokenizer(name: str, sources: list[Source]) -> Tokenizer:
    if name == "bert-base-uncased":
        return Tokenizer.bert_uncased()
    if name == "fit":
        return Tokenizer.fit(text for source in sources for text in source.texts())
    path = Path(name)
    if path.is_dir():
        return Tokenizer.from_directory(path)
    if path.is_file():
        return Tokenizer.from_vocab_file(path)
    raise FileNotFoundError(
        f'config.data.vocabulary = "{name}": expected "bert-base-uncased", "fit", or the path of '
        "a vocab.txt or a tokenizer directory"
    )
