"""Layers of the torch models that `vlp-jax bench --against torch` times."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Args = Mapping[str, Any]


class Attention(nn.Module):
    """Attention by `scaled_dot_product_attention`; keys under a mask [B, S], or all of them."""

    def __init__(self, args: Args, width: int, context: int | None = None):
        super().__init__()
        self.heads, self.dropout = args["heads"], args.get("attention_dropout", 0.0)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(context or width, width)
        self.value = nn.Linear(context or width, width)
        self.output = nn.Linear(width, width)

    def forward(self, states: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        split = lambda x: x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        read = F.scaled_dot_product_attention(
            split(self.query(states)),
            split(self.key(context)),
            split(self.value(context)),
            None if mask is None else mask[:, None, None],
            self.dropout if self.training else 0.0,
        )
        return self.output(read.transpose(1, 2).flatten(2))


class BertLayer(nn.Module):
    """Self-attention, cross-attention where a context is given, feed-forward: norms afterwards."""

    def __init__(self, args: Args, width: int, context: int | None = None):
        super().__init__()
        norm = lambda: nn.LayerNorm(width, args.get("epsilon", 1e-12))
        self.attention, self.attention_norm = Attention(args, width), norm()
        if context:
            self.cross, self.cross_norm = Attention(args, width, context), norm()
        self.expand = nn.Linear(width, args["mlp_width"])
        self.contract = nn.Linear(args["mlp_width"], width)
        self.norm, self.drop = norm(), nn.Dropout(args["dropout"])

    def forward(self, states: Tensor, mask: Tensor, context: Tensor | None = None) -> Tensor:
        states = self.attention_norm(states + self.drop(self.attention(states, states, mask)))
        if context is not None:
            states = self.cross_norm(states + self.drop(self.cross(states, context, None)))
        return self.norm(states + self.drop(self.contract(F.gelu(self.expand(states)))))


class VitBlock(nn.Module):
    """Attention and feed-forward: norms before."""

    def __init__(self, args: Args):
        super().__init__()
        width = args["width"]
        self.attention_norm, self.attention = nn.LayerNorm(width, 1e-6), Attention(args, width)
        self.norm, self.expand = nn.LayerNorm(width, 1e-6), nn.Linear(width, args["mlp_width"])
        self.contract = nn.Linear(args["mlp_width"], width)

    def forward(self, states: Tensor) -> Tensor:
        normed = self.attention_norm(states)
        states = states + self.attention(normed, normed, None)
        return states + self.contract(F.gelu(self.expand(self.norm(states))))


class Vit(nn.Module):
    """A Vision Transformer on uint8 pictures [B, H, W, 3]."""

    def __init__(self, args: Args):
        super().__init__()
        width, patch = args["width"], args["patch_size"]
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (args["image_size"] // patch) ** 2 + 1, width))
        self.layers = nn.ModuleList(VitBlock(args) for _ in range(args["layers"]))
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, image: Tensor) -> Tensor:
        pixels = ((image.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        first = self.first.to(patches.dtype).expand(len(patches), -1, -1)
        states = torch.cat([first, patches], 1) + self.positions
        for layer in self.layers:
            states = layer(states)
        return self.norm(states)


class Embeddings(nn.Module):
    """BERT's words, positions and types."""

    def __init__(self, args: Args):
        super().__init__()
        width = args["width"]
        self.word = nn.Embedding(args["vocab_size"], width, padding_idx=0)
        self.position = nn.Embedding(args["max_length"], width)
        self.segment = nn.Embedding(args["types"], width)
        self.norm = nn.LayerNorm(width, args.get("epsilon", 1e-12))
        self.drop = nn.Dropout(args["dropout"])

    def forward(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        types = self.segment(torch.zeros_like(ids) if segments is None else segments)
        return self.drop(self.norm(self.word(ids) + self.position(places) + types))


class WordHead(nn.Module):
    """Logits of words, tied to the word table."""

    def __init__(self, table: nn.Embedding):
        super().__init__()
        words, width = table.weight.shape
        self.transform, self.norm = nn.Linear(width, width), nn.LayerNorm(width, 1e-12)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = table.weight

    def forward(self, states: Tensor) -> Tensor:
        return self.decoder(self.norm(F.gelu(self.transform(states))))


def masked_rows(states: Tensor, labels: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Returns states [rows, D] and labels of masked words, and of others where there are fewer."""
    labels = labels.flatten()
    chosen = torch.topk((labels >= 0).float(), rows).indices
    return states.flatten(0, 1)[chosen], labels[chosen]


def word_loss(head: nn.Module, states: Tensor, labels: Tensor, rows: int) -> Tensor:
    """Returns the mean cross-entropy of masked words; the head reads `rows` that hold these."""
    states, labels = masked_rows(states, labels, rows)
    return F.cross_entropy(head(states).float(), labels)
