"""Image-text matching: hard negatives by contrastive similarity (ALBEF section 3.2), or others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import NonNegative, Range, Share
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.entry import take
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Fused
from vlp_jax.losses.contrastive import contrastive_logits
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.sampling import sample_negatives
from vlp_jax.model import CAPTION, TextFields, Views, VisionLanguageModel
from vlp_jax.tasks import contrast
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task, check_others
from vlp_jax.tasks.decisions import RANKING_HEADS
from vlp_jax.tasks.texts import needed

HEAD = "itm"
FOIL = TextFields("foil_ids", "foil_mask")


def match_log_odds(views: Views) -> Float[Array, "b"]:
    """Returns the log odds of "match" against all other classes of the matching head together."""
    logits, index = views.head(HEAD), views.model.head(HEAD).match_index
    return logits[:, index] - jax.nn.logsumexp(jnp.delete(logits, index, axis=1), axis=1)


def match_logit(model: VisionLanguageModel, head: str, fused: Fused) -> Float[Array, "b"]:
    """Returns the logit that a fused pair matches, of the matching head or of one that ranks."""
    logits = model.read(head, Reading((), (), (fused,)))
    return logits[:, getattr(model.head(head), "match_index", -1)]


def matching_heads(model: VisionLanguageModel) -> list[str]:
    """Returns the heads that tell whether a text belongs to a picture, the best first."""
    return [name for name in (*RANKING_HEADS, HEAD) if name in model.heads]


def match_classes(labels: Int[Array, "b"], match_index: int) -> Int[Array, "b"]:
    """Returns a matching head's class for labels in which 0 means that all belongs together.

    The head has that at `match_index`; the label of this number takes class 0 in exchange.
    """
    exchanged = jnp.where(labels == match_index, 0, labels)
    return jnp.where(labels == 0, match_index, exchanged)


def matching_loss(views: Views, logits: Float[Array, "n c"], labels: Int[Array, "n"]) -> Result:
    """Returns cross-entropy of the matching head, 0 among `labels` meaning a match.

    The one metric is "accuracy".
    """
    classes = match_classes(labels, views.model.head(HEAD).match_index)
    accuracy = (jnp.argmax(logits, -1) == classes).astype(jnp.float32).mean()
    return Result(cross_entropy(logits, classes).mean(), {"accuracy": accuracy})


def loss_of_negatives(
    views: Views,
    images: Int[Array, "b"],
    texts: Int[Array, "b"],
    fields: tuple[TextFields, ...] = (CAPTION,),
    parts: int = 1,
) -> Result:
    """Returns the loss of all own pairs, of each text with a negative image, and the other way.

    `images[i]` is the negative for text i, `texts[i]` that for image i, among those of `fields`.
    Negatives are within their one of `parts` equal parts of the batch.
    A text of the same image, drawn where a batch has no other image, counts as a match.
    """
    own, ids = jnp.arange(views.size), views.batch["image_id"]
    pairs = jnp.concatenate([images, own]), jnp.concatenate([own, texts])
    if views.shares_image(parts):
        every = (jnp.concatenate([own, wrong]) for wrong in pairs)
        logits = views.head_of_pairs(HEAD, *every, fields, parts)
    else:
        match = views.head_of(HEAD, views.fused(), "match")
        mismatch = views.head_of(HEAD, views.fused_pairs(*pairs, fields), "mismatch")
        logits = jnp.concatenate([match, mismatch])
    caption = texts < views.size  # later ones are of other fields, such as foils
    same = [ids[images] == ids, caption & (ids[texts % views.size] == ids)]
    labels = jnp.concatenate([jnp.zeros_like(own), *(1 - x.astype(own.dtype) for x in same)])
    return matching_loss(views, logits, labels)


def swapped_pairs(views: Views) -> tuple[Fused, Bool[Array, "b"]]:
    """Fuses each text with its own image or, every other time, with another; says which are own.

    The pass is made once, however many tasks ask for it. Source: UNITER (section 3.2), which
    replaces the image of a pair with probability one half.
    """
    ids = views.batch["image_id"]
    draw, toss = jax.random.split(views.draw_key("swapped"))
    other = sample_negatives(draw, jnp.zeros((views.size, views.size)), ids)
    own = jnp.arange(views.size)
    images = jnp.where(jax.random.bernoulli(toss, 0.5, (views.size,)), own, other)
    return views.fused_pairs(images, own, once="swapped"), ids[images] == ids


@dataclass(frozen=True)
class FoilFields(Transform):
    """Makes `foil_ids` and `foil_mask`: one of the record's false captions of the same words.

    Of a record with foils of each caption it is one of the shown caption, or empty if that has none
    or is another record's.
    """

    texts: TextEncoder
    length: int

    makes = {
        "foil_ids": Field(("int32",), ("B", "L"), "tokens of a false caption of the same words"),
        "foil_mask": Field(("bool",), ("B", "L"), "True = real token"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        foils = _foils(example)
        if len(foils):
            text, _ = self.texts.usable_caption([foils[int(rng.integers(len(foils)))]])
            ids, mask = self.texts.encode(text, self.length)
        else:
            ids, mask = np.zeros(self.length, np.int32), np.zeros(self.length, bool)
        return {"foil_ids": ids, "foil_mask": mask}


def _foils(example: Example) -> Sequence[str]:
    """Returns the foils of the record, or those of the caption that is shown."""
    foils = take(example.record, "foils")
    if not len(foils) or isinstance(foils[0], str):
        return foils
    captions = take(example.record, "captions")
    if len(foils) != len(captions):
        raise ValueError(
            f"the record has foils of {len(foils)} captions, and {len(captions)} captions: "
            "expected one list of foils for each caption"
        )
    place = example.get("caption_place")  # None where another record's caption is shown
    return () if place is None else foils[place]


@TASKS.register("itm")
@dataclass(frozen=True)
class MatchingTask(Task):
    """Cross-entropy of matched against mismatched pairs.

    `negatives` = "hard" draws 2B of them, to B matches, from the contrastive similarities (ALBEF);
    "random" as many, uniformly; "swapped" gives half of the B pairs another image (UNITER).
    `in_batch` = "teacher" measures similarity to the teacher's vectors, as ALBEF's code does,
    "online" to the model's own. `hardness` scales the log weights of the draw: 1 is ALBEF, smaller
    values give easier negatives, from which a short run gets going; with `hardness_ramp` it grows
    from 0 with the distillation ramp. Where the source has foils, the share `foils` of the negative
    texts are the image's own foil (Yuksekgonul et al. 2023, NegCLIP). One of the shown caption
    teaches most, because nothing but what it claims tells it from the match.

    `local_batch` = n draws a pair's negatives from the n rows of its own part of the batch, rows 0
    to n - 1 being the first part. With ALBEF's 64 no image state leaves its device, if that holds a
    multiple of 64 rows.
    """

    negatives: Literal["hard", "random", "swapped"] = "hard"
    in_batch: Literal["teacher", "online"] = "online"
    hardness: NonNegative = 1.0
    hardness_ramp: bool = False
    foils: Share = 0.0
    local_batch: Annotated[int, Range(2)] | None = None

    title = "Matching (ITM)"
    metrics = {"itm_accuracy": "Matching accuracy"}

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def chances(self, config: ExperimentConfig) -> dict[str, float]:
        """What is reached by saying "mismatch" to all."""
        return {"itm_accuracy": 1 / 2 if self.negatives == "swapped" else 2 / 3}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Negatives are of one batch, or of equal parts of it."""
        sizes, local = self.batch_sizes(config), self.local_batch
        check_others(path, sizes)
        if self.negatives == "swapped":
            for name, value in {"local_batch": local, "foils": self.foils}.items():
                if value:
                    raise ValueError(f'{path}.{name} = {value} is not for negatives = "swapped"')
        for where, size in sizes.items():
            if local and size % local:
                raise ValueError(
                    f"{path}.local_batch = {local}: {where} = {size} cannot be divided into parts "
                    "of that size"
                )

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Foils, in training, where the source gives some."""
        if not (self.foils and feed.train and "foils" in feed.provides):
            return ()
        return (FoilFields(feed.texts, feed.config.text_length),)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The matching head; hard negatives read the contrastive head as well."""
        contrastive = {contrast.HEAD: HeadNeed(contrast.HEAD)} if self.negatives == "hard" else {}
        return {HEAD: HeadNeed(HEAD)} | contrastive

    def loss(self, step: Step) -> Result:
        """The mean over all pairs."""
        swapped = self.negatives == "swapped"
        result = self._swapped(step.views) if swapped else self._drawn(step)
        return result.replace(metrics={"itm_accuracy": result.metrics["accuracy"]})

    def _swapped(self, views: Views) -> Result:
        fused, matched = swapped_pairs(views)
        logits = views.head_of(HEAD, fused, "match")
        return matching_loss(views, logits, 1 - matched.astype(jnp.int32))

    def _drawn(self, step: Step) -> Result:
        views, fields = step.views, (CAPTION,)
        images, texts = self.draw(step)
        if FOIL.ids in views.batch:
            own, fields = jnp.arange(views.size), (CAPTION, FOIL)
            chosen = jax.random.bernoulli(views.draw_key("foils"), self.foils, own.shape)
            chosen &= views.batch[FOIL.mask].any(-1)
            texts = jnp.where(chosen, views.size + own, texts)
        parts = views.size // self._local(views)
        return loss_of_negatives(views, images, texts, fields, parts)

    def draw(self, step: Step) -> tuple[Int[Array, "b"], Int[Array, "b"]]:
        """Returns a negative image for each text, and a negative text for each image."""
        ids = step.views.batch["image_id"]
        by_image, by_text = self.draw_logits(step)
        for_text, for_image = jax.random.split(step.views.draw_key("negatives"))
        return self._sampled(for_text, by_text, ids), self._sampled(for_image, by_image, ids)

    def draw_logits(self, step: Step) -> tuple[Float[Array, "*p n n"], Float[Array, "*p n n"]]:
        """Returns by what a text is drawn for each image, and an image for each text.

        They are [B, B], or with a `local_batch` those of each part of the batch.
        """
        views, local = step.views, self._local(step.views)
        parts = () if self.local_batch is None else (views.size // local,)
        if self.negatives != "hard":
            return (jnp.zeros((*parts, local, local)),) * 2
        own = contrast.vectors(views)
        online = step.teacher is None or self.in_batch == "online"
        columns = own if online else contrast.vectors(step.teacher)
        logits_of = partial(contrastive_logits, temperature=contrast.temperature(views))
        if parts:
            own, columns = jax.tree.map(lambda x: x.reshape(*parts, local, -1), (own, columns))
            logits_of = jax.vmap(logits_of)
        logits = logits_of(own, columns)
        hardness = self.hardness * step.ramp if self.hardness_ramp else self.hardness
        return jax.tree.map(lambda x: jax.lax.stop_gradient(hardness * x), logits)

    def _sampled(self, key: Array, logits: Array, ids: Int[Array, "b"]) -> Int[Array, "b"]:
        if self.local_batch is None:
            return sample_negatives(key, logits, ids)
        parts, local = logits.shape[:2]
        keys, first = jax.random.split(key, parts), local * jnp.arange(parts)[:, None]
        drawn = jax.vmap(sample_negatives)(keys, logits, ids.reshape(parts, local))
        return (first + drawn).reshape(-1)

    def _local(self, views: Views) -> int:
        return self.local_batch or views.size
