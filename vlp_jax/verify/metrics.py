"""Every number of the bundles of official metrics, from the inputs that lie beside it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.metrics.caption_tokens import drop_punctuation, ptb_lines, tokenize_caption
from vlp_jax.metrics.captions import caption_scores
from vlp_jax.metrics.cider import cider
from vlp_jax.metrics.gqa import gqa_scores
from vlp_jax.metrics.nlvr2 import nlvr2_scores, parse_nlvr2_predictions
from vlp_jax.metrics.refcoco import box_under_heat, referring_accuracy_by_split, referring_iou
from vlp_jax.metrics.retrieval import published_recalls, published_rerank, uniter_recalls
from vlp_jax.metrics.vcr import vcr_accuracies
from vlp_jax.metrics.vqa import (
    normalize_answer,
    remove_punctuation,
    trim_answer,
    vqa_scores,
)
from vlp_jax.verify.bundle import METRICS, Bundle
from vlp_jax.verify.metric_files import by_name, caption_sets, flatten
from vlp_jax.verify.runner import RUNNERS

# Name of a file -> function from its content to our outputs, in the names of `metric_files`.
METRIC_FUNCTIONS = Registry("file of metrics")


@RUNNERS.register(METRICS)
def metrics(bundle: Bundle) -> dict[str, np.ndarray]:
    """Each figure of each file."""
    outputs: dict[str, np.ndarray] = {}
    for name, content in bundle.inputs.items():
        try:
            outputs |= flatten(METRIC_FUNCTIONS.get_known(name)(content), name)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{bundle.path}/{name}.json lacks an input: {error!r}") from None
    return outputs


@METRIC_FUNCTIONS.register("vqa")
def vqa(file: dict) -> dict[str, Any]:
    """VQA accuracy and normalisation."""
    column = lambda name: [case[name] for case in file["cases"]]
    inputs = ("prediction", "answers", "question_type", "answer_type")
    scores = vqa_scores(*map(column, inputs))
    figures = {
        "overall": scores.overall,
        "perQuestionType": scores.by_question_type,
        "perAnswerType": scores.by_answer_type,
    }
    raw = [trim_answer(row[0]) for row in file["normalization"]]
    return {
        "accuracy": scores.per_question,
        "accuracy_percent_2": [round(100 * float(x), 2) for x in scores.per_question],
        "overall": _rounded(figures),
        "overall_unrounded": figures,
        "after_punctuation": [remove_punctuation(answer) for answer in raw],
        "after_normalization": [normalize_answer(answer) for answer in raw],
    }


def _rounded(value: Any) -> Any:
    """Returns percentages, in any nesting, as the original prints them."""
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return round(value, 2)


@METRIC_FUNCTIONS.register("gqa")
def gqa(file: dict) -> dict[str, Any]:
    """GQA's figures under their original names."""
    return by_name(file["runs"], _gqa_run)


def _gqa_run(run: dict) -> dict[str, Any]:
    predictions = {entry["questionId"]: entry["prediction"] for entry in run["predictions"]}
    figures = gqa_scores(run["questions"], run["choices"], predictions)._asdict()
    shares = {
        "accuracyPerStructuralType": figures.pop("by_structural_type"),
        "accuracyPerSemanticType": figures.pop("by_semantic_type"),
        "accuracyPerSteps": figures.pop("by_steps"),
        "accuracyPerLength": figures.pop("by_length"),
    }
    named = lambda group: {key: share._asdict() for key, share in group.items()}
    return figures | {name: named(group) for name, group in shares.items()}


@METRIC_FUNCTIONS.register("nlvr2")
def nlvr2(file: dict) -> dict[str, Any]:
    """NLVR2's two figures, or a refusal."""
    return by_name(file["runs"], _nlvr2_run)


def _nlvr2_run(run: dict) -> dict[str, Any]:
    labels = {example["identifier"]: example["label"] for example in run["examples"]}
    try:
        return nlvr2_scores(labels, parse_nlvr2_predictions(run["prediction_lines"]))._asdict()
    except ValueError:
        return {"refused": True}


@METRIC_FUNCTIONS.register("retrieval")
def retrieval(file: dict) -> dict[str, Any]:
    """Recalls; where scores are tied, the value nearest to the original's that ties allow."""
    return by_name(file["runs"], _retrieval_run)


def _retrieval_run(run: dict) -> dict[str, Any]:
    owners, images, texts = run["txt2img"], *_retrieval_scores(run)
    ends = [
        published_recalls(images, range(len(images)), owners, text_scores=texts, ties_won=won)
        for won in (False, True)
    ]
    original = run["official"]
    figures = {"albef": _within(original["albef"], *ends)}
    if "clip_benchmark" in original:
        shares = [{_clip_name(k): v / 100 for k, v in end.items()} for end in ends]
        figures["clip_benchmark"] = _within(original["clip_benchmark"], *shares)
    if "uniter" in original:
        shares = [
            uniter_recalls(images, range(len(images)), owners, ties_won=won)
            for won in (False, True)
        ]
        figures["uniter"] = _within(original["uniter"], *shares)
    return figures | dict(zip(("ties_against_positives", "ties_for_positives"), ends))


def _retrieval_scores(run: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores [images, texts] and [texts, images], re-ranked if the run says so."""
    if "scores_i2t" in run:
        scores = np.array(run["scores_i2t"], np.float32)
        return scores, scores.T
    shape = len(run["top_i2t"]), len(run["top_t2i"])
    return (
        published_rerank(shape, run["top_i2t"], run["match_i2t"]),
        published_rerank(shape[::-1], run["top_t2i"], run["match_t2i"]),
    )


def _within(original: Mapping, low: Mapping, high: Mapping) -> dict[str, float]:
    """Returns each original value moved into the interval of ours: a point without ties."""
    return {k: float(np.clip(v, low[k], high[k])) for k, v in original.items() if k in low}


def _clip_name(name: str) -> str:
    """Returns CLIP_benchmark's name of a recall, or of a mean, which it lacks, the name itself."""
    side, _, k = name.partition("_r")
    way = {"txt": "text", "img": "image"}.get(side)
    return f"{way}_retrieval_recall@{k}" if way and k.isdigit() else name


@METRIC_FUNCTIONS.register("refcoco")
def refcoco(file: dict) -> dict[str, Any]:
    """Overlaps and accuracies by split, with and without equality at one half."""
    column = lambda name: np.array([pair[name] for pair in file["pairs"]], np.float64)
    predicted, truth = column("predicted_xywh"), column("truth_xywh")
    splits = [pair["split"] for pair in file["pairs"]]
    overlap = referring_iou(predicted, truth)
    reached = referring_accuracy_by_split(predicted, truth, splits)
    passed = referring_accuracy_by_split(predicted, truth, splits, inclusive=False)
    by_split = {
        name: {"n": splits.count(name), "at_least_half": reached[name], "above_half": passed[name]}
        for name in reached
    }
    heat = file["heat_map_selection"]
    return {
        "iou": overlap,
        "iou_uniter": overlap,
        "accuracy_by_split": by_split,
        "heat_map_selection": {
            alpha: _heat_map_accuracy(heat["items"], float(alpha))
            for alpha in heat["accuracy_by_alpha"]
        },
    }


def _heat_map_accuracy(items: list[dict], alpha: float) -> dict[str, float]:
    """Accuracy by split; an item without a box above zero keeps the box of the one before."""
    chosen: list[list[float]] = []
    for item in items:
        boxes = np.array(item["detections"])[:, :4]
        best = box_under_heat(item["heat_map"], boxes, item["height"], item["width"], alpha)
        chosen.append(chosen[-1] if best is None and chosen else boxes[best or 0].tolist())
    truth, splits = [item["truth_xywh"] for item in items], [item["split"] for item in items]
    accuracies = referring_accuracy_by_split(chosen, truth, splits)
    return {f"{split}_d": accuracy for split, accuracy in accuracies.items()}


@METRIC_FUNCTIONS.register("vcr")
def vcr(file: dict) -> Mapping[str, float]:
    """VCR's three accuracies."""
    labels = (np.array(file[name]) for name in ("answer_label", "rationale_label"))
    return vcr_accuracies(np.array(file["scores"]), *labels)


@METRIC_FUNCTIONS.register("captions")
def captions(file: dict) -> dict[str, Any]:
    """Tokens from the raw texts, scores from the original's tokens."""
    raw = [row[0] for row in file["tokenizer"]]
    return by_name(caption_sets(file), _caption_set) | {
        "tokenizer": {
            "all": [" ".join(tokens) for tokens in _as_lines(raw)],
            "kept": [tokenize_caption(text) for text in raw],
        },
        "line_breaks": {
            str(number): [
                " ".join(drop_punctuation(tokens))
                for tokens in _as_lines(case["captions"])[: len(case["captions"])]
            ]
            for number, case in enumerate(file["line_break_hazards"])
        },
    }


def _as_lines(texts: list[str]) -> list[list[str]]:
    """Returns the tokens of captions that are tokenised as one file, as in the original."""
    return ptb_lines("\n".join(text.replace("\n", " ") for text in texts))


def _caption_set(corpus: dict) -> dict[str, Any]:
    candidates, references = corpus["candidates_ptb"], corpus["references_ptb"]
    scores = caption_scores(candidates, references, tokenized=True)
    plain, each_plain = cider(candidates, references, plain=True)
    names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr", "CIDEr_plain"]
    corpora = [*scores.bleu, scores.rouge_l, scores.cider, plain]
    each = [*scores.bleu_of_each, scores.rouge_l_of_each, scores.cider_of_each, each_plain]
    return {
        "candidates_ptb": [tokenize_caption(text) for text in corpus["candidates"]],
        "references_ptb": [tokenize_caption(t) for texts in corpus["references"] for t in texts],
        "corpus": dict(zip(names, corpora)),
        "per_caption": dict(zip(names, each)),
    }
