"""LXMERT (Tan and Bansal 2019): presets, conventions and the key tables of its published files.

"LXMERT: Learning Cross-Modality Encoder Representations from Transformers",
https://arxiv.org/abs/1908.07490; code: github.com/airsplay/lxmert; weights also as the Hugging Face
directories unc-nlp/lxmert-{base,vqa,gqa}-uncased.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.encoders.regions import BOX_ENCODINGS
from vlp_jax.layers.activation import ACTIVATIONS
from vlp_jax.weights.key_groups import (
    bert_embeddings,
    bert_layer,
    post_norm_attention,
    post_norm_feed_forward,
    prediction_transform,
)
from vlp_jax.weights.key_table import Entries, KeyTable, key_table, linear, norm, raw
from vlp_jax.weights.zoo.base import Conventions, Layout, Published, register

PAPER = "LXMERT (Tan and Bansal 2019), https://arxiv.org/abs/1908.07490"
CONVENTIONS = Conventions(match_index=1, add_sep=True, mlm_ignore=-1)
# `src/lxrt/entry.py` (20 tokens) and `src/utils.py` (36 regions).
INPUTS = InputRules(TextRules(length=20), regions=Rules(max_boxes=36, order="file"))

# Each table's first row is torch's padding row, so [CLS]'s position and type 0 are never trained.
FROZEN_FIRST_ROWS = ("word", "position", "type")
UNMODELLED = (r".*\.position_ids",)
PRETRAINING_HEADS = (r"(cls|obj_predict_head|answer_head)\..*",)

# What a multi-GPU fine-tuning run puts before the encoder's names, and what a single-GPU run does.
FINE_TUNED, FINE_TUNED_PARALLEL = "lxrt_encoder.model.bert.", "lxrt_encoder.model.module.bert."

BASE = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "l_layers": 9,
    "r_layers": 5,
    "x_layers": 5,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "visual_feat_dim": 2048,
    "visual_pos_dim": 4,
    "num_object_labels": 1600,
    "num_attr_labels": 400,
    "num_qa_labels": 9500,
}
VQA = {"num_qa_labels": 3129}
GQA = {"num_qa_labels": 1842}  # airsplay/lxmert issue 24: the answers of train and validation
NLVR2 = {"num_labels": 2}


def model_config(
    published: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]
) -> ModelConfig:
    """Returns the model of a published config with the given heads."""
    width = published["hidden_size"]
    layer = dict(
        heads=published["num_attention_heads"],
        mlp_width=published["intermediate_size"],
        dropout=published["hidden_dropout_prob"],
        attention_dropout=published["attention_probs_dropout_prob"],
        activation=published["hidden_act"],
    )
    return ModelConfig(
        vision="regions",
        vision_args=dict(
            feature_width=published["visual_feat_dim"],
            width=width,
            boxes=_box_encoding(published["visual_pos_dim"]),
            feature_norm=True,
            box_norm=True,
            output_norm=False,
            average=True,
            layers=published["r_layers"],
            **layer,
        ),
        text="bert",
        text_args=dict(
            vocab_size=published["vocab_size"],
            width=width,
            layers=published["l_layers"],
            max_length=published["max_position_embeddings"],
            types=published["type_vocab_size"],
            frozen_first_rows=FROZEN_FIRST_ROWS,
            **layer,
        ),
        fusion="cross_modality",
        fusion_args=dict(layers=published["x_layers"], **layer),
        pooler="tanh",
        heads=dict(heads),
    )


def _complete(published: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the base model's value for each entry left out, as Hugging Face does."""
    sizes = {**BASE, **published}
    ACTIVATIONS.get_known(sizes["hidden_act"], "hidden_act")
    return sizes


def _box_encoding(width: int) -> str:
    """Returns the box encoding of a width; 4, the corners, is the only one published."""
    for name, (numbers, _) in BOX_ENCODINGS.items():
        if numbers == width > 0:
            return name
    known = ", ".join(str(numbers) for numbers, _ in BOX_ENCODINGS.values() if numbers)
    raise ValueError(f"visual_pos_dim = {width}: no box encoding is that wide. Known: {known}")


def trunk_config(published: Mapping[str, Any]) -> ModelConfig:
    """Encoders, fusion and pooler alone."""
    return model_config(_complete(published), {})


def trunk_table(config: ModelConfig, prefix: str = "") -> KeyTable:
    """Hugging Face's `LxmertModel`; with a prefix the same part of a pre-training file."""
    unmodelled = UNMODELLED + PRETRAINING_HEADS if prefix else UNMODELLED
    return key_table(encoder_entries(config, prefix), unmodelled=unmodelled)


def pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """Pre-training: words, matching, region labels and features, answers.

    Hugging Face's switches `task_obj_predict`, `visual_*_loss` and `task_qa` leave heads out.
    """
    sizes = _complete(published)
    activation = {"activation": sizes["hidden_act"]}
    heads: dict[str, dict[str, Any]] = {"mlm": dict(activation), "itm": {}}
    if sizes.get("task_obj_predict", True):
        heads["regions"] = {
            "kind": "region_labels",
            "objects": sizes["num_object_labels"] * sizes.get("visual_obj_loss", True),
            "attributes": sizes["num_attr_labels"] * sizes.get("visual_attr_loss", True),
            "features": sizes["visual_feat_dim"] * sizes.get("visual_feat_loss", True),
            **activation,
        }
    if sizes.get("task_qa", True):
        heads["vqa"] = _classifier(sizes, sizes["num_qa_labels"])
    return model_config(sizes, heads)


def pretrain_table(config: ModelConfig, prefix: str = "bert.") -> KeyTable:
    """model_LXRT.pth, and Hugging Face's `LxmertForPreTraining` with its own prefix."""
    return key_table(
        encoder_entries(config, prefix, tied=["cls.predictions.decoder.weight"]),
        prediction_transform("cls.predictions.transform", "heads_mlm"),
        raw("cls.predictions.bias", "heads_mlm/bias"),
        linear("cls.seq_relationship", "heads_itm/dense"),
        region_entries(config.heads["regions"]) if "regions" in config.heads else [],
        classifier_entries("answer_head.logit_fc", "vqa") if "vqa" in config.heads else [],
        unmodelled=UNMODELLED,
    )


def answer_config(published: Mapping[str, Any]) -> ModelConfig:
    """VQA and GQA: `num_labels` answers, which Hugging Face's config calls `num_qa_labels`."""
    sizes = _complete(published)
    classes = sizes.get("num_labels", sizes["num_qa_labels"])
    return model_config(sizes, {"vqa": _classifier(sizes, classes)})


def answer_table(config: ModelConfig, prefix: str = FINE_TUNED, head: str = "logit_fc") -> KeyTable:
    """Fine-tuned VQA and GQA files, and Hugging Face's `LxmertForQuestionAnswering`."""
    return key_table(
        encoder_entries(config, prefix), classifier_entries(head, "vqa"), unmodelled=UNMODELLED
    )


def nlvr2_config(published: Mapping[str, Any]) -> ModelConfig:
    """NLVR2: each image is fused with the sentence on its own; 0 the sentence is false, 1 true."""
    sizes = _complete(published)
    head = _classifier(sizes, sizes.get("num_labels", 2)) | {"kind": "pair_classifier"}
    return model_config(sizes, {"nlvr2": head})


def nlvr2_table(config: ModelConfig, prefix: str = FINE_TUNED) -> KeyTable:
    """Fine-tuned NLVR2 files."""
    return key_table(
        encoder_entries(config, prefix),
        classifier_entries("logit_fc", "nlvr2"),
        unmodelled=UNMODELLED,
    )


def _classifier(published: Mapping[str, Any], classes: int) -> dict[str, Any]:
    hidden = 2 * published["hidden_size"]
    return {"kind": "classifier", "classes": classes, "form": "mlp_norm", "hidden": hidden}


def encoder_entries(config: ModelConfig, prefix: str, tied: list[str] | None = None) -> Entries:
    """Both encoders, the cross-modality layers and the pooler."""
    text, vision, fusion = config.text_args, config.vision_args, config.fusion_args
    encoder, regions = f"{prefix}encoder", f"{prefix}encoder.visn_fc"
    return [
        bert_embeddings(f"{prefix}embeddings", "text", tied or []),
        [
            bert_layer(f"{encoder}.layer.{i}", f"text/layer_{i}", text["heads"])
            for i in range(text["layers"])
        ],
        linear(f"{regions}.visn_fc", "vision/feature_projection"),
        norm(f"{regions}.visn_layer_norm", "vision/feature_norm"),
        linear(f"{regions}.box_fc", "vision/box_projection"),
        norm(f"{regions}.box_layer_norm", "vision/box_norm"),
        [
            bert_layer(f"{encoder}.r_layers.{i}", f"vision/layer_{i}", vision["heads"])
            for i in range(vision["layers"])
        ],
        [
            cross_layer(f"{encoder}.x_layers.{i}", f"fusion/layer_{i}", fusion["heads"])
            for i in range(fusion["layers"])
        ],
        linear(f"{prefix}pooler.dense", "pooler/dense"),
    ]


def cross_layer(published: str, ours: str, heads: int) -> Entries:
    """`CrossModalityLayer`: the one cross-attention, then each stream's own parts."""
    return [
        post_norm_attention(
            f"{published}.visual_attention", f"{ours}/cross_attention", heads, inner="att"
        ),
        [
            [
                post_norm_attention(
                    f"{published}.{theirs}_self_att", f"{ours}/{stream}_self_attention", heads
                ),
                post_norm_feed_forward(
                    f"{published}.{theirs}_inter",
                    f"{published}.{theirs}_output",
                    f"{ours}/{stream}_feed_forward",
                ),
            ]
            for theirs, stream in (("lang", "text"), ("visn", "image"))
        ],
    ]


def region_entries(head: Mapping[str, Any]) -> Entries:
    """`obj_predict_head`: one transform, and a decoder for each kind of label in use."""
    decoders = {"objects": "obj", "attributes": "attr", "features": "feat"}
    return [
        prediction_transform("obj_predict_head.transform", "heads_regions"),
        [
            linear(f"obj_predict_head.decoder_dict.{theirs}", f"heads_regions/{ours.rstrip('s')}")
            for ours, theirs in decoders.items()
            if head[ours]
        ],
    ]


def classifier_entries(published: str, head: str) -> Entries:
    """Linear, GELU, layer norm, Linear."""
    return [
        linear(f"{published}.0", f"heads_{head}/hidden"),
        norm(f"{published}.2", f"heads_{head}/norm"),
        linear(f"{published}.3", f"heads_{head}/output"),
    ]


def huggingface_config(config: ModelConfig) -> dict[str, Any]:
    """Returns the `config.json` entries of a model, under Hugging Face's names."""
    text, vision, heads = config.text_args, config.vision_args, config.heads
    regions = heads.get("regions", {"objects": 0, "attributes": 0, "features": 0})
    switches = {
        "task_obj_predict": "regions" in heads,
        "visual_obj_loss": regions["objects"] > 0,
        "visual_attr_loss": regions["attributes"] > 0,
        "visual_feat_loss": regions["features"] > 0,
        "task_qa": "vqa" in heads,
    }
    sizes = {
        "vocab_size": text["vocab_size"],
        "hidden_size": text["width"],
        "num_attention_heads": text["heads"],
        "intermediate_size": text["mlp_width"],
        "l_layers": text["layers"],
        "r_layers": vision["layers"],
        "x_layers": config.fusion_args["layers"],
        "hidden_act": text["activation"],
        "hidden_dropout_prob": text["dropout"],
        "attention_probs_dropout_prob": text["attention_dropout"],
        "max_position_embeddings": text["max_length"],
        "type_vocab_size": text["types"],
        "visual_feat_dim": vision["feature_width"],
        "visual_pos_dim": BOX_ENCODINGS[vision["boxes"]][0],
        "num_object_labels": regions["objects"] or BASE["num_object_labels"],
        "num_attr_labels": regions["attributes"] or BASE["num_attr_labels"],
        "num_qa_labels": heads["vqa"]["classes"] if "vqa" in heads else BASE["num_qa_labels"],
    }
    return {"model_type": "lxmert", **sizes, **(switches if "mlm" in heads else {})}


def _huggingface(table: Callable[[ModelConfig], KeyTable], architecture: str) -> dict[str, Layout]:
    return {"huggingface": Layout(table, architecture, huggingface_config)}


def _parallel(table: Callable[[ModelConfig], KeyTable]) -> dict[str, Layout]:
    return {"parallel": Layout(table)}


TRUNK_LAYOUTS = {
    **_huggingface(trunk_table, "LxmertModel"),
    "original": Layout(partial(trunk_table, prefix="bert.")),
    "huggingface_pretrain": Layout(partial(trunk_table, prefix="lxmert.")),
}
PRETRAIN_LAYOUTS = _huggingface(partial(pretrain_table, prefix="lxmert."), "LxmertForPreTraining")
ANSWER_LAYOUTS = _parallel(partial(answer_table, prefix=FINE_TUNED_PARALLEL)) | _huggingface(
    partial(answer_table, prefix="lxmert.", head="answer_head.logit_fc"),
    "LxmertForQuestionAnswering",
)
NLVR2_LAYOUTS = _parallel(partial(nlvr2_table, prefix=FINE_TUNED_PARALLEL))

for _name, _task, _sizes, _build, _table, _layouts, _parameters in (
    ("lxmert", "pretrain", {}, pretrain_config, pretrain_table, PRETRAIN_LAYOUTS, 228_051_752),
    ("lxmert_trunk", "trunk", {}, trunk_config, trunk_table, TRUNK_LAYOUTS, 207_936_768),
    ("lxmert_vqa", "vqa", VQA, answer_config, answer_table, ANSWER_LAYOUTS, 213_930_297),
    ("lxmert_gqa", "gqa", GQA, answer_config, answer_table, ANSWER_LAYOUTS, 211_952_178),
    ("lxmert_nlvr2", "nlvr2", NLVR2, nlvr2_config, nlvr2_table, NLVR2_LAYOUTS, 210_303_746),
):
    register(
        Published(
            name=_name,
            family="lxmert",
            task=_task,
            sizes=BASE | _sizes,
            from_published=_build,
            key_table=_table,
            parameters=_parameters,
            paper=PAPER,
            conventions=CONVENTIONS,
            inputs=INPUTS,
            layouts=_layouts,
        )
    )
