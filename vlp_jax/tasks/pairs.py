"""Pairs as the data joined them: does the text, or a part of it, belong to the image?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlp_jax.config import ExperimentConfig
from vlp_jax.data.assemble import Feed
from vlp_jax.data.pairing import PAIRINGS, ExchangeTexts
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Transform
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.matching import HEAD, matching_loss
from vlp_jax.tasks.texts import SHOWN, Shown, needed


@TASKS.register("pair")
@dataclass(frozen=True)
class PairTask(Task):
    """Cross-entropy of how the data joined the text and the image of each example.

    `exchange` names what is exchanged for another image's, in training: "caption" (ViLBERT,
    LXMERT), the tags ("oscar", "oscarplus") or the second of two captions ("second_caption"). With
    `predict_wrong_pairs` off, masked words that were exchanged, and hidden regions beside them,
    have no label for the tasks that predict them.
    The text is the masked one, so that one pass serves masked language modelling as well.
    """

    text: Shown = "masked"
    exchange: str = "caption"
    predict_wrong_pairs: bool = True

    title = "Pairs"
    metrics = {"pair_accuracy": "Pair accuracy"}

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields and the labels."""
        return needed(SHOWN[self.text]) | {"pair_labels"}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Any]) -> None:
        """What is exchanged has to be shown."""
        second = PAIRINGS.get_known(self.exchange, f"{path}.exchange").second
        if second == "tags" and not config.data.tags:
            raise ValueError(
                f'{path}.exchange = "{self.exchange}" exchanges tags, which the text has not: set '
                "config.data.tags = true"
            )
        if second == "caption" and config.data.tags:
            raise ValueError(
                f'{path}.exchange = "{self.exchange}" shows a second caption, not tags: set '
                "config.data.tags = false"
            )

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Exchanged texts, in training."""
        pairing = PAIRINGS[self.exchange]
        if not (feed.train and pairing.exchanges and "caption" in feed.provides):
            return ()
        return (ExchangeTexts(pairing, self.predict_wrong_pairs),)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The matching head."""
        return {HEAD: HeadNeed(HEAD)}

    def loss(self, step: Step) -> Result:
        """The mean over all pairs."""
        views = step.views
        logits = views.head(HEAD, SHOWN[self.text])
        result = matching_loss(views, logits, views.batch["pair_labels"])
        return result.replace(metrics={"pair_accuracy": result.metrics["accuracy"]})


@TASKS.register("contrastive_tags")
@dataclass(frozen=True)
class TagsTask(PairTask):
    """Are the tags the image's own? (OSCAR, section 3.)

    OSCAR+ ("oscarplus") has a third class, another image's caption (VinVL, section 3.2), and its
    head three `classes`.
    """

    exchange: str = "oscar"

    title = "Contrastive tags"


@TASKS.register("sentence_image")
@dataclass(frozen=True)
class SentenceTask(PairTask):
    """Is the second of two captions the image's own, too? (VisualBERT, section 3.3.)"""

    exchange: str = "second_caption"

    title = "Sentence and image"
