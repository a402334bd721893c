"""The two-stream model that the project's source text calls UNITER; Chen et al. published another.

Regions and words go through an encoder each, then through cross-modal attention in both directions:
V' = Attn(V, L, L), L' = Attn(L, V, V). The published UNITER is a single stream (`zoo/uniter.py`).
The text names no sizes; those here are ours, of BERT-base width.
"""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.weights.zoo.base import Conventions, Published, register
from vlp_jax.weights.zoo.own_layout import own_table

SIZES = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "img_dim": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_answer": 3129,
    "num_attention_heads": 12,
    "num_cross_modal_layers": 6,
    "num_image_layers": 6,
    "num_text_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def source_text_config(sizes: Mapping[str, Any]) -> ModelConfig:
    """Two encoders and cross-modal attention, with heads for masked words, matching and answers."""
    block = dict(
        heads=sizes["num_attention_heads"],
        mlp_width=sizes["intermediate_size"],
        dropout=sizes["hidden_dropout_prob"],
        attention_dropout=sizes["attention_probs_dropout_prob"],
    )
    return ModelConfig(
        vision="regions",
        vision_args=dict(
            feature_width=sizes["img_dim"],
            width=sizes["hidden_size"],
            layers=sizes["num_image_layers"],
            boxes="corners_size_area",
            feature_norm=True,
            box_norm=True,
            **block,
        ),
        text="bert",
        text_args=dict(
            vocab_size=sizes["vocab_size"],
            width=sizes["hidden_size"],
            layers=sizes["num_text_layers"],
            max_length=sizes["max_position_embeddings"],
            types=sizes["type_vocab_size"],
            **block,
        ),
        fusion="cross_modal",
        fusion_args=dict(layers=sizes["num_cross_modal_layers"], **block),
        pooler="tanh",
        heads={"mlm": {}, "itm": {}, "vqa": {"classes": sizes["num_answer"]}},
        init_std=sizes["initializer_range"],
    )


register(
    Published(
        name="uniter_source_text",
        family="uniter_source_text",
        task="pretrain",
        sizes=SIZES,
        from_published=source_text_config,
        key_table=own_table,
        parameters=245_266_037,
        paper="none: a description of a model by the name of UNITER, which it is not",
        conventions=Conventions(match_index=1, add_sep=True, mlm_ignore=-100),
    )
)
