"""UNITER and OSCAR in torch, for the benchmark: one stack of BERT layers over words and regions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_jax.cli.measure.torch_parts import Args, BertLayer, Embeddings, WordHead, word_loss
from vlp_jax.config import ExperimentConfig
from vlp_jax.encoders.regions import BOX_ENCODINGS

Batch = dict[str, Tensor]


class Regions(nn.Module):
    """Features and boxes: joined (OSCAR), or projected and added (UNITER)."""

    def __init__(self, args: Args):
        super().__init__()
        width, self.joined = args["width"], args.get("boxes_joined", False)
        self.numbers = BOX_ENCODINGS[args["boxes"]][0]
        self.feature = nn.Linear(args["feature_width"] + self.numbers * self.joined, width)
        if not self.joined:
            self.box = nn.Linear(self.numbers, width)
        norm = lambda wanted: nn.LayerNorm(width, 1e-12) if wanted else nn.Identity()
        self.feature_norm, self.box_norm = (
            norm(args.get(f"{part}_norm", False)) for part in ("feature", "box")
        )
        self.norm = norm(args.get("output_norm", True))
        self.drop = nn.Dropout(args["dropout"])
        if args.get("mask_embedding"):
            self.hidden = nn.Embedding(2, args["feature_width"])

    def forward(self, batch: Batch, types: Tensor | float) -> Tensor:
        features, boxes = batch["region_features"], batch["region_boxes"]
        size = boxes[..., 2:] - boxes[..., :2]
        boxes = torch.cat([boxes, size, size.prod(-1, keepdim=True)], -1)[..., : self.numbers]
        if self.joined:
            return self.drop(self.norm(self.feature(torch.cat([features, boxes], -1)) + types))
        states = self.feature_norm(self.feature(features)) + self.box_norm(self.box(boxes))
        return self.drop(self.norm(states + types))


class SingleStream(nn.Module):
    """Masked words and, where the experiment has pairs, whether text and image belong together."""

    def __init__(self, config: ExperimentConfig, rows: int):
        super().__init__()
        model, self.rows, self.pairs = config.model, rows, len(config.tasks) > 1
        width, fusion = model.text_args["width"], model.fusion_args
        self.embeddings, self.regions = Embeddings(model.text_args), Regions(model.vision_args)
        self.region_type = model.vision_args.get("text_type", -1)
        self.layers = nn.ModuleList(BertLayer(fusion, width) for _ in range(fusion["layers"]))
        self.pooler = nn.Linear(width, width)
        self.match = nn.Linear(width, model.heads["itm"].get("classes", 2))
        self.words = WordHead(self.embeddings.word)

    def forward(self, batch: Batch) -> Tensor:
        """Returns the matching logits of each pair."""
        return self._match(self._fused(batch, "text_ids"))

    def loss(self, batch: Batch) -> Tensor:
        """Returns the sum of the losses."""
        states, labels = self._fused(batch, "mlm_ids"), batch["mlm_labels"]
        loss = word_loss(self.words, states[:, : labels.shape[1]], labels, self.rows)
        if self.pairs:
            loss = loss + F.cross_entropy(self._match(states).float(), batch["pair_labels"])
        return loss

    def _fused(self, batch: Batch, ids: str) -> Tensor:
        types = 0.0
        if self.region_type >= 0:
            same = torch.full_like(batch["region_mask"], self.region_type, dtype=torch.long)
            types = self.embeddings.segment(same)
        words = self.embeddings(batch[ids], batch.get("text_segments"))
        states = torch.cat([words, self.regions(batch, types)], 1)
        mask = torch.cat([batch["text_mask"], batch["region_mask"]], 1)
        for layer in self.layers:
            states = layer(states, mask)
        return states

    def _match(self, states: Tensor) -> Tensor:
        return self.match(torch.tanh(self.pooler(states[:, 0])))
