"""Visual entailment (SNLI-VE): does a picture entail a sentence, contradict it, or neither?"""

from dataclasses import dataclass, replace

from vlp_jax.data.input_rules import InputRules
from vlp_jax.metrics.entailment import ENTAILMENT_LABELS
from vlp_jax.tasks.base import TASKS
from vlp_jax.tasks.classes import ClassTask
from vlp_jax.tasks.decisions import ENTAILMENT


@TASKS.register("entailment")
@dataclass(frozen=True)
class EntailmentTask(ClassTask):
    """Whether a picture entails a sentence; `order` has the classes as the head numbers them.

    ALBEF and ViLBERT have contradiction, neutral, entailment; UNITER has neutral last.
    """

    order: tuple[str, ...] = ENTAILMENT_LABELS

    head = ENTAILMENT
    title = "Entailment (SNLI-VE)"
    metrics = {"entailment_accuracy": "Entailment accuracy"}
    verbs = ("entail",)

    def __post_init__(self):
        if sorted(self.order) != sorted(ENTAILMENT_LABELS):
            raise ValueError(
                f"order = {list(self.order)}, expected {', '.join(ENTAILMENT_LABELS)} in any order"
            )

    def input_rules(self, rules: InputRules) -> InputRules:
        """The classes have the names of `order`."""
        return replace(rules, entailment=self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The order of the head."""
        return tuple(self.order)
