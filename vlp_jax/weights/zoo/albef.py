"""ALBEF (Li et al. 2021): presets, conventions and the key table of its published files.

"Align before Fuse: Vision and Language Representation Learning with Momentum Distillation",
https://arxiv.org/abs/2107.07651; code and weights: github.com/salesforce/ALBEF.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vlp_jax.config import ModelConfig
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.weights.conversion import State
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.key_groups import bert_embeddings, bert_layer, mlm_head, vit_block
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    key_table,
    linear,
    merge_heads,
    norm,
    patch_conv,
    raw,
    split_heads,
)
from vlp_jax.weights.zoo.base import Conventions, Published, register

PAPER = "Align before Fuse (Li et al. 2021), https://arxiv.org/abs/2107.07651"
CONVENTIONS = Conventions(match_index=1, add_sep=False, mlm_ignore=-100)

# `dataset/utils.py` cleans and cuts at 30 words, questions at test time at 50; of word pieces only
# retrieval limits the number (`Retrieval.py`, max_length = 30).
CAPTIONS = TextRules("albef", max_words=30, length=30, add_sep=False)
SENTENCES = TextRules("albef", max_words=30, add_sep=False)
QUESTIONS = TextRules("albef", max_words=50, add_sep=False)
TEXTS = {"vqa": QUESTIONS, "nlvr2": SENTENCES, "ve": SENTENCES}

# Buffers, and the momentum teacher with its queues: training state, absent from released files.
UNMODELLED = (r".*\.position_ids", r"\w+_m\..*", r"(image|text|idx)_queue", r"queue_ptr")
MOMENTUM = r"^(visual_encoder|text_encoder|text_decoder|vision_proj|text_proj|cls_head)\."


def model_config(
    published: Mapping[str, Any],
    heads: Mapping[str, Mapping[str, Any]],
    fusion: str = "cross_attention",
) -> ModelConfig:
    """Returns the model of a published config with the given heads."""
    vision, bert = published["visual_encoder"], published["bert_config"]
    return ModelConfig(
        vision="vit",
        vision_args=dict(
            image_size=vision["img_size"],
            patch_size=vision["patch_size"],
            width=vision["embed_dim"],
            layers=vision["depth"],
            heads=vision["num_heads"],
            mlp_width=int(vision["embed_dim"] * vision["mlp_ratio"]),
            epsilon=vision["layer_norm_eps"],
        ),
        text="bert",
        text_args=dict(
            width=bert["hidden_size"],
            layers=bert["fusion_layer"],
            **_vocabulary_args(bert),
            **_layer_args(bert),
        ),
        fusion=fusion,
        fusion_args=dict(
            layers=bert["num_hidden_layers"] - bert["fusion_layer"], **_layer_args(bert)
        ),
        heads=dict(heads),
    )


def _layer_args(bert: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        heads=bert["num_attention_heads"],
        mlp_width=bert["intermediate_size"],
        dropout=bert["hidden_dropout_prob"],
        attention_dropout=bert["attention_probs_dropout_prob"],
        epsilon=bert["layer_norm_eps"],
    )


def _vocabulary_args(bert: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        vocab_size=bert["vocab_size"],
        max_length=bert["max_position_embeddings"],
        types=bert["type_vocab_size"],
    )


def _classifier(classes: int, form: str) -> dict[str, Any]:
    return {"kind": "classifier", "classes": classes, "form": form}


def pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """Pre-training: contrastive, matching and masked-word heads."""
    heads = {"itc": {"width": published["embed_dim"]}, "itm": {}, "mlm": _mlm(published)}
    return model_config(published, heads)


def _mlm(published: Mapping[str, Any]) -> dict[str, Any]:
    return {"epsilon": published["bert_config"]["layer_norm_eps"]}


def pretrain_table(config: ModelConfig) -> KeyTable:
    """ALBEF.pth and ALBEF_4M.pth."""
    words = "text_encoder.cls.predictions"
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder.bert", tied=[f"{words}.decoder.weight"]),
        fusion_entries(config, "text_encoder.bert"),
        mlm_head(words, "heads_mlm"),
        contrastive_entries(),
        linear("itm_head", "heads_itm/dense"),
        unmodelled=UNMODELLED,
    )


def retrieval_config(published: Mapping[str, Any]) -> ModelConfig:
    """Retrieval and grounding: contrastive and matching heads."""
    return model_config(published, {"itc": {"width": published["embed_dim"]}, "itm": {}})


def retrieval_table(config: ModelConfig) -> KeyTable:
    """mscoco.pth, flickr30k.pth and refcoco.pth."""
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder"),
        fusion_entries(config, "text_encoder"),
        contrastive_entries(),
        linear("itm_head", "heads_itm/dense"),
        unmodelled=UNMODELLED,
    )


def entailment_config(published: Mapping[str, Any]) -> ModelConfig:
    """SNLI-VE: 0 contradiction, 1 neutral, 2 entailment."""
    return model_config(published, {"ve": _classifier(3, "mlp_relu")})


def entailment_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned SNLI-VE files."""
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder"),
        fusion_entries(config, "text_encoder"),
        classifier_entries("ve"),
        unmodelled=UNMODELLED,
    )


def nlvr2_config(published: Mapping[str, Any]) -> ModelConfig:
    """NLVR2: is the sentence true of both images together? 0 no, 1 yes."""
    heads = {"nlvr2": _classifier(2, "mlp_relu")}
    return model_config(published, heads, fusion="two_image_cross_attention")


def nlvr2_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned NLVR2 files."""
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder"),
        two_image_entries(config, "text_encoder"),
        classifier_entries("nlvr2"),
        unmodelled=UNMODELLED,
    )


def text_assignment_config(published: Mapping[str, Any]) -> ModelConfig:
    """Text assignment, NLVR2's own pre-training: the text is of image 0, image 1, or neither."""
    heads = {"itc": {"width": published["embed_dim"]}, "ta": _classifier(3, "linear")}
    return model_config(published, heads, fusion="two_image_cross_attention")


def text_assignment_table(config: ModelConfig) -> KeyTable:
    """pretrain_model_nlvr.pth."""
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder"),
        two_image_entries(config, "text_encoder"),
        contrastive_entries(),
        linear("ta_head", "heads_ta/output"),
        unmodelled=UNMODELLED,
    )


def vqa_config(published: Mapping[str, Any]) -> ModelConfig:
    """VQA: answers are decoded from the fused question."""
    bert = published["bert_config"]
    decoder = dict(
        kind="answer_decoder",
        layers=published["decoder"]["num_hidden_layers"],
        **_vocabulary_args(bert),
        **_layer_args(bert),
    )
    return model_config(published, {"answer": decoder})


def vqa_table(config: ModelConfig) -> KeyTable:
    """vqa.pth."""
    decoder, words = config.heads["answer"], "text_decoder.cls.predictions"
    return key_table(
        vision_entries(config),
        text_entries(config, "text_encoder"),
        fusion_entries(config, "text_encoder"),
        bert_embeddings(
            "text_decoder.bert.embeddings", "heads_answer", tied=[f"{words}.decoder.weight"]
        ),
        [
            bert_layer(
                f"text_decoder.bert.encoder.layer.{i}",
                f"heads_answer/layer_{i}",
                decoder["heads"],
                cross="crossattention",
            )
            for i in range(decoder["layers"])
        ],
        mlm_head(words, "heads_answer/words"),
        unmodelled=UNMODELLED,
    )


def vision_entries(config: ModelConfig) -> Entries:
    """The ViT, under timm's names."""
    args = config.vision_args
    return [
        raw("visual_encoder.cls_token", "vision/class_token"),
        raw("visual_encoder.pos_embed", "vision/positions"),
        patch_conv("visual_encoder.patch_embed.proj", "vision/patch_embedding", args["patch_size"]),
        [
            vit_block(f"visual_encoder.blocks.{i}", f"vision/layer_{i}", args["heads"])
            for i in range(args["layers"])
        ],
        norm("visual_encoder.norm", "vision/norm"),
    ]


def text_entries(config: ModelConfig, published: str, tied: Iterable[str] = ()) -> Entries:
    """The text-only layers of the one published BERT, and its embeddings."""
    args = config.text_args
    return [
        bert_embeddings(f"{published}.embeddings", "text", tied),
        [
            bert_layer(f"{published}.encoder.layer.{i}", f"text/layer_{i}", args["heads"])
            for i in range(args["layers"])
        ],
    ]


def fusion_entries(config: ModelConfig, published: str) -> Entries:
    """The layers of the same BERT that read the image."""
    heads, first = config.fusion_args["heads"], config.text_args["layers"]
    layer = lambda i: f"{published}.encoder.layer.{first + i}"
    return [
        bert_layer(layer(i), f"fusion/layer_{i}", heads, cross="crossattention")
        for i in range(config.fusion_args["layers"])
    ]


def two_image_entries(config: ModelConfig, published: str) -> Entries:
    """Pairs of layers, one an image; the file repeats the key and value that a pair shares."""
    heads, first = config.fusion_args["heads"], config.text_args["layers"]
    entries: Entries = []
    for pair in range(config.fusion_args["layers"]):
        names = [f"{published}.encoder.layer.{first + 2 * pair + i}" for i in range(2)]
        for part in ("key", "value"):
            own, twin = (f"{name}.crossattention.self.{part}" for name in names)
            entries.append(split_heads(own, f"fusion/layer_{pair}/{part}", heads, tied=[twin]))
        for which, name in zip(("first", "second"), names):
            ours = f"fusion/layer_{pair}/{which}/cross_attention"
            entries += [
                bert_layer(name, f"fusion/layer_{pair}/{which}", heads),
                split_heads(f"{name}.crossattention.self.query", f"{ours}/attention/query", heads),
                merge_heads(
                    f"{name}.crossattention.output.dense", f"{ours}/attention/output", heads
                ),
                norm(f"{name}.crossattention.output.LayerNorm", f"{ours}/norm"),
            ]
    return entries


def classifier_entries(head: str) -> Entries:
    """`cls_head`: Linear, ReLU, Linear."""
    return [
        linear("cls_head.0", f"heads_{head}/hidden"),
        linear("cls_head.2", f"heads_{head}/output"),
    ]


def contrastive_entries() -> Entries:
    """Projections and temperature of the contrastive head."""
    return [
        linear("vision_proj", "heads_itc/image_projection"),
        linear("text_proj", "heads_itc/text_projection"),
        raw("temp", "heads_itc/temperature"),
    ]


def momentum_table(table: KeyTable) -> KeyTable:
    """Returns the table of the momentum copies (`*_m`), which fill the same parameters."""
    return table.renamed(MOMENTUM, r"\1_m.")


def resize_positions(state: State, config: ModelConfig) -> State:
    """Resizes stored position embeddings, online and momentum, to the model's patch grid."""
    args = config.vision_args
    grid = args["image_size"] // args["patch_size"]
    state = dict(state)
    for name in ("visual_encoder.pos_embed", "visual_encoder_m.pos_embed"):
        if name in state and state[name].shape[1] != grid**2 + 1:
            table = np.asarray(state[name], np.float32)[0]
            old = round((len(table) - 1) ** 0.5)
            state[name] = resize_position_grid(table, old, grid)[None]
    return state


def base_sizes(image_size: int) -> dict[str, Any]:
    """The one published size, ViT-B/16 and BERT-base, at an image resolution."""
    return {
        "image_res": image_size,
        "embed_dim": 256,
        "visual_encoder": {
            "img_size": image_size,
            "patch_size": 16,
            "embed_dim": 768,
            "depth": 12,
            "num_heads": 12,
            "mlp_ratio": 4,
            "layer_norm_eps": 1e-6,
        },
        "bert_config": {
            "vocab_size": 30522,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "fusion_layer": 6,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "layer_norm_eps": 1e-12,
        },
        "decoder": {"num_hidden_layers": 6},
    }


for _name, _task, _image_size, _build, _table, _parameters in (
    ("albef", "pretrain", 256, pretrain_config, pretrain_table, 209_937_725),
    ("albef_4m", "pretrain", 256, pretrain_config, pretrain_table, 209_937_725),
    ("albef_retrieval", "retrieval", 384, retrieval_config, retrieval_table, 209_560_835),
    ("albef_grounding", "grounding", 384, retrieval_config, retrieval_table, 209_560_835),
    ("albef_vqa", "vqa", 384, vqa_config, vqa_table, 290_336_058),
    ("albef_nlvr2", "nlvr2", 384, nlvr2_config, nlvr2_table, 259_381_250),
    (
        "albef_nlvr2_pretrain",
        "nlvr2_pretrain",
        256,
        text_assignment_config,
        text_assignment_table,
        258_939_396,
    ),
    ("albef_ve", "ve", 384, entailment_config, entailment_table, 209_758_467),
):
    register(
        Published(
            name=_name,
            family="albef",
            task=_task,
            sizes=base_sizes(_image_size),
            from_published=_build,
            key_table=_table,
            parameters=_parameters,
            paper=PAPER,
            conventions=CONVENTIONS,
            inputs=InputRules(TEXTS.get(_task, CAPTIONS)),
            adapt=resize_positions,
        )
    )
