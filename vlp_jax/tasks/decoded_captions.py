"""Captions from left to right: a decoder reads the picture and spells what it shows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config.ranges import Fraction, Range
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.caption_fields import drawn_caption
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.heads.answer_scores import shifted
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.captioning import smoothed_losses
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.captioning import CaptionEvaluation
from vlp_jax.tasks.decoding import decoded_texts, decoder_writer, next_words
from vlp_jax.tasks.search import Search, SpecialIds, Writer, Written

HEAD = "caption"


@dataclass(frozen=True)
class SpelledCaption(Transform):
    """Makes `decoded_ids` and `decoded_mask`: `[CLS] caption [SEP]`, one of the captions drawn.

    length: tokens, cut or padded.
    """

    texts: TextEncoder
    length: int

    makes = {
        "decoded_ids": Field(("int32",), ("B", "D"), "tokens of a caption to be written"),
        "decoded_mask": Field(("bool",), ("B", "D"), "True = real token"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        caption = drawn_caption(self.texts, example.record, rng)
        framed = self.texts.tokenizer.frame(self.texts.pieces(caption), self.length, True)
        return dict(zip(self.makes, framed))


def word_losses(
    model: VisionLanguageModel,
    image: Tokens,
    ids: Int[Array, "b d"],
    mask: Bool[Array, "b d"],
    *,
    smoothing: float,
    deterministic: bool,
) -> tuple[Float[Array, "b k"], Bool[Array, "b k"], Bool[Array, "b k"]]:
    """Returns the loss of every word after the first, whether the likeliest is right, and counts.

    Each is predicted from the picture and the true words before it.
    """
    logits = next_words(model, ids, mask, image, head=HEAD, deterministic=deterministic)
    logits, words, counts = shifted(logits, ids, mask)
    return smoothed_losses(logits, words, smoothing), jnp.argmax(logits, -1) == words, counts


def decoded_captions(views: Views, *, search: Search, special: SpecialIds) -> Written:
    """Returns the captions that the decoder writes about the pictures of a batch."""
    return decoded_texts(views, views.image(), head=HEAD, search=search, special=special)


@dataclass(frozen=True)
class DecodedCaptions(Task):
    """What writes captions with a decoder, whatever it learns them by."""

    evaluate: dict[str, CaptionEvaluation] = field(default_factory=dict)

    title = "Captions"

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The decoder."""
        return {HEAD: HeadNeed(HEAD, {"word": sizes.words})}

    def written(self, search: Search, special: SpecialIds) -> Callable[[Views], Written]:
        """What writes the captions of a batch."""
        return partial(decoded_captions, search=search, special=special)

    def writer(self, views: Views, special: SpecialIds, key: Array | None = None) -> Writer:
        """What says the next word of the captions of a batch; with a key of dropout."""
        return decoder_writer(views.model, views.params, HEAD, views.image(), key)


@TASKS.register("captioning_generative")
@dataclass(frozen=True)
class DecodedCaptionTask(DecodedCaptions):
    """Write the captions of pictures from left to right, for any vision encoder.

    The loss is the mean over words, [SEP] among them, each with the true words before it.
    length: tokens of a caption, [CLS] and [SEP] included. smoothing: of the labels.
    """

    length: Annotated[int, Range(3)] = 40
    smoothing: Fraction = 0.0

    metrics = {"caption_word_accuracy": "Caption word accuracy"}

    @property
    def reads(self) -> frozenset[str]:
        """The caption to be written."""
        return frozenset(SpelledCaption.makes)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The caption, in training."""
        if not feed.train or "caption" not in feed.provides:
            return ()
        return (SpelledCaption(feed.texts, self.length),)

    def loss(self, step: Step) -> Result:
        """The mean over words."""
        views, batch = step.views, step.views.batch
        fields = (batch[name] for name in SpelledCaption.makes)
        losses_of = partial(word_losses, smoothing=self.smoothing)
        losses, right, counts = views.run(losses_of, views.image(), *fields, name="write")
        accuracy = masked_mean(right.astype(jnp.float32), counts)
        return Result(masked_mean(losses, counts), {"caption_word_accuracy": accuracy})
