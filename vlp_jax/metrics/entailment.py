"""Visual entailment (SNLI-VE): does the image entail the sentence?"""

from collections.abc import Sequence

from vlp_jax.metrics.checks import same_length

ENTAILMENT_LABELS = ("contradiction", "neutral", "entailment")
_UNDECIDED = "-"  # the gold label of SNLI where annotators found no majority


def entailment_accuracy(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Returns the share of right labels in 0..1 (Xie et al. 2019); NaN when none is counted.

    Labels are words, since families number them differently. Examples of gold label "-", on which
    the annotators disagree, are left out, as in the published splits.
    """
    same_length(predicted=predicted, gold=gold)
    pairs = [(p, g) for p, g in zip(predicted, gold) if g != _UNDECIDED]
    unknown = [word for pair in pairs for word in pair if word not in ENTAILMENT_LABELS]
    if unknown:
        known = ", ".join(ENTAILMENT_LABELS)
        raise ValueError(f'label "{unknown[0]}", expected one of {known} (gold also "-")')
    return sum(p == g for p, g in pairs) / len(pairs) if pairs else float("nan")
