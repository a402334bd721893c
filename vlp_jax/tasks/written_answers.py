"""Visual question answering as writing: a decoder spells each answer (ALBEF section 5, VQA)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config.ranges import Count, Range, Share
from vlp_jax.data.assemble import Feed
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Transform
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.heads.answer_scores import answer_log_likelihood, ranking_scores, shifted
from vlp_jax.layers.tokens import Fused
from vlp_jax.losses.answer_text import answer_text_losses, weighted_answer_loss
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.answers import QuestionTask
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step
from vlp_jax.tasks.decoding import decoded_texts
from vlp_jax.tasks.questions import (
    QUESTION,
    AnswerWords,
    QuestionFields,
    answer_pieces,
    padded_answers,
)
from vlp_jax.tasks.search import Search, SpecialIds, Written
from vlp_jax.tasks.texts import needed

HEAD = "answer"


def answer_words(
    model: VisionLanguageModel,
    fused: Fused,
    ids: Int[Array, "b k l"],
    mask: Bool[Array, "b k l"],
    *,
    deterministic: bool = True,
) -> Float[Array, "b k l v"]:
    """Returns next-word logits of K answers to each question, which is the text of `fused`."""
    size, count, length = ids.shape
    flat = ids.reshape(size * count, length), mask.reshape(size * count, length)
    logits = model.head(HEAD)(*flat, fused.text, deterministic=deterministic)
    return logits.reshape(size, count, length, -1)


def spelling_losses(
    model: VisionLanguageModel,
    fused: Fused,
    ids: Int[Array, "b k l"],
    mask: Bool[Array, "b k l"],
    teacher_logits: Float[Array, "b k l v"] | None = None,
    *,
    alpha: Array | float = 0.0,
    deterministic: bool = True,
) -> tuple[Float[Array, "b k"], Float[Array, "b k"], Float[Array, "b k"]]:
    """Returns of every answer the loss, the number of words predicted right, and that of words."""
    logits = answer_words(model, fused, ids, mask, deterministic=deterministic)
    losses = answer_text_losses(logits, ids, mask, teacher_logits, alpha)
    own, words, counts = shifted(logits, ids, mask)
    right = (jnp.argmax(own, -1) == words) & counts
    return losses, right.sum(-1, dtype=jnp.float32), counts.sum(-1, dtype=jnp.float32)


def ranked_answers(
    views: Views, ids: Int[Array, "a l"], mask: Bool[Array, "a l"], keep: int = 128
) -> Float[Array, "b a"]:
    """Returns a score for each answer of a list to each question; -inf for all but `keep` of them.

    Kept are those with the likeliest first word, as published 128 (all if the list is shorter).
    They are scored by `ranking_scores`, whose softmax is the probability among them. Questions are
    decoded one after the other, as the words of 128 answers to many at once would not fit.

    Args:
      views: of a batch with questions. ids, mask: the answers, `[CLS] words [SEP]`.
    """
    probabilities = first_word_probabilities(views, ids)
    likely, kept = jax.lax.top_k(probabilities, min(keep, len(ids)))

    def likelihoods(row: tuple[Fused, Array]) -> Float[Array, "k"]:
        question, chosen = row
        words = ids[chosen][None], mask[chosen][None]
        single = jax.tree.map(lambda x: x[None], question)
        logits = views.run(answer_words, single, *words, name="answers")
        return answer_log_likelihood(logits, *words)[0]

    fused = views.fused(QUESTION)
    scores = ranking_scores(likely, jax.lax.map(likelihoods, (fused, kept)))
    every = jnp.full(probabilities.shape, -jnp.inf)
    return jax.vmap(lambda row, places, values: row.at[places].set(values))(every, kept, scores)


def ranked_list(
    views: Views, answers: tuple[tuple[int, ...], ...], keep: int = 128
) -> Float[Array, "b a"]:
    """Returns `ranked_answers` of answers that are given as word pieces `[CLS] words [SEP]`."""
    return ranked_answers(views, *map(jnp.asarray, padded_answers(answers)), keep)


def first_word_logits(views: Views, start: Int[Array, ""]) -> Float[Array, "b v"]:
    """Returns logits of the first word of an answer to each question, after the token `start`."""
    fused = views.fused(QUESTION)
    ids = jnp.broadcast_to(start, (fused.text.mask.shape[0], 1, 1))
    return views.run(answer_words, fused, ids, jnp.ones_like(ids, bool), name="start")[:, 0, 0]


def first_word_probabilities(views: Views, ids: Int[Array, "a l"]) -> Float[Array, "b a"]:
    """Returns how likely the first word of each answer is."""
    return jax.nn.softmax(first_word_logits(views, ids[0, 0]))[:, ids[:, 1]]


def spelled_answers(views: Views, *, search: Search, special: SpecialIds) -> Written:
    """Returns the answer that the decoder writes to each question of a batch, from no list."""
    asked = views.fused(QUESTION).text
    return decoded_texts(views, asked, head=HEAD, search=search, special=special)


@TASKS.register("vqa_generative")
@dataclass(frozen=True)
class WrittenAnswerTask(QuestionTask):
    """Write the answers to the question of each image, word by word.

    An answer's loss is the sum over its words and [SEP]; a question's that of its answers, times
    their `answer_weights`; the batch's the mean over questions. With a teacher and `alpha` > 0 each
    word's loss is (1-α)·CE(word) + α·CE(teacher). Word accuracy is with the true words before.

    `answer_length` is the number of tokens of an answer, [CLS] and [SEP] included; of a question
    the `answers` with the highest score are learned. Evaluated is the ranking of all known ones, of
    which the `ranked` with the likeliest first word are scored.
    """

    alpha: Share = 0.4
    answer_length: Annotated[int, Range(3)] = 8
    answers: Count = 10
    ranked: Count = 128

    head: ClassVar[str] = HEAD
    title = "Written answers (VQA)"
    metrics = {"answer_word_accuracy": "Answer word accuracy"}

    @property
    def reads(self) -> frozenset[str]:
        """The question and its answers."""
        return needed(QUESTION) | {"answer_ids", "answer_mask", "answer_weights"}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The question and, in training, the words of its answers."""
        if "question" not in feed.provides:
            return ()
        vocabulary = feed.vocabulary
        question = QuestionFields(
            feed.texts,
            self.question_length,
            vocabulary.answers,
            "share",
            tags=feed.config.tags,
            train=feed.train,
        )
        words = AnswerWords(vocabulary.tokenizer, self.answer_length, self.answers)
        return (question, words) if feed.train else (question,)

    def words(self, answers: Iterable[str]) -> Iterable[str]:
        """A fitted tokenizer knows the answers' words."""
        return sorted(answers)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The decoder."""
        return {HEAD: HeadNeed("answer", {"word": sizes.words})}

    def scores_of(self, vocabulary: Vocabulary) -> Callable[[Views], Float[Array, "b a"]]:
        """The decoder's scores; -inf for all but those with the likeliest first words."""
        keep = min(self.ranked, len(vocabulary.answers))
        known = (tuple(answer_pieces(vocabulary.tokenizer, a)) for a in vocabulary.answers)
        return partial(ranked_list, answers=tuple(known), keep=keep)

    def loss(self, step: Step) -> Result:
        """The mean over questions."""
        views, teacher, batch = step.views, step.teacher, step.views.batch
        answers = batch["answer_ids"], batch["answer_mask"]
        losses_of, taught = spelling_losses, ()
        if teacher is not None and self.alpha > 0:
            inputs = teacher.fused(QUESTION), *answers
            taught = (jax.lax.stop_gradient(teacher.run(answer_words, *inputs, name="spell")),)
            losses_of = partial(spelling_losses, alpha=step.ramp * self.alpha)
        losses, right, words = views.run(
            losses_of, views.fused(QUESTION), *answers, *taught, name="spell"
        )
        loss = weighted_answer_loss(losses, batch["answer_weights"], views.size)
        accuracy = right.sum() / jnp.maximum(words.sum(), 1.0)
        return Result(loss, {"answer_word_accuracy": accuracy})
