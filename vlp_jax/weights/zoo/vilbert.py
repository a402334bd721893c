"""ViLBERT (Lu et al. 2019, 2020): presets, conventions and the key table of its published files.

"ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for Vision-and-Language Tasks",
https://arxiv.org/abs/1908.02265, code: github.com/jiasenlu/vilbert_beta; and "12-in-1: Multi-Task
Vision and Language Representation Learning", https://arxiv.org/abs/1912.02315, code:
github.com/facebookresearch/vilbert-multi-task.
"""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.weights.zoo.base import Conventions, Published, register
from vlp_jax.weights.zoo.vilbert_keys import beta_table, multi_task_table, pretrain_table

PAPER = "ViLBERT (Lu et al. 2019), https://arxiv.org/abs/1908.02265"
PAPER_12IN1 = "12-in-1 (Lu et al. 2020), https://arxiv.org/abs/1912.02315"
CONVENTIONS = Conventions(match_index=0, add_sep=True, mlm_ignore=-1)

# The fixed probability of dropout after the poolers and before the scores of regions and words.
HEAD_DROPOUT = 0.1

# "TASK1" of the 12-in-1 release, the row for callers that name no task.
VQA_TASK = 1

# Most tokens of a text, by verb or head, and in 12-in-1 its task (`vilbert_tasks.yml`).
MULTI_TASK_TEXTS = {
    "answer": TextRules(length=23, task=VQA_TASK),
    "gqa": TextRules(length=26, task=15),
    "match": TextRules(length=30, task=7),
    "retrieve": TextRules(length=30, task=7),
    "ground": TextRules(length=20, task=9),
    "reason": TextRules(length=40, task=12),
    "entail": TextRules(length=56, task=13),
    "choose": TextRules(length=60, task=5),
}
# Those of its tasks that share a head, by name.
MULTI_TASK_TASKS = {
    "vqa": {"vqa": TextRules(length=23, task=VQA_TASK), "vg_qa": TextRules(length=26, task=2)},
    "ground": {
        "refcoco": TextRules(length=20, task=9),
        "refcocoplus": TextRules(length=20, task=10),
        "refcocog": TextRules(length=20, task=11),
    },
    "point": {
        "visual7w": TextRules(length=20, task=4),
        "guesswhat": TextRules(length=256, task=17),
    },
}
BETA_TEXTS = {
    "answer": TextRules(length=16),
    "match": TextRules(length=30),
    "retrieve": TextRules(length=30),
    "ground": TextRules(length=20),
    "choose": TextRules(length=60),
}


def input_rules(
    texts: Mapping[str, TextRules], tasks: Mapping[str, Mapping[str, TextRules]] = {}
) -> InputRules:
    """Returns how a model is given texts and 100 regions behind the one of the whole picture."""
    regions = Rules(max_boxes=100, order="file")
    return InputRules(TextRules(length=36), texts, regions, global_region=True, tasks=tasks)


# Switches of the research code that change the architecture and are off in every published config.
_UNPUBLISHED = {"dynamic_attention": False, "in_batch_pairs": False, "with_coattention": True}

_COMBINATIONS = {"mul": "product", "sum": "sum"}


def model_config(
    published: Mapping[str, Any], extra_heads: Mapping[str, Mapping[str, Any]]
) -> ModelConfig:
    """Returns the model of a published config: the pre-training heads and `extra_heads`."""
    _check(published)
    image_layers, text_layers = layer_counts(published)
    return ModelConfig(
        vision="regions",
        vision_args=_vision_args(published) | {"layers": image_layers[0]},
        text="bert",
        text_args=_text_args(published) | {"layers": text_layers[0]},
        fusion="co_attention",
        fusion_args=_fusion_args(published)
        | {
            "layers": len(image_layers) - 1,
            "image_layers": image_layers[1:],
            "text_layers": text_layers[1:],
        },
        pooler="product",
        pooler_args=dict(
            width=published["bi_hidden_size"],
            combine=_COMBINATIONS[published["fusion_method"]],
            dropout=HEAD_DROPOUT,
        ),
        heads=_pretrain_heads(published) | dict(extra_heads),
        init_std=published.get("initializer_range", 0.02),
    )


def layer_counts(published: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns how many image and text layers run before the first and after each connection.

    `v_biattention_id` and `t_biattention_id` say, for every connection layer, how many layers of
    its stream stand before it.
    """
    return (
        _counts(published, "v_biattention_id", "v_num_hidden_layers"),
        _counts(published, "t_biattention_id", "num_hidden_layers"),
    )


def _counts(published: Mapping[str, Any], ids_name: str, layers_name: str) -> tuple[int, ...]:
    ids, layers = list(published[ids_name]), published[layers_name]
    ends = [0, *ids, layers]
    if ends != sorted(ends):
        raise ValueError(
            f"{ids_name} = {ids}: expected ascending numbers from 0 to {layers_name} = {layers}"
        )
    return tuple(end - start for start, end in zip(ends, ends[1:]))


def _check(published: Mapping[str, Any]) -> None:
    """Raises ValueError for what no published ViLBERT has."""
    for name, value in _UNPUBLISHED.items():
        if published.get(name, value) != value:
            raise ValueError(
                f"{name} = {published[name]!r}: no published ViLBERT has this; expected {value}"
            )
    if published["fusion_method"] not in _COMBINATIONS:
        raise ValueError(
            f"fusion_method = {published['fusion_method']!r}: expected one of "
            f"{', '.join(_COMBINATIONS)}"
        )
    image, text = published["v_biattention_id"], published["t_biattention_id"]
    if len(image) != len(text):
        raise ValueError(
            f"v_biattention_id has {len(image)} and t_biattention_id {len(text)} entries; expected "
            "one each for every connection layer"
        )


def _text_args(published: Mapping[str, Any]) -> dict[str, Any]:
    has_tasks = published.get("task_specific_tokens", False)
    tasks = published.get("num_task_embeddings", 20) if has_tasks else 0
    return dict(
        vocab_size=published["vocab_size"],
        width=published["hidden_size"],
        heads=published["num_attention_heads"],
        mlp_width=published["intermediate_size"],
        max_length=published["max_position_embeddings"],
        types=published["type_vocab_size"],
        dropout=published["hidden_dropout_prob"],
        attention_dropout=published["attention_probs_dropout_prob"],
        activation=published["hidden_act"],
        tasks=tasks,
        task=min(VQA_TASK, max(tasks - 1, 0)),
    )


def _vision_args(published: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        feature_width=published["v_feature_size"],
        width=published["v_hidden_size"],
        boxes="corners_area",
        heads=published["v_num_attention_heads"],
        mlp_width=published["v_intermediate_size"],
        dropout=published["v_hidden_dropout_prob"],
        attention_dropout=published["v_attention_probs_dropout_prob"],
        embedding_dropout=published["hidden_dropout_prob"],
        activation=published["v_hidden_act"],
    )


def _fusion_args(published: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        heads=published["num_attention_heads"],
        mlp_width=published["intermediate_size"],
        width=published["bi_hidden_size"],
        connection_heads=published["bi_num_attention_heads"],
        image_heads=published["v_num_attention_heads"],
        image_mlp_width=published["v_intermediate_size"],
        dropout=published["hidden_dropout_prob"],
        attention_dropout=published["attention_probs_dropout_prob"],
        image_dropout=published["v_hidden_dropout_prob"],
        image_attention_dropout=published["v_attention_probs_dropout_prob"],
        activation=published["hidden_act"],
        image_activation=published["v_hidden_act"],
    )


def _pretrain_heads(published: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Words, matching and regions; the region head, too, uses the activation of the text.

    `visual_target` 0 predicts the detector's classes; 1 and 2 predict its features.
    """
    target = "objects" if published.get("visual_target", 0) == 0 else "features"
    sizes = {"objects": 0, "attributes": 0, "features": 0, target: published["v_target_size"]}
    return {
        "mlm": {"activation": published["hidden_act"]},
        "itm": {"match_index": CONVENTIONS.match_index},
        "regions": {"kind": "region_labels", "activation": published["hidden_act"], **sizes},
    }


def _score_heads() -> dict[str, dict[str, Any]]:
    """One score for a pair, for each region and for each word."""
    return {
        "ranking": {"kind": "classifier", "classes": 1, "form": "linear"},
        "grounding": {"kind": "region_scores", "dropout": HEAD_DROPOUT},
        "words": {"kind": "word_scores", "dropout": HEAD_DROPOUT},
    }


def pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """Pre-training: words, regions and matching."""
    return model_config(published, {})


def multi_task_config(published: Mapping[str, Any]) -> ModelConfig:
    """12-in-1: one model for twelve data sets, told by a token which one it reads."""
    hidden = 2 * published["bi_hidden_size"]
    mlp = {"kind": "classifier", "form": "mlp_norm", "hidden": hidden}
    heads = {
        "vqa": mlp | {"classes": published["num_vqa_labels"]},
        "gqa": mlp | {"classes": published["num_gqa_labels"]},
        "nlvr2": mlp | {"kind": "pair_classifier", "classes": 2},
        "ve": {"kind": "classifier", "classes": 3, "form": "linear"},
    }
    return model_config(published, heads | _score_heads())


def beta_config(published: Mapping[str, Any]) -> ModelConfig:
    """The first release's model for all tasks; its answer classifier is weight-normalised."""
    answers = dict(
        kind="weight_norm_classifier",
        classes=published["num_labels"],
        hidden=2 * published["bi_hidden_size"],
        dropout=0.5,
    )
    return model_config(published, {"vqa": answers} | _score_heads())


BASE_SIZES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "v_feature_size": 2048,
    "v_target_size": 1601,
    "v_hidden_size": 1024,
    "v_num_hidden_layers": 6,
    "v_num_attention_heads": 8,
    "v_intermediate_size": 1024,
    "v_hidden_act": "gelu",
    "v_hidden_dropout_prob": 0.1,
    "v_attention_probs_dropout_prob": 0.1,
    "bi_hidden_size": 1024,
    "bi_num_attention_heads": 8,
    "v_biattention_id": [0, 1, 2, 3, 4, 5],
    "t_biattention_id": [6, 7, 8, 9, 10, 11],
    "fusion_method": "mul",
    "visual_target": 0,
    "initializer_range": 0.02,
}
_TASK_TOKENS = {"task_specific_tokens": True, "num_task_embeddings": 20}
_ANSWERS = {"num_vqa_labels": 3129, "num_gqa_labels": 1533}

# What the first release calls `num_labels` is 1 for tasks that choose no answer from a list.
_NO_ANSWERS = {"num_labels": 1}


def _inputs(name: str, task: str) -> InputRules:
    if "beta" in name:
        return input_rules(BETA_TEXTS)
    return input_rules(MULTI_TASK_TEXTS, MULTI_TASK_TASKS) if task == "12in1" else input_rules({})


def _register(name: str, task: str, sizes: Mapping[str, Any], parameters: int) -> None:
    """Files a preset; a name with "beta" is of the first release."""
    build, table = _BUILDERS.get(task, (beta_config, beta_table))
    register(
        Published(
            name=name,
            family="vilbert",
            task=task,
            sizes=BASE_SIZES | sizes,
            from_published=build,
            key_table=table,
            parameters=parameters,
            paper=PAPER if "beta" in name else PAPER_12IN1,
            conventions=CONVENTIONS,
            inputs=_inputs(name, task),
        )
    )


_BUILDERS = {
    "pretrain": (pretrain_config, pretrain_table),
    "12in1": (multi_task_config, multi_task_table),
}
_register("vilbert", "pretrain", {}, 239_023_229)
_register("vilbert_beta", "pretrain", {}, 239_023_229)
_register("vilbert_12in1", "12in1", _TASK_TOKENS | _ANSWERS, 257_008_059)
_register("vilbert_beta_vqa", "vl", {"num_labels": 3129}, 247_536_571)
_register("vilbert_beta_vcr", "vcr", _NO_ANSWERS, 241_127_299)
_register("vilbert_beta_retrieval", "retrieval", _NO_ANSWERS, 241_127_299)
_register("vilbert_beta_grounding", "grounding", _NO_ANSWERS, 241_127_299)
