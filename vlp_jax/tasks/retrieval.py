"""Image-text retrieval both ways: by similarity, re-ranked by the matching head, or by it alone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.config.ranges import Count, Natural, NonNegative
from vlp_jax.data.assemble import Feed, caption_fields
from vlp_jax.data.batch import Field
from vlp_jax.data.caption_fields import CaptionFields
from vlp_jax.data.entry import take
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.bootstrap import bootstrap_interval
from vlp_jax.metrics.figures import twin
from vlp_jax.metrics.retrieval import (
    KS,
    Ranks,
    hits_at_k,
    rank_report,
    relevant_ranks,
    retrieval_report,
)
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks import contrast, matching, word_maps
from vlp_jax.tasks.base import TASKS, Task
from vlp_jax.tasks.decisions import last_logit
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import RETRIEVAL, Failure, HeatMap, Outcome, RetrievalExample, TableRow
from vlp_jax.tasks.query_scores import QueryScores

logger = logging.getLogger(__name__)
_AT_ONCE = 8  # texts, and pairs, that are encoded together, for each image of a batch
_EVERY = {
    CAPTION.ids: "every_ids",
    CAPTION.mask: "every_mask",
    CAPTION.segments: "every_segments",
}


@dataclass(frozen=True)
class Gallery:
    """The N images and M texts of a split on the host, encoded once.

    Attributes:
      pixels: uint8 [N, H, W, 3], or None for models that read region features.
      captions: M texts. owners: the row of each one's image, int [M].
      images, texts: tokens before the fusion.
      vectors: contrastive unit vectors of images [N, W] and of texts [M, W], or None.
      left_out: captions of these images that are not among the M.
    """

    pixels: np.ndarray | None
    captions: list[str]
    owners: np.ndarray
    images: Tokens
    texts: Tokens
    vectors: tuple[np.ndarray, np.ndarray] | None
    left_out: int = 0

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.images.mask)

    @property
    def similarities(self) -> tuple[QueryScores, QueryScores]:
        """Scores of all texts for each image, and of all images for each text."""
        images, texts = self.vectors
        return QueryScores(images, texts), QueryScores(texts, images)


@dataclass(frozen=True)
class EveryCaption(Transform):
    """Makes fields of all captions of an image, with an axis [K] in front, and which are there.

    most: K. Captions beyond it and those without words are counted as left out.
    """

    captions: CaptionFields
    most: int

    makes = {
        "every_ids": Field(("int32",), ("B", "K", "L"), "tokens of each caption"),
        "every_mask": Field(("bool",), ("B", "K", "L"), "True = real token"),
        "every_segments": Field(("int32",), ("B", "K", "L"), "0 = first part, 1 = second part"),
        "every_real": Field(("bool",), ("B", "K"), "True = there is such a caption"),
        "every_left_out": Field(("int32",), ("B",), "captions that are not there"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        texts, given = self.captions.texts, take(example.record, "captions")
        usable = [c for c in map(texts.caption, given) if texts.tokenizer.has_words(c)][: self.most]
        made = [self.captions.of_caption(example, caption) for caption in usable]
        fields = {
            f"every_{name.removeprefix('text_')}": _filled([row[name] for row in made], self.most)
            for name in made[0]
        }
        left_out = len(given) - len(usable) + example.record.get("captions_left_out", 0)
        return fields | {
            "every_real": np.arange(self.most) < len(usable),
            "every_left_out": np.int32(left_out),
        }


def _filled(rows: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Returns rows [K, L] with zeros behind them, [count, L]."""
    filled = np.zeros((count, *rows[0].shape), rows[0].dtype)
    filled[: len(rows)] = rows
    return filled


def encode_image(views: Views, vector: bool) -> dict[str, Any]:
    """Returns the tokens of images before the fusion and, if wanted, contrastive vectors."""
    return {"tokens": views.image(), "vector": contrast.image_vector(views) if vector else None}


def encode_text(views: Views, vector: bool) -> dict[str, Any]:
    """Returns the same of captions."""
    return {"tokens": views.text(), "vector": contrast.text_vector(views) if vector else None}


@dataclass(frozen=True)
class RetrievalEvaluation(Evaluation):
    """Image→text and text→image recall at 1, 5 and 10: each image once, any of its captions right.

    `rank_by` = "similarity" orders all candidates by their contrastive vectors; the `rerank` best
    of each query are scored again by the matching head (ALBEF, section 4). `similarity_weight`
    times the contrastive logit is added to that score (LAVIS adds it once): the head learns against
    negatives drawn in proportion to that logit, so what it says is what the logit has not said yet.
    "matching" lets the matching head score every pair (UNITER, section 4.2), so that the time grows
    with the square of `limit`; `head` is another one that does. `examples` queries and heat maps go
    into the report.
    """

    rank_by: Literal["similarity", "matching"] = "similarity"
    rerank: Natural = 16
    similarity_weight: NonNegative = 0.0
    head: str = matching.HEAD
    examples: Natural = 3

    needs = ("image|region_features", "caption")

    @property
    def heads(self) -> tuple[str, ...]:
        """The one that ranks."""
        return (self.head if self.rank_by == "matching" else contrast.HEAD,)

    def figures(self, name: str) -> frozenset[str]:
        by_matching = self.rank_by == "matching"
        prefix = "" if name == "retrieval" and not by_matching else f"{name}_"
        suffixes = ("", "_itm") if self.rerank and not by_matching else ("",)
        one = ([0], [0])
        reports = [retrieval_report(np.eye(1), *one, suffix=suffix) for suffix in suffixes]
        return frozenset(prefix + key for report in reports for key in report)

    def __call__(self, run: Run, name: str) -> Outcome:
        gallery = encode_gallery(run, self)
        if self.rank_by == "matching":
            return self._by_matching(run, gallery, name)
        scores = gallery.similarities
        ranks = _ranks(gallery, *scores)
        figures, intervals = _figures(gallery, ranks), _intervals(gallery, ranks)
        reranked = self.rerank and matching.HEAD in run.forward.model.heads
        if reranked:
            scores = self._rescored(run, gallery)
            ranks = _ranks(gallery, *scores)
            figures |= _figures(gallery, ranks, "_itm")
            intervals |= _intervals(gallery, ranks, "_itm")
        prefix = "" if name == "retrieval" else f"{name}_"
        outcome = Outcome({f"{prefix}{key}": value for key, value in figures.items()})
        outcome.rows = _rows(figures, self.split, gallery, intervals, headline=bool(reranked))
        if gallery.pixels is None:
            return outcome
        outcome.failures = _failures(gallery, *scores, ranks, self.split, self.examples)
        if not prefix:
            spread = lambda size: np.linspace(0, size - 1, self.examples).astype(int)
            shown = spread(len(gallery.captions)), spread(gallery.size)
            outcome.retrieval = _examples(gallery, *scores, *shown)
            outcome.heat_maps = _heat_maps(run, gallery, self.examples)
        return outcome

    def _by_matching(self, run: Run, gallery: Gallery, name: str) -> Outcome:
        images, texts = gallery.size, len(gallery.captions)
        pairs = np.divmod(np.arange(images * texts), texts)
        own = self.head == matching.HEAD
        score = matching.match_log_odds if own else partial(last_logit, head=self.head)
        scores = match_scores(run, gallery, *pairs, score).reshape(images, texts)
        rows, owners = np.arange(images), gallery.owners
        ranks = relevant_ranks(scores, rows, owners), relevant_ranks(scores.T, owners, rows)
        figures, intervals = _figures(gallery, ranks), _intervals(gallery, ranks)
        split = f"{self.split}, matching head"
        rows = _rows(figures, split, gallery, intervals, headline=False)
        return Outcome({f"{name}_{key}": value for key, value in figures.items()}, rows)

    def _rescored(self, run: Run, gallery: Gallery) -> tuple[QueryScores, QueryScores]:
        """Returns re-ranked scores of texts for images and the other way; a pair is scored once."""
        by_image, by_text = gallery.similarities
        best_texts, best_images = (x.most_similar(self.rerank) for x in (by_image, by_text))
        rows = lambda best: np.repeat(np.arange(len(best)), best.shape[1])
        images = np.concatenate([rows(best_texts), best_images.ravel()])
        texts = np.concatenate([best_texts.ravel(), rows(best_images)])
        count = len(gallery.captions)
        pairs, places = np.unique(images.astype(np.int64) * count + texts, return_inverse=True)
        scores = self._pair_scores(run, gallery, *np.divmod(pairs, count))[places]
        of_images, of_texts = np.split(scores, [best_texts.size])
        return (
            by_image.scored_again(best_texts, of_images.reshape(best_texts.shape)),
            by_text.scored_again(best_images, of_texts.reshape(best_images.shape)),
        )

    def _pair_scores(
        self, run: Run, gallery: Gallery, images: np.ndarray, texts: np.ndarray
    ) -> np.ndarray:
        """Returns what image i scores with text j for index arrays [N]."""
        scores = match_scores(run, gallery, images, texts).astype(np.float64)
        if not self.similarity_weight:
            return scores
        heat = np.asarray(run.forward(contrast.temperature, {}))
        similar = gallery.similarities[0].of_pairs(images, texts)
        return scores + self.similarity_weight * similar / heat


@TASKS.register("retrieval")
@dataclass(frozen=True)
class RetrievalTask(Task):
    """Finds the texts of an image and the image of a text; it trains nothing.

    What it ranks by is learned by contrast ("itc") and matching ("itm"). Of an image the first
    `captions` count, which is all of COCO's (five to seven); the table says how many there are.
    """

    evaluate: dict[str, RetrievalEvaluation] = field(default_factory=dict)
    captions: Count = 32

    title = "Retrieval"
    trains = False

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """All captions of an image."""
        return (EveryCaption(caption_fields(feed), self.captions),)


def encode_gallery(run: Run, evaluation: RetrievalEvaluation) -> Gallery:
    """Encodes the first images of a split with all of their captions, each once."""
    vector = evaluation.rank_by == "similarity"
    images, pixels, texts, counts, left_out = [], [], [], [], 0
    for batch in run.batches(run.images(evaluation), evaluation.limit):
        keep, real = batch["example_mask"], batch["every_real"] & batch["example_mask"][:, None]
        made = run.forward(partial(encode_image, vector=vector), batch)
        images.append(jax.tree.map(lambda x: np.asarray(x)[keep], made))
        pixels += [batch["image"][keep]] if "image" in batch else []
        texts.append({ours: batch[name][real] for ours, name in _EVERY.items() if name in batch})
        counts.append(real.sum(1)[keep])
        left_out += int(batch["every_left_out"][keep].sum())
    texts, images = _joined(texts), _joined(images)
    captions = _encoded(run, texts, vector)
    if left_out:
        why = "beyond tasks.retrieval.captions of an image, empty or damaged"
        logger.warning("%d captions are left out: %s", left_out, why)
    return Gallery(
        np.concatenate(pixels) if pixels else None,
        [run.vocabulary.tokenizer.decode(row) for row in texts[CAPTION.ids]],
        np.repeat(np.arange(len(images["tokens"].mask)), np.concatenate(counts)),
        images["tokens"],
        captions["tokens"],
        (images["vector"], captions["vector"]) if vector else None,
        left_out,
    )


def _encoded(run: Run, texts: dict[str, np.ndarray], vector: bool) -> dict[str, Any]:
    """Returns what `encode_text` gives for texts [M, L], some at a time, on the host."""
    count, size = len(texts[CAPTION.ids]), _AT_ONCE * run.config.evaluation.batch_size
    parts = []
    for start in range(0, count, size):
        rows = {name: _padded(x[start : start + size], size) for name, x in texts.items()}
        made = run.forward(partial(encode_text, vector=vector), rows)
        parts.append(jax.tree.map(np.asarray, made))
    return jax.tree.map(lambda x: x[:count], _joined(parts))


def _joined(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def match_scores(
    run: Run,
    gallery: Gallery,
    images: np.ndarray,
    texts: np.ndarray,
    score: Callable[[Views], Array] = matching.match_log_odds,
) -> np.ndarray:
    """Returns the match log odds of image i with text j for index arrays [N]."""
    size = _AT_ONCE * run.config.evaluation.batch_size
    scores = []
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        pick = lambda tokens, index: jax.tree.map(lambda x: _padded(x[index[rows]], size), tokens)
        made = {"image": pick(gallery.images, images), CAPTION.ids: pick(gallery.texts, texts)}
        scores.append(np.asarray(run.forward(score, {}, made)))
    return np.concatenate(scores)[: len(images)]


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)]) if len(x) < size else x


def _figures(gallery: Gallery, ranks: tuple[Ranks, Ranks], suffix: str = "") -> dict[str, float]:
    return rank_report(ranks, gallery.size, len(gallery.captions), suffix)


def _rows(
    figures: dict,
    split: str,
    gallery: Gallery,
    intervals: dict[str, tuple[float, float]],
    headline: bool,
) -> list[TableRow]:
    """Returns the rows of the figures of `retrieval_report`; a headline shows re-ranked R@1."""
    rows, sizes = [], f"{gallery.size} images, {len(gallery.captions)} captions"
    sizes += f" ({gallery.left_out} left out)" if gallery.left_out else ""
    for direction, words in (("i2t", "Image → text"), ("t2i", "Text → image")):
        for suffix, how in (("", ""), ("_itm", ", re-ranked")):
            for k in KS:
                name = f"{direction}_r{k}{suffix}"
                if name in figures:
                    rows.append(
                        TableRow(
                            f"{words} R@{k}{how} ({split})",
                            figures[name],
                            chance=figures[twin(name, "chance")],
                            note=f"{sizes}; a blind ranking is chance",
                            group=RETRIEVAL,
                            headline=headline and k == 1 and bool(suffix),
                            interval=intervals.get(name),
                        )
                    )
    return rows


def _intervals(
    gallery: Gallery, ranks: tuple[Ranks, Ranks], suffix: str = ""
) -> dict[str, tuple[float, float]]:
    """Returns the interval of each recall; captions of one image are drawn together."""
    owners = None, gallery.owners
    return {
        f"{direction}_r{k}{suffix}": bootstrap_interval(hits_at_k(found, k), owner)
        for direction, found, owner in zip(("i2t", "t2i"), ranks, owners)
        for k in KS
    }


def _ranks(gallery: Gallery, by_image: QueryScores, by_text: QueryScores) -> tuple[Ranks, Ranks]:
    """Returns how the right texts of each image rank, and the right image of each text."""
    images, owners = np.arange(gallery.size), gallery.owners
    return by_image.ranks(images, owners), by_text.ranks(owners, images)


def _failures(
    gallery: Gallery,
    by_image: QueryScores,
    by_text: QueryScores,
    ranks: tuple[Ranks, Ranks],
    split: str,
    count: int,
) -> list[Failure]:
    """Returns the queries whose right candidates stand farthest from the first place."""
    missed = [found.last for found in ranks]
    images, texts = (
        np.argsort(-last, kind="stable")[: min(count, (last > 0).sum())] for last in missed
    )
    if not len(images) and not len(texts):
        return []
    note = " and ".join(
        f"{(last > 0).sum():,} of {len(last):,} {what}"
        for last, what in zip(
            missed,
            (
                "images do not find a caption of theirs first",
                "captions do not find their image first",
            ),
        )
    )
    examples = _examples(gallery, by_image, by_text, texts, images)
    return [Failure(f"Retrieval ({split})", f"{note}; the worst of them.", examples=examples)]


def _examples(
    gallery: Gallery,
    by_image: QueryScores,
    by_text: QueryScores,
    texts: np.ndarray,
    images: np.ndarray,
) -> list[RetrievalExample]:
    """Returns what the given captions find, then what the given images find."""
    examples = []
    for text in texts:
        (scores,) = by_text.of([text])
        best = np.argsort(-scores)[:5]
        right = best == gallery.owners[text]
        found = [gallery.pixels[i] for i in best]
        rank = _rank(scores, [gallery.owners[text]])
        examples.append(RetrievalExample(gallery.captions[text], found, list(right), rank=rank))
    for image in images:
        (scores,) = by_image.of([image])
        best = np.argsort(-scores)[:5]
        right = gallery.owners[best] == image
        found = [gallery.captions[i] for i in best]
        rank = _rank(scores, np.flatnonzero(gallery.owners == image))
        examples.append(RetrievalExample(gallery.pixels[image], found, list(right), rank=rank))
    return examples


def _rank(scores: np.ndarray, right: Sequence[int]) -> int:
    """Returns the place of the best right candidate, 1 being first."""
    return int((scores > scores[right].max()).sum()) + 1


def _heat_maps(run: Run, gallery: Gallery, count: int) -> list[HeatMap]:
    """Returns where the words of some captions look, for models whose patches form a square."""
    known = matching.HEAD in run.forward.model.heads
    if not known or word_maps.grid_side(gallery.images.mask.shape[1]) is None:
        return []
    rows = np.arange(1, 1 + count) % len(gallery.captions)
    pick = lambda tokens, index: jax.tree.map(lambda x: jnp.asarray(x[index]), tokens)
    images, texts = pick(gallery.images, gallery.owners[rows]), pick(gallery.texts, rows)
    heat = run.forward(word_maps.gradcam, {}, {"image": images, CAPTION.ids: texts})
    return [_heat_map(run, gallery, *pair) for pair in zip(rows, np.asarray(heat))]


def _heat_map(run: Run, gallery: Gallery, row: int, heat: np.ndarray) -> HeatMap:
    used = int(gallery.texts.mask[row].sum()) - run.texts.add_sep
    words, maps = word_maps.by_word(heat, run.texts.words(gallery.captions[row], used))
    return HeatMap(gallery.pixels[gallery.owners[row]], words, word_maps.on_grid(maps))
