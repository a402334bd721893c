"""Evaluates near-misses, question answering and masked words, each beside its blind baseline."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.data.batch import IGNORE
from vlp_jax.data.images import decode
from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.evaluation.context import TASKS, Context, Outcome
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.blind_answers import best_blind_vqa
from vlp_jax.metrics.blind_texts import ContextMLM, best_blind_near_miss
from vlp_jax.metrics.classification import pairwise_accuracy
from vlp_jax.metrics.figures import figure
from vlp_jax.metrics.vqa import accuracy_by_type, soft_scores
from vlp_jax.tasks.outcome import AnswerExample, Failure, PairExample, TableRow


@TASKS.register("near_miss")
@dataclass(frozen=True)
class NearMissTask:
    """How often the true caption scores above a false one made of the same words."""

    source: str = ""
    split: str = "test"
    limit: int = 512

    needs = ("image", "caption")
    heads = ("itm",)

    def __call__(self, context: Context, name: str) -> Outcome:
        source = context.source(self.source, self.split)
        records = [source[i] for i in range(min(self.limit, len(source)))]
        if "near_misses" not in records[0]:
            return Outcome()
        pairs = [(i, foil) for i, r in enumerate(records) for foil in r["near_misses"]]
        owners = np.array([i for i, _ in pairs])
        clean, _ = TEXT_STYLES[context.config.data.text_style]
        words = context.config.data.max_words
        truths = [clean(r["captions"][0], words) for r in records]
        foils = [clean(foil, words) for _, foil in pairs]
        true_scores = self._scores(context, source, truths, np.arange(len(records)))[owners]
        foil_scores = self._scores(context, source, foils, owners)
        accuracy = pairwise_accuracy(true_scores, foil_scores)
        texts = [t for t, _ in zip(context.source(self.source, "train").texts(), range(20_000))]
        blind, which = best_blind_near_miss(texts, [truths[i] for i in owners], foils)
        figures = figure(f"{name}_accuracy", accuracy, 0.5, blind, which)
        row = TableRow(
            "Near-misses: true caption above false one",
            accuracy,
            0.5,
            blind,
            note=f"blind: {which}; {len(pairs)} pairs",
            group="Composition",
            headline=True,
        )
        wrong = np.nonzero(true_scores <= foil_scores)[0][:3]
        examples = [
            PairExample(
                decode(records[owners[i]]["image"]),
                truths[owners[i]],
                foils[i],
                float(true_scores[i]),
                float(foil_scores[i]),
            )
            for i in wrong
        ]
        by_count = accuracy_by_type(
            (true_scores > foil_scores).astype(float),
            [f"{len(records[i]['labels'])} objects" for i in owners],
        )
        failure = Failure(
            "Near-misses",
            "The model preferred a caption whose order or relation is wrong.",
            by_count,
            {kind: 0.5 for kind in by_count},
            examples,
        )
        return Outcome(figures, [row], failures=[failure])

    def _scores(self, context: Context, source, texts: list[str], owners) -> np.ndarray:
        """Match log odds of each text with the image of record `owners[i]`."""
        images = [
            jax.tree.map(np.asarray, context.bound.images(batch))
            for batch in context.batches(source, self.limit)
        ]
        images = jax.tree.map(lambda *x: np.concatenate(x), *images)
        ids, mask = context.encode_texts(texts, context.config.data.text_length)
        size = 4 * context.config.evaluation.batch_size
        scores = []
        for start in range(0, len(texts), size):
            rows = np.minimum(np.arange(start, start + size), len(texts) - 1)
            encoded = context.bound.texts(ids[rows], mask[rows])
            shown = jax.tree.map(lambda x: x[owners[rows]], images)
            scores.append(np.asarray(context.bound.match(encoded, shown)))
        return np.concatenate(scores)[: len(texts)]


@TASKS.register("vqa")
@dataclass(frozen=True)
class AnswerTask:
    """Accuracy of answers, by question type, beside the best guess from the question alone."""

    source: str = ""
    split: str = "test"
    limit: int | None = 1024
    baseline_records: int = 8000
    examples: int = 6

    needs = ("image|region_features", "question")
    heads = ("vqa",)

    def __call__(self, context: Context, name: str) -> Outcome:
        source = context.source(self.source, self.split)
        logits, scores, keep = self._answers(context, source)
        rows = np.nonzero(keep)[0]
        records = [source[i] for i in rows]
        right = soft_scores(logits[keep], scores[keep])
        accuracy = float(right.mean())
        blind, which = self._blind(context, records)
        chance = 1.0 / len(context.vocabulary.answers)
        stem = name.removesuffix("_accuracy")
        outcome = Outcome(figure(f"{stem}_accuracy", accuracy, chance, blind, which))
        outcome.rows = [
            TableRow(
                f"Answers: {type(source).__name__}",
                accuracy,
                chance,
                blind,
                note=f"blind: {which}; {len(records)} questions",
                group="Question answering",
                headline=True,
            )
        ]
        predicted = [context.vocabulary.answers[i] for i in logits[keep].argmax(-1)]
        outcome.answers = self._examples(records, predicted, right)
        types = [r.get("question_type", "question") for r in records]
        outcome.failures = [
            Failure(
                f"Questions about {type(source).__name__}",
                "Accuracy by type of question.",
                accuracy_by_type(right, types),
            )
        ]
        outcome.attribution = [source.attribution] if getattr(source, "attribution", "") else []
        return outcome

    def _answers(self, context: Context, source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits, scores, keep = [], [], []
        for batch in context.batches(source, self.limit):
            questions = context.bound.texts(batch["question_ids"], batch["question_mask"])
            images = context.bound.images(batch)
            logits.append(np.asarray(self.score(context, questions, images)))
            scores.append(batch["answer_scores"])
            keep.append(batch["example_mask"])
        return tuple(np.concatenate(x) for x in (logits, scores, keep))

    def score(self, context: Context, questions: Tokens, images: Tokens) -> Float[Array, "b a"]:
        """Returns a score for every known answer to each question; the highest is the answer."""
        return context.bound.answer_logits(questions, images)

    def _blind(self, context: Context, records: list[dict]) -> tuple[float, str]:
        train = context.source(self.source, "train")
        count = min(self.baseline_records, len(train))
        # Spread over the split, because a source may keep questions of one image together.
        taken = [train[i] for i in np.linspace(0, len(train) - 1, count).astype(int)]
        split = lambda rs: ([r["question"] for r in rs], [r["answers"] for r in rs])
        return best_blind_vqa(*split(taken), *split(records))

    def _examples(self, records, predicted, right) -> list[AnswerExample]:
        order = np.argsort(right, kind="stable")
        half = self.examples // 2
        chosen = [*order[:half], *order[-half:]] if len(order) > half else order
        return [
            AnswerExample(
                decode(records[i]["image"]),
                records[i]["question"],
                max(records[i]["answers"], key=records[i]["answers"].get),
                predicted[i],
                float(right[i]),
            )
            for i in chosen
            if "image" in records[i]
        ]


@TASKS.register("mlm")
@dataclass(frozen=True)
class MaskedTextTask:
    """Accuracy on masked words given the image, beside a guess from the neighbouring words."""

    source: str = ""
    split: str = "test"
    limit: int = 512
    baseline_records: int = 4000

    needs = ("image|region_features", "caption")
    heads = ("mlm",)

    def __call__(self, context: Context, name: str) -> Outcome:
        hits, total, seen = 0, 0, []
        for batch in context.batches(context.source(self.source, self.split), self.limit):
            texts = context.bound.texts(
                batch["mlm_ids"], batch["text_mask"], batch.get("text_segments")
            )
            logits = np.asarray(context.bound.word_logits(texts, context.bound.images(batch)))
            masked = (batch["mlm_labels"] != IGNORE) & batch["example_mask"][:, None]
            hits += (logits.argmax(-1) == batch["mlm_labels"])[masked].sum()
            total += masked.sum()
            labels = np.where(masked, batch["mlm_labels"], IGNORE)
            seen.append((batch["mlm_ids"], labels, batch["text_mask"]))
        accuracy = float(hits / total) if total else float("nan")
        blind = self._blind(context, *(np.concatenate(x) for x in zip(*seen)))
        chance = 1.0 / context.vocabulary.tokenizer.size
        note = "blind: neighbouring words (n-gram)"
        figures = figure(f"{name}_accuracy", accuracy, chance, blind, "n-gram context")
        row = TableRow("Masked words", accuracy, chance, blind, note, "Language", headline=True)
        return Outcome(figures, [row])

    def _blind(self, context: Context, ids, labels, mask) -> float:
        train = context.source(self.source, "train")
        clean, _ = TEXT_STYLES[context.config.data.text_style]
        tokenizer, config = context.vocabulary.tokenizer, context.config.data
        texts = (
            caption
            for i in range(min(self.baseline_records, len(train)))
            for caption in train[i]["captions"]
        )
        cut = config.text_length - 1
        model = ContextMLM.fit(
            [tokenizer.cls_id, *tokenizer.piece_ids(clean(t, config.max_words))[:cut]]
            for t in texts
        )
        return model.accuracy(ids, labels, mask)
