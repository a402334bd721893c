"""Image-text retrieval both ways: by similarity, re-ranked by the matching head, or by it alone."""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vlp_jax.config.ranges import Finite, Natural
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.figures import twin
from vlp_jax.metrics.retrieval import rerank, retrieval_report
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks import contrast, matching
from vlp_jax.tasks.base import TASKS, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import HeatMap, Outcome, RetrievalExample, TableRow


@dataclass(frozen=True)
class Gallery:
    """The images and texts of a split on the host, encoded once.

    Attributes:
      pixels: uint8 [N, H, W, 3], or None for models that read region features.
      captions, ids: [N] texts, and the number of each one's image.
      images, texts: tokens before the fusion.
      vectors: contrastive unit vectors of images and of texts, or None.
    """

    pixels: np.ndarray | None
    captions: list[str]
    ids: np.ndarray
    images: Tokens
    texts: Tokens
    vectors: tuple[np.ndarray, np.ndarray] | None


def encode(views: Views) -> dict[str, Tokens]:
    """Returns the tokens of images and captions before the fusion."""
    return {"images": views.image(), "texts": views.text()}


def encode_with_vectors(views: Views) -> dict:
    """Returns the same with contrastive vectors."""
    return encode(views) | {"vectors": contrast.vectors(views)}


@dataclass(frozen=True)
class RetrievalEvaluation(Evaluation):
    """Image→text and text→image recall at 1, 5 and 10.

    `rank_by` = "similarity" orders all candidates by their contrastive vectors; the `rerank` best
    of each query are scored again by the matching head (ALBEF, section 4). `similarity_weight`
    times the contrastive logit is added to that score (LAVIS adds it once): the head learns against
    negatives drawn in proportion to that logit, so what it says is what the logit has not said yet.
    "matching" lets the matching head score every pair (UNITER, section 4.2), so that the time grows
    with the square of `limit`. `examples` queries and heat maps go into the report.
    """

    rank_by: Literal["similarity", "matching"] = "similarity"
    rerank: Natural = 16
    similarity_weight: Finite = 0.0
    examples: Natural = 3

    needs = ("image|region_features", "caption")

    def __call__(self, run: Run, name: str) -> Outcome:
        gallery = encode_gallery(run, self)
        if self.rank_by == "matching":
            return self._by_matching(run, gallery, name)
        similarities = gallery.vectors[0] @ gallery.vectors[1].T
        figures, final = _figures(gallery, similarities, similarities.T), None
        if self.rerank and matching.HEAD in run.forward.model.heads:
            final = self._rescored(run, gallery, similarities)
            figures |= _figures(gallery, *final, "_itm")
        prefix = "" if name == "retrieval" else f"{name}_"
        outcome = Outcome({f"{prefix}{key}": value for key, value in figures.items()})
        outcome.rows = _rows(figures, self.split, len(gallery.ids), headline=not prefix)
        if not prefix and gallery.pixels is not None:
            scores = final or (similarities, similarities.T)
            outcome.retrieval = _examples(gallery, *scores, self.examples)
            outcome.heat_maps = _heat_maps(run, gallery, self.examples)
        return outcome

    def _by_matching(self, run: Run, gallery: Gallery, name: str) -> Outcome:
        count = len(gallery.ids)
        pairs = np.divmod(np.arange(count * count), count)
        scores = match_scores(run, gallery, *pairs).reshape(count, count)
        figures = _figures(gallery, scores, scores.T)
        rows = _rows(figures, f"{self.split}, matching head", count, headline=False)
        return Outcome({f"{name}_{key}": value for key, value in figures.items()}, rows)

    def _rescored(
        self, run: Run, gallery: Gallery, similarities: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns re-ranked scores [images, texts] and [texts, images]; a pair is scored once."""
        k = min(self.rerank, len(gallery.ids))
        best_texts = np.asarray(best_candidates(similarities, k))
        best_images = np.asarray(best_candidates(similarities.T, k))
        wanted = np.zeros(similarities.shape, bool)
        np.put_along_axis(wanted, best_texts, True, axis=1)
        np.put_along_axis(wanted.T, best_images, True, axis=1)
        heat = np.asarray(run.forward(contrast.temperature, {}))
        scores = np.zeros(similarities.shape)
        scores[wanted] = match_scores(run, gallery, *np.nonzero(wanted))
        scores += np.where(wanted, self.similarity_weight * similarities / heat, 0.0)
        return (
            rerank(similarities, best_texts, np.take_along_axis(scores, best_texts, 1)),
            rerank(similarities.T, best_images, np.take_along_axis(scores.T, best_images, 1)),
        )


@TASKS.register("retrieval")
@dataclass(frozen=True)
class RetrievalTask(Task):
    """Finds the texts of an image and the image of a text; it trains nothing.

    What it ranks by is learned by contrast ("itc") and matching ("itm").
    """

    evaluate: dict[str, RetrievalEvaluation] = field(default_factory=dict)

    title = "Retrieval"
    trains = False


def encode_gallery(run: Run, evaluation: RetrievalEvaluation) -> Gallery:
    """Encodes the first records of a split, each image and each text once."""
    by_matching = evaluation.rank_by == "matching"
    function = encode if by_matching else encode_with_vectors
    parts, rows = [], []
    for batch in run.batches(run.source(evaluation), evaluation.limit):
        keep, made = batch["example_mask"], run.forward(function, batch)
        parts.append(jax.tree.map(lambda x: np.asarray(x)[keep], made))
        names = ("image_id", CAPTION.ids, *(n for n in ("image",) if n in batch))
        rows.append({name: batch[name][keep] for name in names})
    encoded = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    host = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return Gallery(
        host.get("image"),
        [run.vocabulary.tokenizer.decode(ids) for ids in host[CAPTION.ids]],
        host["image_id"],
        encoded["images"],
        encoded["texts"],
        encoded.get("vectors"),
    )


def best_candidates(similarities: Float[Array, "q c"], k: int) -> Int[Array, "q k"]:
    """Returns each query's k most similar candidates, best first; equal ones in their order."""
    return jnp.argsort(-jnp.asarray(similarities), axis=1, stable=True)[:, :k]


def match_scores(run: Run, gallery: Gallery, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Returns the match log odds of image i with text j for index arrays [N]."""
    size = 8 * run.config.evaluation.batch_size
    scores = []
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        pick = lambda tokens, index: jax.tree.map(lambda x: _padded(x[index[rows]], size), tokens)
        made = {"image": pick(gallery.images, images), CAPTION.ids: pick(gallery.texts, texts)}
        scores.append(np.asarray(run.forward(matching.match_log_odds, {}, made)))
    return np.concatenate(scores)[: len(images)]


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)]) if len(x) < size else x


def _figures(
    gallery: Gallery, by_image: np.ndarray, by_text: np.ndarray, suffix: str = ""
) -> dict[str, float]:
    return retrieval_report(by_image, gallery.ids, gallery.ids, text_scores=by_text, suffix=suffix)


def _rows(figures: dict, split: str, count: int, headline: bool) -> list[TableRow]:
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


def _examples(
    gallery: Gallery, by_image: np.ndarray, by_text: np.ndarray, count: int
) -> list[RetrievalExample]:
    examples = []
    for query in np.linspace(0, len(gallery.ids) - 1, count).astype(int):
        own = lambda found: [bool(gallery.ids[i] == gallery.ids[query]) for i in found]
        images, texts = np.argsort(-by_text[query])[:5], np.argsort(-by_image[query])[:5]
        found = [gallery.pixels[i] for i in images]
        rank = _rank(by_text[query], query)
        examples.append(RetrievalExample(gallery.captions[query], found, own(images), rank=rank))
        found = [gallery.captions[i] for i in texts]
        rank = _rank(by_image[query], query)
        examples.append(RetrievalExample(gallery.pixels[query], found, own(texts), rank=rank))
    return examples


def _rank(scores: np.ndarray, right: int) -> int:
    return int((scores > scores[right]).sum()) + 1


def _heat_maps(run: Run, gallery: Gallery, count: int) -> list[HeatMap]:
    """Returns where the words of some captions look, for models whose patches form a square."""
    patches = gallery.images.mask.shape[1] - 1
    side = int(round(patches**0.5))
    if matching.HEAD not in run.forward.model.heads or patches < 1 or side * side != patches:
        return []
    rows = np.arange(1, 1 + count) % len(gallery.ids)
    pick = lambda tokens: jax.tree.map(lambda x: jnp.asarray(x[rows]), tokens)
    heat = np.asarray(matching.match_heat(run.forward, pick(gallery.images), pick(gallery.texts)))
    maps = heat[..., 1:].reshape(*heat.shape[:2], side, side)
    return [_heat_map(run, gallery, row, maps[i]) for i, row in enumerate(rows)]


def _heat_map(run: Run, gallery: Gallery, row: int, maps: np.ndarray) -> HeatMap:
    """One map a word: the mean over its pieces. Position 0 of `maps` is [CLS]."""
    words, found, start = [], [], 1
    for word in gallery.captions[row].split():
        end = start + len(run.vocabulary.tokenizer.piece_ids(word))
        if end > gallery.texts.mask[row].sum():
            break
        words.append(word)
        found.append(maps[start:end].mean(0))
        start = end
    return HeatMap(gallery.pixels[row], words, np.stack(found))
