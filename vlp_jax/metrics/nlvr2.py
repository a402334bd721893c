"""NLVR2: is the sentence true of the pair of images? Accuracy, and consistency over its pairs."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vlp_jax.metrics.classification import consistency


class NLVR2Scores(NamedTuple):
    """Shares in 0..1: of examples answered right, and of sentences without an error."""

    accuracy: float
    consistency: float


def parse_nlvr2_predictions(lines: Iterable[str]) -> dict[str, str]:
    """Returns identifier → answer from the lines `identifier,answer` of a prediction file.

    As the official script reads them: blanks around a line do not matter, one behind the comma
    belongs to the answer (and makes it wrong), further columns are ignored, of two lines for one
    example the later counts. A line without a comma is a ValueError.
    """
    predictions = {}
    for number, line in enumerate(lines, 1):
        identifier, comma, rest = line.strip().partition(",")
        if not comma:
            raise ValueError(f"line {number} is {line!r}, expected identifier,answer")
        predictions[identifier] = rest.partition(",")[0]
    return predictions


def nlvr2_scores(labels: Mapping[str, str], predictions: Mapping[str, str]) -> NLVR2Scores:
    """Returns accuracy and consistency (Suhr et al. 2019, section 4; lil-lab/nlvr, metrics.py).

    Args:
        labels: identifier (`split-set-pair-sentence`) → "True" or "False".
        predictions: identifier → answer, compared in lower case; those of other examples are
            ignored.

    Consistency is the share of sentences of a set that are judged right for every pair of images.
    Raises ValueError if an example lacks a prediction, or there is no example.
    """
    missing = [identifier for identifier in labels if identifier not in predictions]
    if missing or not labels:
        raise ValueError(
            f"{len(missing)} of {len(labels)} examples lack a prediction"
            + (f', such as "{missing[0]}"' if missing else ", expected at least one example")
        )
    correct = [predictions[name].lower() == label.lower() for name, label in labels.items()]
    groups = [_sentence(identifier) for identifier in labels]
    return NLVR2Scores(sum(correct) / len(correct), consistency(correct, groups))


def _sentence(identifier: str) -> str:
    """Returns what the examples of one sentence share: the identifier without its pair number."""
    parts = identifier.split("-")
    if len(parts) < 3:
        raise ValueError(f'identifier "{identifier}", expected split-set-pair-sentence')
    return "-".join([*parts[:2], *parts[3:]])
