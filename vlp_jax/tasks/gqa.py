"""GQA: questions whose answers are scored as its authors do, with consistency and the like."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlp_jax.metrics.gqa import gqa_scores
from vlp_jax.tasks.answers import AnswerEvaluation, AnswerTask
from vlp_jax.tasks.base import TASKS
from vlp_jax.tasks.outcome import TableRow

_SHARES = ("accuracy", "binary", "open", "consistency")
_WITHIN = ("validity", "plausibility")  # of the published choices


@dataclass(frozen=True)
class GqaEvaluation(AnswerEvaluation):
    """The official figures; `<name>_accuracy` is the share of equal answers, of all questions.

    Official are those of balanced questions. Validity and plausibility need the file of choices;
    consistency counts what the source has of the questions that a question entails.
    """

    def figures(self, name: str) -> frozenset[str]:
        more = [f"{name}_official_{key}" for key in (*_SHARES, *_WITHIN, "distribution")]
        return super().figures(name) | frozenset(more)

    def official(
        self, records: Sequence[Mapping], predicted: Sequence[str]
    ) -> tuple[dict[str, float], list[TableRow]]:
        """Shares in 0..1, and the distance of distributions; none of other data sets."""
        asked = {record["name"] for record in records if "official" in record}
        questions = {r["name"]: _present(r["official"], asked) for r in records if "official" in r}
        if not questions:
            return {}, []
        given = {r["name"]: answer for r, answer in zip(records, predicted)}
        choices = {name: q["choices"] for name, q in questions.items()}
        have_choices = all(choices.values())
        if not have_choices:
            choices = {name: {"valid": (), "plausible": ()} for name in questions}
        scores = gqa_scores(questions, choices, given)
        kinds = _SHARES + (_WITHIN if have_choices else ())
        made = {f"official_{kind}": scores._asdict()[kind] / 100 for kind in kinds}
        rows = [TableRow(f"GQA {kind}", made[f"official_{kind}"], group="GQA") for kind in kinds]
        return made | {"official_distribution": scores.distribution}, rows

    def submission(self, names: Sequence[Any], predicted: Sequence[str]) -> list[dict[str, Any]]:
        """Entries of GQA's server."""
        return [{"questionId": str(n), "prediction": answer} for n, answer in zip(names, predicted)]


def _present(question: Mapping[str, Any], asked: Container[str]) -> dict[str, Any]:
    """Returns a question without entailed ones that have not been asked."""
    return {**question, "entailed": [name for name in question["entailed"] if name in asked]}


@TASKS.register("gqa")
@dataclass(frozen=True)
class GqaTask(AnswerTask):
    """Answer the questions of GQA: as `vqa`, with the official figures."""

    evaluate: dict[str, GqaEvaluation] = field(default_factory=dict)

    title = "Answers (GQA)"
    metrics = {"gqa_accuracy": "GQA accuracy"}
