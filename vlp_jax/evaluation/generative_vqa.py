"""Question answering by a decoder that ranks the list of answers (ALBEF section 5, VQA)."""

from dataclasses import dataclass

from jaxtyping import Array, Float

from vlp_jax.data.answer_fields import encode_answers
from vlp_jax.evaluation.context import TASKS, Context
from vlp_jax.evaluation.text_tasks import AnswerTask
from vlp_jax.layers.tokens import Tokens


@TASKS.register("vqa_generative")
@dataclass(frozen=True)
class GenerativeAnswerTask(AnswerTask):
    """Accuracy of the answers that the decoder finds likeliest; otherwise as the task "vqa"."""

    heads = ("answer",)

    def score(self, context: Context, questions: Tokens, images: Tokens) -> Float[Array, "b a"]:
        """Returns the decoder's scores; -inf for all but the 128 with the likeliest first word."""
        vocabulary = context.vocabulary
        spelt = encode_answers(vocabulary.tokenizer, vocabulary.answers)
        return context.bound.answer_scores(questions, images, *spelt)
