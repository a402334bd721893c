"""UNITER (Chen et al. 2020): conventions, configs and the key tables of its published files.

"UNITER: UNiversal Image-TExt Representation Learning", https://arxiv.org/abs/1909.11740; code and
weights: github.com/ChenRocks/UNITER.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_jax.config import ModelConfig
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.weights.conversion import State
from vlp_jax.weights.key_groups import bert_embeddings, bert_layer, mlm_head
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    fused_qkv,
    key_table,
    linear,
    merge_heads,
    norm,
    raw,
    transposed,
)
from vlp_jax.weights.zoo.base import Conventions

PAPER = "UNITER (Chen et al. 2020), https://arxiv.org/abs/1909.11740"
CONVENTIONS = Conventions(match_index=1, add_sep=True, mlm_ignore=-1, vocabulary="bert-base-cased")

# Words are cut at blanks first and then into pieces, which are not limited at test time; the first
# n regions of the file are shown, n being the number of confident ones (`data/data.py`).
INPUTS = InputRules(
    TextRules("uniter"),
    regions=Rules(min_confidence=0.2, min_boxes=10, max_boxes=100, order="file"),
    pair_types=(1, 2),
    choice_types=(0, 2),
    separator_follows=True,
    entailment=("contradiction", "entailment", "neutral"),
    aligned=True,
)
# Referring expressions see every region.
EVERY_REGION = Rules(min_boxes=10, max_boxes=100, order="file")

WORDS = "cls.predictions"
TYPES = "uniter.embeddings.token_type_embeddings.weight"
UNMODELLED = (r".*\.position_ids",)
# Ranking starts from a pre-training file, whose other heads it does not use.
PRETRAINING_HEADS = (r"(cls|feat_regress|region_classifier)\..*",)

# Regions have type 1, and type 2 in the second image of a pair; VCR's answers and rationales have
# types of their own.
REGION_TYPE = 1
PAIR_TYPES = 3
VCR_TYPES = 4


def model_config(
    published: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]], types: int = 2
) -> ModelConfig:
    """Returns the model of a published config with the given heads and at least `types` types."""
    dropout = published["hidden_dropout_prob"]
    return ModelConfig(
        vision="regions",
        vision_args=dict(
            feature_width=published["img_dim"],
            width=published["hidden_size"],
            boxes="corners_size_area",
            feature_norm=True,
            box_norm=True,
            text_type=REGION_TYPE,
            mask_embedding=True,
            dropout=dropout,
        ),
        text="bert",
        text_args=dict(
            vocab_size=published["vocab_size"],
            width=published["hidden_size"],
            layers=0,
            max_length=published["max_position_embeddings"],
            types=max(types, published["type_vocab_size"]),
            dropout=dropout,
        ),
        fusion="single_stream",
        fusion_args=dict(
            layers=published["num_hidden_layers"],
            heads=published["num_attention_heads"],
            mlp_width=published["intermediate_size"],
            dropout=dropout,
            attention_dropout=published["attention_probs_dropout_prob"],
            activation=published["hidden_act"],
        ),
        pooler="tanh",
        heads=dict(heads),
        init_std=published["initializer_range"],
    )


def pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """Pre-training: masked words, region features and classes, matching."""
    return model_config(published, _pretrain_heads(published))


def _pretrain_heads(published: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    classes, width = published["img_label_dim"], published["hidden_size"]
    return {
        "mlm": {"activation": published["hidden_act"]},
        "itm": {},
        "region_feature": {},
        "region_classifier": {"classes": classes, "hidden": width},
    }


def pretrain_table(config: ModelConfig) -> KeyTable:
    """uniter-base.pt and uniter-large.pt."""
    return key_table(
        body_entries(config, pretrained=True),
        mlm_head(WORDS, "heads_mlm"),
        linear("itm_output", "heads_itm/dense"),
        _region_feature_entries(),
        mlp_entries("region_classifier.net", "heads_region_classifier"),
        unmodelled=UNMODELLED,
    )


def vcr_pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """The second pre-training on VCR: all heads, with VCR's words and types."""
    published = with_special_words(published)
    return model_config(published, _pretrain_heads(published), VCR_TYPES)


def vqa_config(published: Mapping[str, Any]) -> ModelConfig:
    """VQA: a classifier over answers."""
    return model_config(published, {"vqa": {"classes": published["num_answer"]}})


def vqa_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned VQA files."""
    return _task_table(config, mlp_entries("vqa_output", "heads_vqa"))


def entailment_config(published: Mapping[str, Any]) -> ModelConfig:
    """SNLI-VE: three classes, by the model for VQA."""
    classes = published.get("num_answer", 3)
    return model_config(published, {"ve": {"kind": "classifier", "classes": classes}})


def entailment_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned SNLI-VE files, which name their head as for VQA."""
    return _task_table(config, mlp_entries("vqa_output", "heads_ve"))


def nlvr2_config(published: Mapping[str, Any]) -> ModelConfig:
    """NLVR2 with paired attention: is the sentence true of both images? 0 no, 1 yes."""
    head = dict(
        kind="paired_attention",
        heads=published["num_attention_heads"],
        dropout=published["hidden_dropout_prob"],
        attention_dropout=published["attention_probs_dropout_prob"],
    )
    return model_config(published, {"nlvr2": head}, PAIR_TYPES)


def nlvr2_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned NLVR2 files."""
    heads, ours = config.heads["nlvr2"]["heads"], "heads_nlvr2"
    attentions = {"attn1": f"{ours}/first_attention", "attn2": f"{ours}/second_attention"}
    return _task_table(
        config,
        [
            [
                fused_qkv(f"{published}.in_proj_", path, heads),
                merge_heads(f"{published}.out_proj", f"{path}/output", heads),
            ]
            for published, path in attentions.items()
        ],
        linear("fc.0", f"{ours}/join"),
        linear("attn_pool.fc.0", f"{ours}/pool/score"),
        linear("nlvr2_output", f"{ours}/output"),
    )


def retrieval_config(published: Mapping[str, Any]) -> ModelConfig:
    """Retrieval: a ranking score; the matching head is where it started from."""
    heads = {"itm": {}, "rank": {"kind": "classifier", "classes": 1, "form": "linear"}}
    return model_config(published, heads)


def retrieval_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned retrieval files, and pre-training files for zero-shot ranking."""
    return _task_table(
        config,
        linear("itm_output", "heads_itm/dense"),
        linear("rank_output", "heads_rank/output"),
        unmodelled=PRETRAINING_HEADS,
    )


def expression_config(published: Mapping[str, Any]) -> ModelConfig:
    """Referring expressions: a score for each region, from one layer or (`mlp`: 2) from two."""
    layers = published["mlp"]
    if layers not in (1, 2):
        raise ValueError(f'"mlp" is {layers}; UNITER\'s referring expressions take 1 or 2')
    form = {"form": "linear"} if layers == 1 else {"hidden": published["hidden_size"]}
    return model_config(published, {"re": {"kind": "region_score"} | form})


def expression_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned RefCOCO, RefCOCO+ and RefCOCOg files."""
    if config.heads["re"].get("form") == "linear":
        return _task_table(config, linear("re_output", "heads_re/output"))
    return _task_table(config, mlp_entries("re_output", "heads_re"))


def vcr_config(published: Mapping[str, Any]) -> ModelConfig:
    """VCR: is this the answer, or the rationale? 0 no, 1 yes."""
    hidden = 2 * published["hidden_size"]
    head = dict(kind="classifier", classes=2, form="mlp_relu_norm", hidden=hidden)
    return model_config(with_special_words(published), {"vcr": head}, VCR_TYPES)


def vcr_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned VCR files."""
    return _task_table(config, mlp_entries("vcr_output", "heads_vcr"))


def with_special_words(published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with VCR's special words after the vocabulary."""
    extra = published.get("num_special_tokens", 0)
    return {**published, "vocab_size": published["vocab_size"] + extra}


def _task_table(config: ModelConfig, *heads: Entries, unmodelled: tuple = ()) -> KeyTable:
    return key_table(body_entries(config), *heads, unmodelled=(*UNMODELLED, *unmodelled))


def body_entries(config: ModelConfig, pretrained: bool = False) -> Entries:
    """`uniter.*`: embeddings, layers and pooler; pre-training files repeat two of its tensors."""
    heads = config.fusion_args["heads"]
    image = "uniter.img_embeddings"
    return [
        bert_embeddings(
            "uniter.embeddings", "text", tied=[f"{WORDS}.decoder.weight"] if pretrained else []
        ),
        transposed(
            f"{image}.img_linear.weight",
            "vision/feature_projection/kernel",
            tied=["feat_regress.weight"] if pretrained else [],
        ),
        raw(f"{image}.img_linear.bias", "vision/feature_projection/bias"),
        norm(f"{image}.img_layer_norm", "vision/feature_norm"),
        linear(f"{image}.pos_linear", "vision/box_projection"),
        norm(f"{image}.pos_layer_norm", "vision/box_norm"),
        raw(f"{image}.mask_embedding.weight", "vision/mask_embedding"),
        norm(f"{image}.LayerNorm", "vision/norm"),
        [
            bert_layer(f"uniter.encoder.layer.{i}", f"fusion/layer_{i}", heads)
            for i in range(config.fusion_args["layers"])
        ],
        linear("uniter.pooler.dense", "pooler/dense"),
    ]


def mlp_entries(published: str, ours: str) -> Entries:
    """`Linear`, activation, layer norm, `Linear`, as torch numbers them."""
    return [
        linear(f"{published}.0", f"{ours}/hidden"),
        norm(f"{published}.2", f"{ours}/norm"),
        linear(f"{published}.3", f"{ours}/output"),
    ]


def _region_feature_entries() -> Entries:
    return [
        linear("feat_regress.net.0", "heads_region_feature/transform"),
        norm("feat_regress.net.2", "heads_region_feature/norm"),
        raw("feat_regress.bias", "heads_region_feature/bias"),
    ]


def more_types(state: State, config: ModelConfig) -> State:
    """Gives the second image of a pair the type of the first, where the file has no type for it.

    That is how fine-tuning on NLVR2 starts from pre-trained weights.
    """
    table = state.get(TYPES)
    if table is None or table.ndim != 2 or len(table) != PAIR_TYPES - 1:
        return state
    return {**state, TYPES: np.concatenate([table, table[REGION_TYPE:]])}


def start_of_ranking(state: State, config: ModelConfig) -> State:
    """Takes the ranking score from the matching logit, where the file has no ranking head."""
    matching = [f"itm_output.{part}" for part in ("weight", "bias")]
    if "rank_output.weight" in state or any(name not in state for name in matching):
        return state
    index = CONVENTIONS.match_index
    rows = {f"rank_output.{n.split('.')[1]}": state[n][index : index + 1] for n in matching}
    return {**state, **rows}
