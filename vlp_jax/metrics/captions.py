"""All caption scores of a set of images: BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D.

SPICE and METEOR are left out: the first needs a dependency parser's trained model, the second a
Java program with its tables of paraphrases, and neither can be had in Python with equal results.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.bleu import bleu
from vlp_jax.metrics.caption_tokens import tokenize_caption
from vlp_jax.metrics.cider import cider
from vlp_jax.metrics.rouge import rouge_l


class CaptionScores(NamedTuple):
    """Figures of the whole set and of each caption: BLEU [4] and [4, N], others one and [N].

    BLEU and ROUGE-L lie in 0..1, CIDEr in 0..10; papers print all of them times 100.
    """

    bleu: np.ndarray
    rouge_l: float
    cider: float
    bleu_of_each: np.ndarray
    rouge_l_of_each: np.ndarray
    cider_of_each: np.ndarray


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]], *, tokenized: bool = False
) -> CaptionScores:
    """Returns the scores of one caption per image, as the COCO caption evaluation computes them.

    `references[i]` are the texts that people wrote for the image of `captions[i]`, at least one.
    All are raw texts, unless `tokenized` says that they are tokens with blanks between them
    already. CIDEr depends on the set: score a split as a whole.
    """
    if not tokenized:
        captions = [tokenize_caption(text) for text in captions]
        references = [[tokenize_caption(text) for text in texts] for texts in references]
    pooled, bleu_of_each = bleu(captions, references)
    mean_rouge, rouge_of_each = rouge_l(captions, references)
    mean_cider, cider_of_each = cider(captions, references)
    return CaptionScores(pooled, mean_rouge, mean_cider, bleu_of_each, rouge_of_each, cider_of_each)
