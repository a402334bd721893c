"""ALBEF's pre-training in torch, for the benchmark: ITC with teacher and queue, ITM, MLM.

Li et al. 2021, https://arxiv.org/abs/2107.07651; the same passes, sizes and losses as our step.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_jax.cli.measure.torch_parts import (
    BertLayer,
    Embeddings,
    Vit,
    WordHead,
    masked_rows,
)
from vlp_jax.config import ExperimentConfig

Batch = dict[str, Tensor]


class Towers(nn.Module):
    """Both encoders, the fusion and the heads."""

    def __init__(self, config: ExperimentConfig):
        super().__init__()
        model = config.model
        image, text, fusion = model.vision_args, model.text_args, model.fusion_args
        width, vector = text["width"], model.heads["itc"]["width"]
        self.vision, self.embeddings = Vit(image), Embeddings(text)
        self.text_layers = nn.ModuleList(BertLayer(text, width) for _ in range(text["layers"]))
        self.fusion_layers = nn.ModuleList(
            BertLayer(fusion, width, image["width"]) for _ in range(fusion["layers"])
        )
        self.image_projection = nn.Linear(image["width"], vector)
        self.text_projection = nn.Linear(width, vector)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.match, self.words = nn.Linear(width, 2), WordHead(self.embeddings.word)

    def text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Returns the states of a text."""
        states = self.embeddings(ids)
        for layer in self.text_layers:
            states = layer(states, mask)
        return states

    def fuse(self, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Returns the states of texts that have read images."""
        for layer in self.fusion_layers:
            text = layer(text, mask, image)
        return text

    def vectors(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the unit vectors of images and texts."""
        unit = lambda x: F.normalize(x.float(), dim=-1)
        return unit(self.image_projection(image[:, 0])), unit(self.text_projection(text[:, 0]))


class Albef(nn.Module):
    """The towers, their teacher and the queue."""

    def __init__(self, config: ExperimentConfig, rows: int):
        super().__init__()
        self.model, self.rows = Towers(config), rows
        self.teacher = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.momentum, task = config.training.momentum, config.tasks["itc"]
        self.alpha = task["alpha"]
        shape = task["queue_size"], config.model.heads["itc"]["width"]
        for name in ("image_queue", "text_queue"):
            self.register_buffer(name, F.normalize(torch.randn(shape), dim=-1))

    def train(self, mode: bool = True) -> "Albef":
        """The teacher has no dropout."""
        self.model.train(mode)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Returns the matching logits of each pair."""
        model, mask = self.model, batch["text_mask"]
        text = model.text(batch["text_ids"], mask)
        return model.match(model.fuse(model.vision(batch["image"]), text, mask)[:, 0])

    def loss(self, batch: Batch) -> Tensor:
        """Returns the sum of the three losses; the teacher moves and the queue takes in."""
        self._move_teacher()
        model, teacher, mask = self.model, self.teacher, batch["text_mask"]
        image, text = model.vision(batch["image"]), model.text(batch["text_ids"], mask)
        own = model.vectors(image, text)
        with torch.no_grad():
            seen = teacher.vision(batch["image"])
            taught = teacher.vectors(seen, teacher.text(batch["text_ids"], mask))
        contrast = self._contrast(own, taught)
        matching = self._matching(image, text, mask, own, taught)
        words = self._words(batch, image, seen)
        self._push(taught)
        return contrast + matching + words

    @torch.no_grad()
    def _move_teacher(self) -> None:
        pair = list(self.teacher.parameters()), list(self.model.parameters())
        torch._foreach_lerp_(*pair, 1 - self.momentum)

    def _contrast(self, own: tuple, taught: tuple) -> Tensor:
        queues, total = (self.image_queue, self.text_queue), 0.0
        for rows, columns in ((0, 1), (1, 0)):
            known = torch.cat([taught[columns], queues[columns]]).T
            logits = own[rows] @ known / self.model.temperature
            with torch.no_grad():
                soft = F.softmax(taught[rows] @ known / self.model.temperature, dim=1)
                targets = self.alpha * soft
                targets.diagonal().add_(1 - self.alpha)
            total = total - (F.log_softmax(logits, 1) * targets).sum(1).mean()
        return total / 2

    def _matching(
        self, image: Tensor, text: Tensor, mask: Tensor, own: tuple, taught: tuple
    ) -> Tensor:
        match = self.model.fuse(image, text, mask)
        with torch.no_grad():
            by_image, by_text = (
                F.softmax(own[i] @ taught[1 - i].T / self.model.temperature, 1) + 1e-4
                for i in (0, 1)
            )
            images, texts = (
                torch.multinomial(weights.fill_diagonal_(0), 1)[:, 0]
                for weights in (by_text, by_image)
            )
        mismatch = self.model.fuse(
            torch.cat([image[images], image]),
            torch.cat([text, text[texts]]),
            torch.cat([mask, mask[texts]]),
        )
        logits = self.model.match(torch.cat([match[:, 0], mismatch[:, 0]])).float()
        labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        labels[: len(match)] = 1
        return F.cross_entropy(logits, labels)

    def _words(self, batch: Batch, image: Tensor, seen: Tensor) -> Tensor:
        ids, mask, labels = batch["mlm_ids"], batch["text_mask"], batch["mlm_labels"]

        def logits(model: Towers, image: Tensor) -> tuple[Tensor, Tensor]:
            states = model.fuse(image, model.text(ids, mask), mask)
            states, read = masked_rows(states, labels, self.rows)
            return model.words(states).float(), read

        with torch.no_grad():
            soft = F.softmax(logits(self.teacher, seen)[0], -1)
        guessed, read = logits(self.model, image)
        distilled = -(F.log_softmax(guessed, -1) * soft).sum(-1)[read >= 0].mean()
        return (1 - self.alpha) * F.cross_entropy(guessed, read) + self.alpha * distilled

    @torch.no_grad()
    def _push(self, taught: tuple) -> None:
        for queue, vectors in zip((self.image_queue, self.text_queue), taught):
            queue[: len(vectors)] = vectors[: len(queue)]
