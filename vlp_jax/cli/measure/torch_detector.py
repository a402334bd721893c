"""The detector of bottom-up attention in plain torch, for the benchmark.

Anderson et al. 2018, https://arxiv.org/abs/1707.07998; the same layers and rules as `Frcnn`, with
the modules named as the published file's tensors are. Suppression and pooling are torchvision's
where it is installed.
"""

from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_jax.cli.measure.bench_torch import TorchSide
from vlp_jax.cli.measure.bench_turns import Measured
from vlp_jax.detectors.anchors import STRIDE
from vlp_jax.detectors.boxes import LARGEST_GROWTH
from vlp_jax.detectors.c4 import HEAD_WEIGHTS
from vlp_jax.detectors.frcnn import Frcnn
from vlp_jax.detectors.proposals import ProposalRule

try:
    from torchvision import ops
except ImportError:
    ops = None


class Regions(NamedTuple):
    """What is in one picture, in descending order of score: `Frcnn`'s `Found` without padding."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    features: Tensor
    attributes: Tensor
    attribute_scores: Tensor
    class_scores: Tensor


class Layer(nn.Conv2d):
    """Convolution without bias, then normalisation."""

    def __init__(self, given: int, made: int, size: int, stride: int = 1, dilation: int = 1):
        padding = dilation * (size // 2)
        super().__init__(given, made, size, stride, padding, dilation, bias=False)
        self.norm = nn.BatchNorm2d(made)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class Block(nn.Module):
    """A bottleneck whose stride is in its first convolution."""

    def __init__(self, given: int, inner: int, made: int, stride: int, dilation: int):
        super().__init__()
        self.conv1 = Layer(given, inner, 1, stride)
        self.conv2 = Layer(inner, inner, 3, dilation=dilation)
        self.conv3 = Layer(inner, made, 1)
        self.shortcut = nn.Identity() if given == made else Layer(given, made, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(self.conv1(x).relu_()).relu_()
        return self.conv3(hidden).add_(self.shortcut(x)).relu_()


def _stage(
    depth: int, given: int, inner: int, made: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    first = Block(given, inner, made, stride, dilation)
    return nn.Sequential(first, *(Block(made, inner, made, 1, dilation) for _ in range(depth - 1)))


class Backbone(nn.Module):
    """Pixels [B, 3, H, W] to the map [B, C, H / 16, W / 16]."""

    def __init__(self, network: Frcnn):
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": Layer(3, network.stem, 7, 2)})
        given = network.stem
        for i, depth in enumerate(network.depths[:3]):
            made = network.width * 2**i
            stage = _stage(depth, given, network.inner * 2**i, made, 1 if i == 0 else 2)
            self.add_module(f"res{i + 2}", stage)
            given = made

    def forward(self, pixels: Tensor) -> Tensor:
        grid = F.max_pool2d(self.stem["conv1"](pixels).relu_(), 3, 2, ceil_mode=True)
        return self.res4(self.res3(self.res2(grid)))


class ProposalNetwork(nn.Module):
    """The map to the proposals [≤ kept, 4] of each picture of `size` = (height, width)."""

    def __init__(self, network: Frcnn):
        super().__init__()
        width, hidden = network.width * 4, network.hidden or network.width * 4
        count = len(network.anchor_sizes) * len(network.anchor_ratios)
        self.rule = network.proposals
        self.anchor_generator = nn.ModuleDict(
            {"cell_anchors": nn.ParameterList([torch.zeros(count, 4)])}
        )
        self.rpn_head = nn.ModuleDict(
            {
                "conv": nn.Conv2d(width, hidden, 3, padding=1),
                "objectness_logits": nn.Conv2d(hidden, count, 1),
                "anchor_deltas": nn.Conv2d(hidden, 4 * count, 1),
            }
        )

    def forward(self, grid: Tensor, size: tuple[int, int]) -> list[Tensor]:
        hidden = self.rpn_head["conv"](grid).relu_()
        by_cell = lambda name: self.rpn_head[name](hidden).permute(0, 2, 3, 1).flatten(1)
        logits, deltas = (
            by_cell("objectness_logits"),
            by_cell("anchor_deltas").unflatten(1, (-1, 4)),
        )
        anchors = self._anchors(*grid.shape[2:])
        return [_proposals(*own, anchors, size, self.rule) for own in zip(logits, deltas)]

    def _anchors(self, height: int, width: int) -> Tensor:
        (cell,) = self.anchor_generator["cell_anchors"]
        y, x = (STRIDE * torch.arange(n, device=cell.device) for n in (height, width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        return (torch.stack([x, y, x, y], -1)[:, :, None] + cell).view(-1, 4)


class Heads(nn.Module):
    """The map [C, H, W] and the proposals [N, 4] of one picture to its regions."""

    def __init__(self, network: Frcnn):
        super().__init__()
        last, classes = network.width * 8, network.classes
        self.bins, self.rule = network.bins, network.rule
        self.res5 = _stage(network.depths[3], last // 2, network.inner * 8, last, dilation=2)
        self.box_predictor = nn.ModuleDict(
            {
                "cls_score": nn.Linear(last, classes + 1),
                "bbox_pred": nn.Linear(last, 4 * classes),
                "cls_embedding": nn.Embedding(classes + 1, last // 8),
                "fc_attr": nn.Linear(last + last // 8, last // 4),
                "attr_score": nn.Linear(last // 4, network.attributes + 1),
            }
        )

    def forward(self, grid: Tensor, proposals: Tensor, size: tuple[int, int]) -> Regions:
        features = self.res5(_pooled(grid, proposals, self.bins)).mean((2, 3))
        logits = self.box_predictor["cls_score"](features)
        shares = logits.softmax(-1)
        scores, labels = shares[:, :-1].max(-1)
        boxes = self._boxes(features, proposals, labels, size)
        attribute_scores, attributes = self._attributes(features, logits.argmax(-1)).max(-1)
        rows = self._chosen(boxes, scores)
        found = boxes, labels, scores, features, attributes, attribute_scores, shares
        return Regions(*(x[rows] for x in found))

    def _boxes(
        self, features: Tensor, proposals: Tensor, labels: Tensor, size: tuple[int, int]
    ) -> Tensor:
        deltas = self.box_predictor["bbox_pred"](features).unflatten(1, (-1, 4))
        own = deltas[torch.arange(len(labels), device=labels.device), labels]
        return _moved(proposals, own / own.new_tensor(HEAD_WEIGHTS), size)

    def _attributes(self, features: Tensor, labels: Tensor) -> Tensor:
        both = torch.cat([features, self.box_predictor["cls_embedding"](labels)], -1)
        hidden = self.box_predictor["fc_attr"](both).relu_()
        return self.box_predictor["attr_score"](hidden)[:, :-1].softmax(-1)

    def _chosen(self, boxes: Tensor, scores: Tensor) -> Tensor:
        for threshold in self.rule.thresholds:
            rows = _kept(boxes, scores, threshold, self.rule.most)
            if len(rows) >= self.rule.least:
                break
        return rows


class TorchFrcnn(nn.Module):
    """Pictures [B, 3, H, W] that fill their frame, B, G, R less their mean, to regions of each.

    Sizes and rules are those of `network`, which has the published stride, pooling and dilation.
    """

    def __init__(self, network: Frcnn):
        super().__init__()
        self.backbone = Backbone(network)
        self.proposal_generator = ProposalNetwork(network)
        self.roi_heads = Heads(network)

    def forward(self, pixels: Tensor) -> list[Regions]:
        """Returns the regions of each picture."""
        grid, size = self.backbone(pixels), tuple(pixels.shape[2:])
        proposals = self.proposal_generator(grid, size)
        return [self.roi_heads(*own, size) for own in zip(grid, proposals)]


class DetectorTwin(TorchSide):
    """The torch detector with published tensors by name, and pictures [B, H, W, 3], in float32."""

    def __init__(self, network: Frcnn, state: Mapping[str, np.ndarray], pixels: np.ndarray):
        super().__init__()
        tensors = {name: torch.from_numpy(np.array(x)) for name, x in state.items()}
        self.parameters = sum(x.numel() for x in tensors.values() if x.is_floating_point())
        self.model = TorchFrcnn(network).eval()
        self.model.load_state_dict(tensors)
        self.model.to(self.device)
        self._pixels = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).contiguous()
        self._pixels = self._pixels.to(self.device)

    def infer(self) -> Measured:
        """Returns the detection of all pictures."""
        return self._measured(lambda find: self.regions(), self.model.forward)

    @torch.inference_mode()
    def regions(self) -> list[Regions]:
        """Returns the regions of each picture; convolutions keep float32 on a GPU, as ours do."""
        with torch.backends.cudnn.flags(allow_tf32=False):
            return self.model(self._pixels)


def _proposals(
    logits: Tensor, deltas: Tensor, anchors: Tensor, size: tuple[int, int], rule: ProposalRule
) -> Tensor:
    scores, best = logits.topk(min(rule.ranked, len(logits)))
    boxes = _moved(anchors[best], deltas[best], size)
    large = (boxes[:, 2:] - boxes[:, :2] > rule.least_side).all(1)
    boxes, scores = boxes[large], scores[large]
    return boxes[_kept(boxes, scores, rule.threshold, rule.kept)]


def _moved(boxes: Tensor, deltas: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns boxes moved and grown by deltas, cut at the borders of a picture of `size`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    half = 0.5 * deltas[:, 2:].clamp(max=LARGEST_GROWTH).exp() * sides
    ends = torch.stack([centre - half, centre + half], 1)
    return ends.clamp(min=0).minimum(ends.new_tensor(size[::-1])).flatten(1)


def _kept(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Returns the first `most` rows that no better box removes, in descending order of score."""
    if ops is not None:
        return ops.nms(boxes, scores, threshold)[:most]
    order = scores.argsort(descending=True, stable=True)
    rows = _greedy(boxes[order].cpu().numpy(), threshold, most)
    return order[torch.from_numpy(rows).to(order.device)]


def _greedy(boxes: np.ndarray, threshold: float, most: int) -> np.ndarray:
    """Returns `_kept` of boxes in descending order.

    The best box that is left is compared with all others that are left at once. That is done only
    until `most` boxes stay, which takes less than the overlaps of all pairs would.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept, left = [], np.arange(len(boxes))
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        both = np.minimum(boxes[best, 2:], boxes[left, 2:])
        both = np.maximum(both - np.maximum(boxes[best, :2], boxes[left, :2]), 0).prod(1)
        # Not `shared <= …`: of two empty boxes neither removes the other.
        union = areas[best] + areas[left] - both
        left = left[~(both > np.float64(threshold) * union)]
    return np.array(kept, np.int64)


def _pooled(grid: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """Returns the maxima [N, C, bins, bins] of the parts of boxes [N, 4] in a map [C, H, W].

    Without torchvision these are four look-ups for all regions together: the maxima of all squares
    of cells with sides of a power of two are made once, and two of them cover any range.
    """
    if ops is not None:
        return ops.roi_pool(grid[None], [boxes], bins, 1 / STRIDE)
    table = _power_maxima(_power_maxima(grid.permute(1, 2, 0).contiguous(), 0), 2)
    top, bottom = _bin_ends(boxes[:, 1::2], bins, grid.shape[1])
    left, right = _bin_ends(boxes[:, 0::2], bins, grid.shape[2])
    (level_y, *ys), (level_x, *xs) = _cover(top, bottom), _cover(left, right)
    look_up = lambda y, x: table[level_x[:, None], level_y[:, :, None], y[:, :, None], x[:, None]]
    most = reduce(torch.maximum, (look_up(y, x) for y in ys for x in xs))
    empty = (bottom <= top)[:, :, None] | (right <= left)[:, None]
    return most.masked_fill_(empty[..., None], 0).permute(0, 3, 1, 2).contiguous()


def _bin_ends(ends: Tensor, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """Returns the first cell of each bin and the first one after it, [N, bins] each."""
    first, last = (ends / STRIDE + 0.5).floor().T  # halves away from zero; none is below zero
    # Not `/ bins`: on a GPU torch multiplies by the inverse of a number, which moves ends.
    part = (last - first + 1).clamp(min=1)
    part = (part / torch.full_like(part, bins))[:, None]
    number = torch.arange(bins, device=ends.device)
    within = lambda x: (x + first[:, None]).clamp(0, length).long()
    return within((number * part).floor()), within(((number + 1) * part).ceil())


def _power_maxima(table: Tensor, axis: int) -> Tensor:
    """Returns [levels, …]: in level k, the maximum of 2^k entries along the axis from each on."""
    levels = [table]
    while 2 ** len(levels) <= table.shape[axis]:
        step = 2 ** (len(levels) - 1)
        levels.append(torch.maximum(levels[-1], levels[-1].roll(-step, axis)))
    return torch.stack(levels)


def _cover(begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the level of `_power_maxima` for ranges, and where its two copies begin.

    What it says of an empty range is within the map and of no use.
    """
    begin = torch.minimum(begin, (end - 1).clamp(min=0))
    length = (end - begin).clamp(min=1)
    level = torch.frexp(length.float()).exponent.long() - 1
    return level, begin, torch.maximum(end - 2**level, begin)
