"""What a page shows: the outcome of evaluations, learning curves and facts of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vlp_jax.metrics.checks import same_length
from vlp_jax.tasks.outcome import AnswerExample, Failure, HeatMap, RetrievalExample, TableRow


@dataclass(frozen=True)
class Curve:
    """A learning curve: `values` over `steps`, both [N]; `reference` (such as chance) is dashed.

    `percent` says that values are shares in 0..1.
    """

    steps: Sequence[float]
    values: Sequence[float]
    reference: float | None = None
    percent: bool = False

    def __post_init__(self):
        same_length(steps=self.steps, values=self.values)


@dataclass(frozen=True)
class Report:
    """Everything a report can show; a section that is None or empty is left out.

    Attributes:
        title: what was trained, a few words.
        intro: one to three sentences below the title.
        facts: short label → text, such as {"Parameters": "4.1 M", "Training": "3 min 12 s"}.
        rows: the table of figures; its `headline` rows stand large at the top.
        curves: title → Curve, or → (steps, values).
        retrieval: queries with their best candidates, both directions mixed.
        heat_maps: one strip each.
        answers: answered questions, right and wrong mixed.
        failures: the section "Where it fails".
        spent: what the run's time went on → seconds.
        warnings: texts shown above the figures (as in summary.json).
        attribution: credit lines for data and pictures.
        config_text: the resolved config, folded away at the end.
    """

    title: str
    intro: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[TableRow] = ()
    curves: Mapping[str, Curve | tuple[Sequence[float], Sequence[float]]] | None = None
    retrieval: Sequence[RetrievalExample] | None = None
    heat_maps: Sequence[HeatMap] | None = None
    answers: Sequence[AnswerExample] | None = None
    failures: Sequence[Failure] | None = None
    spent: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    attribution: Sequence[str] = ()
    config_text: str = ""
