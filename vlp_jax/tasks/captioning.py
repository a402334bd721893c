"""Captions: a model learns masked words left to right, and writes at the next [MASK] (OSCAR)."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Fraction, Natural, Range
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import IGNORE, Field
from vlp_jax.data.caption_fields import drawn_caption, own_tags
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.sources.base import Source
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.layers.masks import captioning_mask
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.captioning import mean_of_least, smoothed_losses
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.metrics.captions import caption_scores
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.constraints import constraint_fields, read_constraints
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.masked_text import HEAD
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.search import Search, SpecialIds, Writer, Written
from vlp_jax.tasks.writing import caption_writer, tag_fields, written_captions

_FIGURES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
_SHARE, _MOST = 0.15, 3  # of a caption's tokens are hidden, the [SEP] among them


@dataclass(frozen=True)
class WrittenFields(Transform):
    """Makes a caption with hidden words, `caption_*`, and the tags that follow it, `tag_*`.

    slots: tokens of `[CLS] caption [SEP]`, cut or padded. length: of caption and tags together.
    tags: whether there are any. train: draws one of the captions and hides words of it.
    Source: `CaptionTensorizer` of microsoft/Oscar.
    """

    texts: TextEncoder
    slots: int
    length: int
    tags: bool
    train: bool

    makes = {
        "caption_ids": Field(("int32",), ("B", "slots"), "caption tokens with some of them hidden"),
        "caption_mask": Field(("bool",), ("B", "slots"), "True = real token"),
        "caption_labels": Field(("int32",), ("B", "slots"), f"hidden tokens; {IGNORE} elsewhere"),
        "tag_ids": Field(("int32",), ("B", "tags"), "tokens of the tags behind the caption"),
        "tag_mask": Field(("bool",), ("B", "tags"), "True = real token"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        tokenizer = self.texts.tokenizer
        words = own_tags(example) if self.tags else ""
        made = tag_fields([words], tokenizer, self.length - self.slots)
        tags = {name: x[0] for name, x in made.items()}
        if not self.train:
            return tags
        text = drawn_caption(self.texts, example.record, rng)
        ids, mask = tokenizer.frame(self.texts.pieces(text), self.slots, True)
        hidden = self._hidden(int(mask.sum()), rng)
        labels = np.full_like(ids, IGNORE)
        labels[hidden] = ids[hidden]
        shown, kind = ids.copy(), rng.random(len(hidden))
        random = rng.integers(tokenizer.size, size=len(hidden))
        kept = np.where(kind < 0.9, random, ids[hidden])
        shown[hidden] = np.where(kind < 0.8, tokenizer.mask_id, kept)
        return tags | {"caption_ids": shown, "caption_mask": mask, "caption_labels": labels}

    def _hidden(self, used: int, rng: np.random.Generator) -> np.ndarray:
        count = min(max(round(_SHARE * used), 1), _MOST)
        return 1 + rng.permutation(used - 1)[:count]


def hidden_word_losses(
    model: VisionLanguageModel,
    image: Tokens,
    ids: Int[Array, "b w"],
    mask: Bool[Array, "b w"],
    labels: Int[Array, "b w"],
    tags: Int[Array, "b g"],
    tag_mask: Bool[Array, "b g"],
    *,
    smoothing: float,
    deterministic: bool,
) -> tuple[Float[Array, "b w"], Bool[Array, "b w"]]:
    """Returns the loss of every position of the captions, and where the likeliest word is right."""
    slots, joined = ids.shape[1], lambda *x: jnp.concatenate(x, axis=1)
    segments = joined(jnp.zeros_like(ids), jnp.ones_like(tags))
    text = model.encode_text(
        joined(ids, tags), joined(mask, tag_mask), segments, deterministic=deterministic
    )
    sees = captioning_mask(text.concatenate(image).mask, slots)
    fused = model.fuse(image, text, joint_mask=sees, deterministic=deterministic)
    logits = model.head(HEAD)(fused.text.states[:, :slots], model.text.word_table())
    losses = smoothed_losses(logits, jnp.maximum(labels, 0), smoothing)
    return losses, jnp.argmax(logits, -1) == labels


@dataclass(frozen=True)
class CaptionEvaluation(Evaluation):
    """BLEU, ROUGE-L and CIDEr-D of captions that the model writes, each picture once.

    Blind is the commonest caption of `baseline_records` training records, for every picture.
    `beams` and `max_length` (tokens, both ends included) as in `Model.caption`. `constraints` is a
    file of words that captions are to hold (`read_constraints`), of which `needed` have to be
    there.
    """

    limit: Count | None = None
    beams: Count = 5
    max_length: Annotated[int, Range(2)] = 20
    baseline_records: Count = 2000
    constraints: str = ""
    needed: Count = 2

    needs = ("image|region_features", "caption")

    def figures(self, name: str) -> frozenset[str]:
        return frozenset(f"{name}_{key}{end}" for key in _FIGURES for end in ("", "_blind"))

    def __call__(self, run: Run, name: str) -> Outcome:
        source, texts, keep = run.images(self), [], []
        search = Search(max_length=self.max_length, beams=self.beams)
        write = run.task.written(search, SpecialIds.of(run.vocabulary.tokenizer))
        wanted = read_constraints(self.constraints) if self.constraints else None
        for number, batch in enumerate(run.batches(source, self.limit)):
            if wanted is not None:
                batch |= self._constrained(run, source, wanted, number, batch["example_mask"])
            made = run.forward(write, batch)
            texts += [run.vocabulary.tokenizer.decode(row) for row in np.asarray(made.ids)]
            keep.append(batch["example_mask"])
        rows = np.flatnonzero(np.concatenate(keep))
        records = list(run.annotations(source, rows).values())
        texts = [texts[row] for row in rows]
        entries = [{"image_id": _id(r), "caption": text} for r, text in zip(records, texts)]
        written = {f"{name}_predictions.json": json.dumps(entries)}
        references = [record["captions"] for record in records]
        if not all(references):
            return Outcome(submissions=written)
        figures = _scores(texts, references)
        blind = _scores([self._commonest(run)] * len(texts), references)
        rows = [
            TableRow(
                f"{key} ({self.split})",
                100 * value,
                blind=100 * blind[key],
                group="Captions",
                unit="number",
            )
            for key, value in figures.items()
        ]
        named = {f"{name}_{key}": value for key, value in figures.items()}
        named |= {f"{name}_{key}_blind": value for key, value in blind.items()}
        return Outcome(named, rows, submissions=written)

    def _constrained(
        self, run: Run, source: Source, wanted: Mapping, number: int, mask: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the fields of the constraints on the pictures of a batch."""
        rows = np.flatnonzero(mask)
        records = run.annotations(source, number * len(mask) + rows).values()
        own: list = [()] * len(mask)
        for row, record in zip(rows, records):
            own[row] = wanted.get(str(_id(record)), ())
        return constraint_fields(own, run.vocabulary.tokenizer, self.needed)

    def _commonest(self, run: Run) -> str:
        train = run.training_source(self)
        taken = run.annotations(train, range(min(self.baseline_records, len(train))))
        counts = Counter(text for record in taken.values() for text in record["captions"])
        return counts.most_common(1)[0][0]


def _id(record: Mapping) -> int | str:
    return record.get("name", record.get("image_id"))


def _scores(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    scores = caption_scores(texts, references)
    values = (*map(float, scores.bleu), scores.rouge_l, scores.cider)
    return dict(zip(_FIGURES, values))


@dataclass(frozen=True)
class MaskCaptions(Task):
    """What writes captions at a [MASK], whatever it learns them by.

    slots: positions of the caption; tags follow, up to `config.data.text_length`.
    """

    evaluate: dict[str, CaptionEvaluation] = field(default_factory=dict)
    slots: Annotated[int, Range(4)] = 40

    title = "Captions"

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Only one stream can be told what sees what, and the tags need room."""
        if config.model.fusion != "single_stream":
            raise ValueError(
                f'{path} needs config.model.fusion = "single_stream", in which a word does not see '
                f'what follows it; it is "{config.model.fusion}"'
            )
        if config.data.text_length <= self.slots:
            raise ValueError(
                f"{path}.slots = {self.slots} leaves nothing of config.data.text_length = "
                f"{config.data.text_length} for tags: give more than slots"
            )

    def input_rules(self, rules: InputRules) -> InputRules:
        """Tags begin behind the caption's positions."""
        return replace(rules, tag_position=self.slots)

    def fields(self, feed: Feed, train: bool) -> tuple[Transform, ...]:
        """Returns what makes the tags and, to `train` on it, the caption."""
        if "caption" not in feed.provides:
            return ()
        data = feed.config
        return (WrittenFields(feed.texts, self.slots, data.text_length, data.tags, train),)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The word head."""
        return {HEAD: HeadNeed(HEAD)}

    def written(self, search: Search, special: SpecialIds) -> Callable[[Views], Written]:
        """What writes the captions of a batch, as far as there are slots."""
        length = min(search.max_length, self.slots)
        search = replace(search, max_length=length)
        return partial(written_captions, slots=self.slots, search=search, special=special)

    def writer(self, views: Views, special: SpecialIds, key: Array | None = None) -> Writer:
        """What says the next word of the captions of a batch; with a key of dropout."""
        return caption_writer(views, self.slots, special, key)


@TASKS.register("captioning")
@dataclass(frozen=True)
class CaptionTask(MaskCaptions):
    """Predict hidden words of a caption from what stands before them, the tags and the picture.

    slots: positions of the caption; tags follow, up to `config.data.text_length`. smoothing: of
    the labels. drop: share of the words with the largest losses that do not count (VinVL), after
    the first `drop_after` steps.
    """

    smoothing: Fraction = 0.0
    drop: Fraction = 0.0
    drop_after: Natural = 0

    metrics = {"caption_accuracy": "Hidden words of captions"}

    @property
    def reads(self) -> frozenset[str]:
        """The caption, its hidden words, and the tags."""
        return frozenset(WrittenFields.makes)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The caption and the tags."""
        return self.fields(feed, feed.train)

    def loss(self, step: Step) -> Result:
        """The mean over hidden words."""
        views, batch = step.views, step.views.batch
        fields = (batch[name] for name in WrittenFields.makes)
        losses_of = partial(hidden_word_losses, smoothing=self.smoothing)
        losses, right = views.run(losses_of, views.image(), *fields, name="caption")
        hidden = batch["caption_labels"] >= 0
        accuracy = masked_mean(right.astype(jnp.float32), hidden)
        loss = mean_of_least(losses, hidden, self.drop, step.number >= self.drop_after)
        return Result(loss, {"caption_accuracy": accuracy})
