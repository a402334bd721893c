"""LXMERT and VisualBERT as Hugging Face has them, for the benchmark.

Encoders and heads are Hugging Face's own; its loss runs the word head on every position, here it
reads masked words alone, as ours does.
"""

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from vlp_jax.cli.measure.torch_parts import word_loss
from vlp_jax.config import ExperimentConfig
from vlp_jax.weights.zoo import ZOO

Batch = dict[str, Tensor]


def _model(name: str, config: ExperimentConfig) -> nn.Module:
    """Returns the Hugging Face class of a preset, in the size of the experiment."""
    layout = next(layout for layout in ZOO[name].layouts.values() if layout.architecture)
    entries = layout.to_published(config.model)
    sizes = transformers.AutoConfig.for_model(**entries)
    return getattr(transformers, layout.architecture)(sizes)


class Lxmert(nn.Module):
    """Masked words, pairs, and labels and features of regions."""

    def __init__(self, config: ExperimentConfig, rows: int):
        super().__init__()
        self.model, self.rows = _model("lxmert", config), rows

    def forward(self, batch: Batch) -> Tensor:
        """Returns the matching logits of each pair."""
        return self.model.cls.seq_relationship(self._encoded(batch, "text_ids")[2])

    def loss(self, batch: Batch) -> Tensor:
        """Returns the sum of the losses."""
        words, regions, pooled = self._encoded(batch, "mlm_ids")
        loss = word_loss(self.model.cls.predictions, words, batch["mlm_labels"], self.rows)
        match = self.model.cls.seq_relationship(pooled).float()
        loss = loss + F.cross_entropy(match, batch["pair_labels"])
        for name, predicted in self.model.obj_predict_head(regions).items():
            loss = loss + self._region_loss(name, predicted.float(), batch)
        return loss

    def _encoded(self, batch: Batch, ids: str) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.lxmert(
            batch[ids],
            batch["region_features"],
            batch["region_boxes"],
            attention_mask=batch["text_mask"].float(),
            visual_attention_mask=batch["region_mask"].float(),
            return_dict=False,
        )[:3]

    def _region_loss(self, name: str, predicted: Tensor, batch: Batch) -> Tensor:
        if name == "feat":
            losses = F.smooth_l1_loss(predicted, batch["region_targets"], reduction="none")
            return (losses.mean(-1) * batch["region_hidden"]).mean() / 0.15
        kind = {"obj": "", "attr": "attribute_"}[name]
        labels = batch["region_labels" if name == "obj" else "region_attributes"]
        losses = F.cross_entropy(predicted.flatten(0, 1), labels.flatten(), reduction="none")
        return (losses * batch[f"region_{kind}confidence"].flatten()).mean() / 0.15


class VisualBert(nn.Module):
    """Masked words, and whether the second caption is of the picture."""

    def __init__(self, config: ExperimentConfig, rows: int):
        super().__init__()
        self.model, self.rows = _model("visualbert", config), rows

    def forward(self, batch: Batch) -> Tensor:
        """Returns the matching logits of each pair."""
        return self.model.cls.seq_relationship(self._encoded(batch, "text_ids")[1])

    def loss(self, batch: Batch) -> Tensor:
        """Returns the sum of the losses."""
        (states, pooled), labels = self._encoded(batch, "mlm_ids"), batch["mlm_labels"]
        words = states[:, : labels.shape[1]]
        loss = word_loss(self.model.cls.predictions, words, labels, self.rows)
        match = self.model.cls.seq_relationship(pooled).float()
        return loss + F.cross_entropy(match, batch["pair_labels"])

    def _encoded(self, batch: Batch, ids: str) -> tuple[Tensor, Tensor]:
        mask = batch["region_mask"]
        return self.model.visual_bert(
            batch[ids],
            attention_mask=batch["text_mask"].float(),
            token_type_ids=batch["text_segments"],
            visual_embeds=batch["region_features"],
            visual_attention_mask=mask.float(),
            visual_token_type_ids=torch.ones_like(mask, dtype=torch.long),
            return_dict=False,
        )[:2]
