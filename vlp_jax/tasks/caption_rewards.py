"""Captions by their worth: a captioner draws captions and learns from the CIDEr-D that they get.

Self-critical training (Rennie et al. 2017, arXiv:1612.00563) as OSCAR uses it: a drawn caption is
made likelier by as much as it is better than the greedy one. Rewards are computed on the host by
`metrics.cider`, each device sending the captions of its own pictures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Range
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.entry import take
from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.paths import existing_file
from vlp_jax.data.records import SkippedRecords, usable_records
from vlp_jax.data.sources.base import Source
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.metrics.cider import Rarity
from vlp_jax.model import Views
from vlp_jax.parallel.ring import on_each_part, ring_axes
from vlp_jax.pickles import read_pickle
from vlp_jax.tasks.base import TASKS, Result, Step, Task
from vlp_jax.tasks.captioning import MaskCaptions
from vlp_jax.tasks.decoded_captions import DecodedCaptions
from vlp_jax.tasks.search import Search, SpecialIds, draw, write


@dataclass(frozen=True)
class ReferenceFields(Transform):
    """Makes `reference_ids`: the first `count` captions of a picture, cut at `length` word pieces.

    Rows of padding alone are no caption.
    """

    tokenizer: Tokenizer
    count: int
    length: int

    makes = {
        "reference_ids": Field(
            ("int32",), ("B", "references", "reference_pieces"), "word pieces of all captions"
        )
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        ids = np.full((self.count, self.length), self.tokenizer.pad_id, np.int32)
        for row, text in zip(ids, take(example.record, "captions")):
            pieces = self.tokenizer.piece_ids(text)[: self.length]
            row[: len(pieces)] = pieces
        if (ids == self.tokenizer.pad_id).all():
            raise ValueError("none of the record's captions has words")
        return {"reference_ids": ids}


@dataclass(frozen=True)
class CaptionWorth:
    """What captions of a picture are worth beside its references: their CIDEr-D."""

    tokenizer: Tokenizer
    rarity: Rarity

    def sentence(self, ids: Int[np.ndarray, "l"]) -> str:
        """Returns the words that are compared, without a last full stop, and their end."""
        return scored_sentence(self.tokenizer.decode(ids))

    def of_pictures(
        self, captions: Int[np.ndarray, "b k l"], references: Int[np.ndarray, "b r m"]
    ) -> Float[np.ndarray, "b k"]:
        """Returns the CIDEr-D of each caption."""
        pad, worth = self.tokenizer.pad_id, np.zeros(np.shape(captions)[:2], np.float32)
        for row, own, others in zip(worth, np.asarray(captions), np.asarray(references)):
            texts = [self.sentence(ids) for ids in others if (ids != pad).any()]
            row[:] = self.rarity.scores(map(self.sentence, own), texts)
        return worth

    def __call__(
        self, captions: Int[Array, "b k l"], references: Int[Array, "b r m"]
    ) -> Float[Array, "b k"]:
        """Returns the same inside of a compiled step; each device asks for its own pictures."""

        def rows(split: tuple[Array, Array], whole: tuple) -> tuple[Array, tuple]:
            shape = jax.ShapeDtypeStruct(split[0].shape[:2], jnp.float32)
            return jax.pure_callback(self.of_pictures, shape, *split), ()

        return on_each_part(rows, (captions, references), (), ring_axes(len(captions)))[0]


def scored_sentence(text: str) -> str:
    """Returns a text as its n-grams are counted. Source: `ScstRewardCriterion` of Oscar."""
    return f"{text.strip().removesuffix('.')} <eos>"


def read_rarity(path: str) -> Rarity:
    """Reads how often n-grams occur in captions, as in `coco-train-words.p`.

    The pickle holds "document_frequency", n-gram → number of images, and "ref_len", the images.
    FileNotFoundError, or ValueError for other content.
    """
    file = existing_file(path, "file of document frequencies")
    with foreign_bytes(f'"{path}" is not a file of document frequencies'):
        found = read_pickle(file.read_bytes())
        frequency, images = found["document_frequency"], float(found["ref_len"])
        if not isinstance(frequency, Mapping) or not images >= 1:
            raise ValueError('expected "document_frequency" by n-gram and "ref_len" of 1 or more')
        return Rarity(images, frequency)


def rarity_of(sources: Mapping[str, Source], tokenizer: Tokenizer) -> Rarity:
    """Returns how often n-grams occur in the captions of training splits, each picture once."""
    return Rarity.of(_references(sources, tokenizer))


def _references(sources: Mapping[str, Source], tokenizer: Tokenizer) -> Iterator[list[str]]:
    spelled = lambda text: scored_sentence(tokenizer.decode(tokenizer.piece_ids(text)))
    for source in (s.by_image() for s in sources.values() if "caption" in s.provides):
        skipped = SkippedRecords()
        for row in range(len(source)):
            for record in usable_records(source.annotation, [row], skipped).values():
                yield [spelled(text) for text in record["captions"]]


@dataclass(frozen=True)
class ByWorth(Task):
    """What learning by rewards adds to a task that writes captions.

    samples: captions drawn of each picture. sample_length: their most tokens, both ends included.
    baseline: what a drawn caption is compared with, the "greedy" one, written without dropout, or
      the mean of the other "samples".
    references, reference_length: captions of a picture that count, and word pieces of each.
    frequencies: file with document frequencies (`read_rarity`); the training split's if empty.
    """

    samples: Count = 5
    sample_length: Annotated[int, Range(3)] = 20
    baseline: Literal["greedy", "samples"] = "greedy"
    references: Count = 7
    reference_length: Count = 64
    frequencies: str = ""

    # Of the run, no setting: `prepared` gives it.
    _worth: CaptionWorth | None = field(default=None, repr=False, compare=False)

    metrics = {
        "drawn_cider": "CIDEr-D of drawn captions",
        "baseline_cider": "CIDEr-D that they are compared with",
    }

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """The baseline needs its captions, and captions are drawn for the batch as a whole."""
        super().check(path, config, tasks)
        if self.baseline == "samples" and self.samples < 2:
            raise ValueError(
                f'{path}.baseline = "samples" compares a caption with the others of its picture, '
                f"and {path}.samples = {self.samples}: give 2 or more"
            )
        if config.training.accumulate > 1:
            raise ValueError(
                f"{path} draws captions for the whole batch at once, and config.training.accumulate"
                f" = {config.training.accumulate}: set it to 1 and make config.data.batch_size less"
            )

    def prepared(self, vocabulary: Vocabulary, sources: Mapping[str, Source]) -> "ByWorth":
        """Knows words and how often n-grams occur."""
        tokenizer, file = vocabulary.tokenizer, self.frequencies
        rarity = read_rarity(file) if file else rarity_of(sources, tokenizer)
        return replace(self, _worth=CaptionWorth(tokenizer, rarity))

    def reference_fields(self, feed: Feed) -> tuple[Transform, ...]:
        """Returns what makes the captions to be compared with, in training."""
        if not feed.train or "caption" not in feed.provides:
            return ()
        tokenizer = feed.vocabulary.tokenizer
        return (ReferenceFields(tokenizer, self.references, self.reference_length),)

    def loss(self, step: Step) -> Result:
        """Minus the mean log probability of drawn captions, times what they are better by."""
        views, count = step.views, self.samples
        ids, scores = self._drawn(views)
        worth = self._worth(ids, views.batch["reference_ids"])
        drawn = worth[:, :count]
        if self.baseline == "greedy":
            against = worth[:, count:]
        else:
            against = (drawn.sum(1, keepdims=True) - drawn) / (count - 1)
        better = jax.lax.stop_gradient(drawn - against)
        figures = {"drawn_cider": drawn.mean(), "baseline_cider": against.mean()}
        return Result(-jnp.mean(scores * better), figures)

    def _drawn(self, views: Views) -> tuple[Int[Array, "b k l"], Float[Array, "b k"]]:
        """Returns the captions of each picture, a greedy one last if it is asked for.

        Scores are those of the drawn ones, their mean log probabilities a token, end included.
        """
        special, length = SpecialIds.of(self._worth.tokenizer), self.sample_length
        writer = self.writer(views, special, views.draw_key("dropout of drawn captions"))
        writer = replace(writer, predict=jax.checkpoint(writer.predict))  # memory of one word
        key = views.draw_key("drawn captions")
        made = draw(writer, views.size * self.samples, length, special, key)
        ids = made.ids.reshape(views.size, self.samples, length)
        if self.baseline == "greedy":
            fixed = Views(views.model, jax.lax.stop_gradient(views.params), views.batch)
            search = Search(max_length=length, beams=1)
            greedy = write(self.writer(fixed, special), views.size, search, special)
            ids = jnp.concatenate([ids, greedy.ids[:, None]], axis=1)
        return ids, made.scores.reshape(views.size, self.samples)


@TASKS.register("captioning_by_cider")
@dataclass(frozen=True)
class CaptionWorthTask(ByWorth, MaskCaptions):
    """Captions by CIDEr-D, written at a [MASK] (OSCAR)."""

    @property
    def reads(self) -> frozenset[str]:
        """The tags and all captions of a picture."""
        return frozenset({"tag_ids", "tag_mask", *ReferenceFields.makes})

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Drawn captions need positions, too."""
        super().check(path, config, tasks)
        if self.sample_length > self.slots:
            raise ValueError(
                f"{path}.sample_length = {self.sample_length} tokens do not fit into its slots = "
                f"{self.slots}"
            )

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The tags and, in training, all captions."""
        return (*self.fields(feed, train=False), *self.reference_fields(feed))


@TASKS.register("captioning_generative_by_cider")
@dataclass(frozen=True)
class DecodedCaptionWorthTask(ByWorth, DecodedCaptions):
    """Captions by CIDEr-D, written by a decoder."""

    @property
    def reads(self) -> frozenset[str]:
        """All captions of a picture."""
        return frozenset(ReferenceFields.makes)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """In training, all captions."""
        return self.reference_fields(feed)
