"""VisualBERT (Li et al. 2019): presets, conventions and the layouts of its published files.

"VisualBERT: A Simple and Performant Baseline for Vision and Language",
https://arxiv.org/abs/1908.03557; code and weights: github.com/uclanlp/visualbert, and Hugging Face
directories under `uclanlp/visualbert-*`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.weights.key_groups import (
    bert_embeddings,
    bert_layer,
    mlm_head,
    prediction_transform,
)
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    embedding,
    key_table,
    linear,
    norm,
    raw,
)
from vlp_jax.weights.zoo.base import Conventions, Layout, Published, register

PAPER = "VisualBERT (Li et al. 2019), https://arxiv.org/abs/1908.03557"
CONVENTIONS = Conventions(match_index=1, add_sep=True, mlm_ignore=-1)
# The regions of both pictures of NLVR2 are one list, 144 of each, of visual types 0 and 1.
INPUTS = InputRules(
    TextRules("visualbert", length=128),
    regions=Rules(max_boxes=100, order="file"),
    pair_types=(0, 1),
    pictures_joined=True,
)
NLVR2_INPUTS = replace(INPUTS, regions=Rules(max_boxes=144, order="file"))
HUGGINGFACE_TYPE = "visual_bert"


@dataclass(frozen=True)
class Names:
    """What a layout calls the parts; `encoder` and `heads` are prefixes with their dot.

    `decoder_bias`: whether the bias of the word logits has a second name.
    """

    encoder: str
    heads: str
    classifier: str
    grounding: str
    projection: str
    region_type: str
    region_position: str
    decoder_bias: bool


ORIGINAL = Names(
    encoder="bert.bert.",
    heads="bert.cls.",
    classifier="bert.classifier",
    grounding="bert.flickr_attention",
    projection="projection",
    region_type="token_type_embeddings_visual",
    region_position="position_embeddings_visual",
    decoder_bias=False,
)
# The class within the wrapper, as gradients and a bare `TrainVisualBERTObjective` are named.
UNWRAPPED = replace(
    ORIGINAL,
    encoder="bert.",
    heads="cls.",
    classifier="classifier",
    grounding="flickr_attention",
)
HUGGINGFACE = Names(
    encoder="visual_bert.",
    heads="cls.",
    classifier="cls",
    grounding="attention",
    projection="visual_projection",
    region_type="visual_token_type_embeddings",
    region_position="visual_position_embeddings",
    decoder_bias=True,
)
HUGGINGFACE_TRUNK = replace(HUGGINGFACE, encoder="")

Heads = dict[str, dict[str, Any]]


def model_config(
    published: Mapping[str, Any], heads: Callable[[Mapping[str, Any]], Heads], pooler: str = "tanh"
) -> ModelConfig:
    """Returns the model of a published config, or of a Hugging Face `config.json`.

    Regions are of visual type 0, in a Hugging Face directory of type 1, unless the config says
    otherwise (`default_visual_type`) or the batch does (`region_types`).
    """
    _check_known(published)
    width, positions = published["hidden_size"], published["max_position_embeddings"]
    return ModelConfig(
        vision="regions",
        vision_args=dict(
            feature_width=published["visual_embedding_dim"],
            width=width,
            boxes="none",
            output_norm=False,
            types=published["type_vocab_size"],
            default_type=_default_type(published),
            positions=positions,
            dropout=0.0,
        ),
        text="bert",
        text_args=dict(
            vocab_size=published["vocab_size"],
            width=width,
            layers=0,
            max_length=positions,
            types=published["type_vocab_size"],
            dropout=0.0,
            embedding_norm=False,
            frozen_first_rows=(),
        ),
        fusion="single_stream",
        fusion_args=dict(
            layers=published["num_hidden_layers"],
            heads=published["num_attention_heads"],
            mlp_width=published["intermediate_size"],
            embedding_norm=True,
            dropout=published["hidden_dropout_prob"],
            attention_dropout=published["attention_probs_dropout_prob"],
            epsilon=_epsilon(published),
            activation=_activation(published),
        ),
        pooler=pooler,
        heads=heads(published),
    )


def _check_known(published: Mapping[str, Any]) -> None:
    if published.get("bypass_transformer"):
        raise ValueError(
            "bypass_transformer = true is not supported: no published VisualBERT has it and in "
            "transformers its forward pass fails"
        )


def _is_directory(published: Mapping[str, Any]) -> bool:
    return published.get("model_type") == HUGGINGFACE_TYPE


def _default_type(published: Mapping[str, Any]) -> int:
    return published.get("default_visual_type", 1 if _is_directory(published) else 0)


def _epsilon(published: Mapping[str, Any]) -> float:
    return published.get("layer_norm_eps", BERT_EPSILON)


def _activation(published: Mapping[str, Any]) -> str:
    return published.get("hidden_act", "gelu")


def no_heads(published: Mapping[str, Any]) -> Heads:
    """The trunk alone; a file's heads are carried along."""
    return {}


def pretrain_heads(published: Mapping[str, Any]) -> Heads:
    """Masked words, and whether both sentences belong to the image."""
    words = {"epsilon": _epsilon(published), "activation": _activation(published)}
    return {"mlm": words, "itm": {"match_index": CONVENTIONS.match_index}}


def grounding_heads(published: Mapping[str, Any]) -> Heads:
    """Flickr30k Entities: the pre-training heads stay, unused, beside the grounding of phrases."""
    width = published["hidden_size"] // published["num_attention_heads"]
    return pretrain_heads(published) | {"grounding": {"kind": "phrase_grounding", "width": width}}


def vqa_heads(published: Mapping[str, Any]) -> Heads:
    """Answers, read at the [MASK] that ends the question."""
    return _classifier(published, "vqa", _classes(published, 3129))


def nlvr2_heads(published: Mapping[str, Any]) -> Heads:
    """NLVR2: is the sentence true of both images together? 0 no, 1 yes."""
    return _classifier(published, "nlvr2", _classes(published, 2))


def vcr_heads(published: Mapping[str, Any]) -> Heads:
    """VCR: one number for each choice, which is a text of its own."""
    return _classifier(published, "vcr", 1)


def _classifier(published: Mapping[str, Any], name: str, classes: int) -> Heads:
    dropout = published["hidden_dropout_prob"]
    return {name: dict(kind="classifier", classes=classes, form="linear", dropout=dropout)}


def _classes(published: Mapping[str, Any], usual: int) -> int:
    """Number of labels; a directory writes them as names, and two, the default, not at all."""
    if published.get("id2label"):
        return len(published["id2label"])
    return published.get("num_labels") or (2 if _is_directory(published) else usual)


def layout_table(config: ModelConfig, names: Names) -> KeyTable:
    """Returns the key table of any of the models under the names of a layout."""
    encoder, heads = names.encoder, config.heads
    tied = [f"{names.heads}predictions.decoder.weight"] if "mlm" in heads else []
    pooler = "pooler/first_token" if config.pooler == "answer_token" else "pooler"
    fusion = config.fusion_args
    return key_table(
        bert_embeddings(f"{encoder}embeddings", "text", tied, with_norm=False),
        norm(f"{encoder}embeddings.LayerNorm", "fusion/embedding_norm"),
        region_entries(f"{encoder}embeddings", names),
        [
            bert_layer(f"{encoder}encoder.layer.{i}", f"fusion/layer_{i}", fusion["heads"])
            for i in range(fusion["layers"])
        ],
        linear(f"{encoder}pooler.dense", f"{pooler}/dense"),
        head_entries(config, names),
        unmodelled=(
            r"(.*\.)?position_ids",
            r"detector\..*",
            rf"{re.escape(names.grounding)}\.value\..*",
            *([] if heads else [re.escape(names.heads) + ".*", rf"{names.classifier}\..*"]),
        ),
    )


def region_entries(embeddings: str, names: Names) -> Entries:
    """The projection of features, and the regions' own type and position tables."""
    return [
        linear(f"{embeddings}.{names.projection}", "vision/feature_projection"),
        embedding(f"{embeddings}.{names.region_type}", "vision/type"),
        embedding(f"{embeddings}.{names.region_position}", "vision/position"),
    ]


def head_entries(config: ModelConfig, names: Names) -> Entries:
    """The heads that the model has."""
    entries: Entries = []
    for name, head in config.heads.items():
        ours, kind = f"heads_{name}", head.get("kind", name)
        if kind == "mlm":
            entries.append(word_entries(f"{names.heads}predictions", ours, names.decoder_bias))
        elif kind == "itm":
            entries.append(linear(f"{names.heads}seq_relationship", f"{ours}/dense"))
        elif kind == "phrase_grounding":
            parts = ("query", "key")
            entries.append([linear(f"{names.grounding}.{x}", f"{ours}/{x}") for x in parts])
        else:
            entries.append(linear(names.classifier, f"{ours}/output"))
    return entries


def word_entries(published: str, ours: str, decoder_bias: bool) -> Entries:
    """The masked-word head."""
    if decoder_bias:
        return mlm_head(published, ours)
    transform = prediction_transform(f"{published}.transform", ours)
    return [transform, raw(f"{published}.bias", f"{ours}/bias")]


def huggingface_config(config: ModelConfig) -> dict[str, Any]:
    """Returns the entries of `config.json`; transformers ignores `default_visual_type`."""
    vision, text, fusion = config.vision_args, config.text_args, config.fusion_args
    classes = [head["classes"] for head in config.heads.values() if "classes" in head]
    return {
        "model_type": HUGGINGFACE_TYPE,
        "visual_embedding_dim": vision["feature_width"],
        "default_visual_type": vision["default_type"],
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["max_length"],
        "type_vocab_size": text["types"],
        "hidden_size": text["width"],
        "num_hidden_layers": fusion["layers"],
        "num_attention_heads": fusion["heads"],
        "intermediate_size": fusion["mlp_width"],
        "hidden_dropout_prob": fusion["dropout"],
        "attention_probs_dropout_prob": fusion["attention_dropout"],
        "layer_norm_eps": fusion["epsilon"],
        "hidden_act": fusion["activation"],
        "pad_token_id": 0,
        **({"num_labels": classes[0]} if classes else {}),
    }


def base_sizes(feature_width: int, **others: Any) -> dict[str, Any]:
    """The one published size, BERT-base, for features of a detector."""
    return {
        "visual_embedding_dim": feature_width,
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        **others,
    }


def _register(
    name: str,
    task: str,
    sizes: Mapping[str, Any],
    heads: Callable[[Mapping[str, Any]], Heads],
    architecture: str,
    parameters: int,
    pooler: str = "tanh",
    directory: Names = HUGGINGFACE,
) -> None:
    table = lambda names: partial(layout_table, names=names)
    parts = {} if directory is HUGGINGFACE else {"part of a directory": Layout(table(HUGGINGFACE))}
    register(
        Published(
            name=name,
            family="visualbert",
            task=task,
            sizes=sizes,
            from_published=partial(model_config, heads=heads, pooler=pooler),
            key_table=table(ORIGINAL),
            parameters=parameters,
            paper=PAPER,
            conventions=CONVENTIONS,
            inputs=NLVR2_INPUTS if task == "nlvr2" else INPUTS,
            layouts={
                "huggingface": Layout(table(directory), architecture, huggingface_config),
                "unwrapped": Layout(table(UNWRAPPED)),
                **parts,
            },
        )
    )


# Pre-training on COCO captions, once for the detector of each target task.
for _name, _width, _parameters in (
    ("visualbert", 2048, 112_074_812),
    ("visualbert_nlvr2_pretrain", 1024, 111_288_380),
    ("visualbert_vcr_pretrain", 512, 110_895_164),
    ("visualbert_flickr_pretrain", 2054, 112_079_420),
):
    _register(
        _name,
        "pretrain",
        base_sizes(_width),
        pretrain_heads,
        "VisualBertForPreTraining",
        _parameters,
    )

_register(
    "visualbert_vqa",
    "vqa",
    base_sizes(2048),
    vqa_heads,
    "VisualBertForQuestionAnswering",
    113_856_825,
    pooler="answer_token",
)
_register(
    "visualbert_nlvr2",
    "nlvr2",
    base_sizes(1024),
    nlvr2_heads,
    "VisualBertForVisualReasoning",
    110_665_730,
)
_register(
    "visualbert_vcr",
    "vcr",
    base_sizes(512),
    vcr_heads,
    "VisualBertForMultipleChoice",
    110_271_745,
)
_register(
    "visualbert_flickr",
    "flickr",
    base_sizes(2054),
    grounding_heads,
    "VisualBertForRegionToPhraseAlignment",
    112_177_852,
)
_register(
    "visualbert_trunk",
    "trunk",
    base_sizes(2048),
    no_heads,
    "VisualBertModel",
    111_450_624,
    directory=HUGGINGFACE_TRUNK,
)
