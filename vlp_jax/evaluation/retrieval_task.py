"""Evaluates retrieval both ways: contrastive scores first, then re-ranking by the matching head."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.evaluation.context import TASKS, Context, Outcome
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.figures import twin
from vlp_jax.metrics.retrieval import rerank, retrieval_report
from vlp_jax.tasks.outcome import HeatMap, RetrievalExample, TableRow


@dataclass(frozen=True)
class Gallery:
    """Encoded images and texts of a split, on the host."""

    pixels: np.ndarray
    captions: list[str]
    ids: np.ndarray
    images: Tokens
    texts: Tokens
    image_vectors: np.ndarray
    text_vectors: np.ndarray


@TASKS.register("retrieval")
@dataclass(frozen=True)
class RetrievalTask:
    """Image→text and text→image recall at 1, 5 and 10 on the first `limit` records.

    The `rerank` best candidates of each query are scored again by the matching head (ALBEF,
    section 4). `similarity_weight` times the contrastive logit is added to that score (LAVIS adds
    it once): the head learns against negatives drawn in proportion to that logit, so what it says
    is what the logit has not said yet. `examples` queries and heat maps go into the report.
    """

    source: str = ""
    split: str = "test"
    limit: int = 512
    rerank: int = 16
    similarity_weight: float = 0.0
    examples: int = 3

    needs = ("image", "caption")
    heads = ("itc",)

    def __call__(self, context: Context, name: str) -> Outcome:
        gallery = encode_gallery(context, context.source(self.source, self.split), self.limit)
        similarities = gallery.image_vectors @ gallery.text_vectors.T
        prefix = "" if name == "retrieval" else f"{name}_"
        figures = self._figures(gallery, similarities, similarities.T, "")
        final = similarities, similarities.T
        if "itm" in context.bound.model.heads and self.rerank:
            k = min(self.rerank, len(gallery.ids))
            added = self.similarity_weight * similarities / context.bound.temperature()
            final = rescore(context, gallery, similarities, k, added)
            figures |= self._figures(gallery, *final, "_itm")
        outcome = Outcome(figures={f"{prefix}{k}": v for k, v in figures.items()})
        outcome.rows = retrieval_rows(figures, self.split, len(gallery.ids), not prefix)
        if not prefix:
            outcome.retrieval = _examples(gallery, *final, self.examples)
            outcome.heat_maps = _heat_maps(context, gallery, self.examples)
        return outcome

    def _figures(self, gallery: Gallery, by_image, by_text, suffix: str) -> dict[str, float]:
        return retrieval_report(
            by_image, gallery.ids, gallery.ids, text_scores=by_text, suffix=suffix
        )


def encode_gallery(context: Context, source, limit: int) -> Gallery:
    """Encodes the first `limit` records of a source once."""
    bound, parts, pixels = context.bound, [], []
    for batch in context.batches(source, limit):
        image, text = bound.images(batch), bound.texts(batch["text_ids"], batch["text_mask"])
        vectors = bound.image_vectors(image), bound.text_vectors(text)
        keep = batch["example_mask"]
        parts.append(jax.tree.map(lambda x: np.asarray(x)[keep], (image, text, *vectors)))
        pixels.append((batch["image"][keep], batch["image_id"][keep], batch["text_ids"][keep]))
    image, text, image_vectors, text_vectors = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    shown, ids, text_ids = (np.concatenate(x) for x in zip(*pixels))
    captions = [context.vocabulary.tokenizer.decode(row) for row in text_ids]
    return Gallery(shown, captions, ids, image, text, image_vectors, text_vectors)


def rescore(
    context: Context, gallery: Gallery, similarities: np.ndarray, k: int, added: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns re-ranked scores [images, texts] and [texts, images]; each pair is scored once.

    `added` [images, texts] is added to the match log odds.
    """
    best_texts = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    best_images = np.argsort(-similarities.T, axis=1, kind="stable")[:, :k]
    wanted = np.zeros(similarities.shape, bool)
    np.put_along_axis(wanted, best_texts, True, axis=1)
    np.put_along_axis(wanted.T, best_images, True, axis=1)
    scores = np.zeros(similarities.shape)
    scores[wanted] = match_scores(context, gallery, *np.nonzero(wanted)) + added[wanted]
    return (
        rerank(similarities, best_texts, np.take_along_axis(scores, best_texts, 1)),
        rerank(similarities.T, best_images, np.take_along_axis(scores.T, best_images, 1)),
    )


def match_scores(
    context: Context, gallery: Any, images: np.ndarray, texts: np.ndarray
) -> np.ndarray:
    """Returns the match log odds of image i with text j for index arrays [N].

    `gallery.images` and `gallery.texts` are tokens of encoded images and texts.
    """
    size = 8 * context.config.evaluation.batch_size
    scores = []
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        pick = lambda tokens, index: jax.tree.map(lambda x: _padded(x[index[rows]], size), tokens)
        scores.append(context.bound.match(pick(gallery.texts, texts), pick(gallery.images, images)))
    return np.concatenate([np.asarray(s) for s in scores])[: len(images)]


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)]) if len(x) < size else x


def retrieval_rows(figures: dict, split: str, count: int, headline: bool) -> list[TableRow]:
    """Returns the rows of the figures of `retrieval_report`; a headline shows re-ranked R@1."""
    rows = []
    for direction, words in (("i2t", "Image → text"), ("t2i", "Text → image")):
        for suffix, how in (("", ""), ("_itm", ", re-ranked")):
            for k in (1, 5, 10):
                name = f"{direction}_r{k}{suffix}"
                if name in figures:
                    rows.append(
                        TableRow(
                            f"{words} R@{k}{how} ({split})",
                            figures[name],
                            chance=figures[twin(name, "chance")],
                            note=f"{count} candidates; a blind ranking is chance",
                            group="Retrieval",
                            headline=headline and k == 1 and bool(suffix),
                        )
                    )
    return rows


def _examples(gallery: Gallery, by_image, by_text, count: int) -> list[RetrievalExample]:
    examples = []
    for query in np.linspace(0, len(gallery.ids) - 1, count).astype(int):
        images = np.argsort(-by_text[query])[:5]
        examples.append(
            RetrievalExample(
                gallery.captions[query],
                [gallery.pixels[i] for i in images],
                [bool(gallery.ids[i] == gallery.ids[query]) for i in images],
                rank=_rank(by_text[query], query),
            )
        )
        texts = np.argsort(-by_image[query])[:5]
        examples.append(
            RetrievalExample(
                gallery.pixels[query],
                [gallery.captions[i] for i in texts],
                [bool(gallery.ids[i] == gallery.ids[query]) for i in texts],
                rank=_rank(by_image[query], query),
            )
        )
    return examples


def _rank(scores: np.ndarray, right: int) -> int:
    return int((scores > scores[right]).sum()) + 1


def _heat_maps(context: Context, gallery: Gallery, count: int) -> list[HeatMap]:
    if "itm" not in context.bound.model.heads or gallery.images.states.shape[1] < 2:
        return []
    rows = np.arange(1, 1 + count) % len(gallery.ids)
    pick = lambda tokens: jax.tree.map(lambda x: jnp.asarray(x[rows]), tokens)
    heat = np.asarray(context.bound.heat_maps(pick(gallery.texts), pick(gallery.images)))
    patches = heat.shape[-1] - 1
    side = int(round(patches**0.5))
    if side * side != patches:
        return []
    maps = heat[..., 1:].reshape(*heat.shape[:2], side, side)
    return [_heat_map(context, gallery, row, maps[i]) for i, row in enumerate(rows)]


def _heat_map(context: Context, gallery: Gallery, row: int, maps: np.ndarray) -> HeatMap:
    """One map a word: the mean over its pieces. Position 0 of `maps` is [CLS]."""
    words, found, start = [], [], 1
    for word in gallery.captions[row].split():
        end = start + len(context.vocabulary.tokenizer.piece_ids(word))
        if end > gallery.texts.mask[row].sum():
            break
        words.append(word)
        found.append(maps[start:end].mean(0))
        start = end
    return HeatMap(gallery.pixels[row], words, np.stack(found))
