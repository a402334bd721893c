"""The model that the project's source text calls ViLBERT; Lu et al. published another.

Grid features of a ResNet and the states of a BERT are joined to one sequence, and one Transformer
with self-attention reads it. The published ViLBERT has two streams and co-attention
(`zoo/vilbert.py`). The text names no sizes; those here are ours: ResNet-50 and BERT-base.
"""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.weights.zoo.base import Conventions, Published, register
from vlp_jax.weights.zoo.own_layout import own_table
from vlp_jax.weights.zoo.resnet import encoder_args

SIZES = {
    "image_size": 224,
    "resnet_config": {
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
    },
    "attention_probs_dropout_prob": 0.1,
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_joint_layers": 6,
    "num_text_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def source_text_config(sizes: Mapping[str, Any]) -> ModelConfig:
    """ResNet grid and BERT, concatenated, one Transformer; masked words and matching."""
    width, dropout = sizes["hidden_size"], sizes["hidden_dropout_prob"]
    block = dict(
        heads=sizes["num_attention_heads"],
        mlp_width=sizes["intermediate_size"],
        dropout=dropout,
        attention_dropout=sizes["attention_probs_dropout_prob"],
    )
    return ModelConfig(
        vision="resnet",
        vision_args=encoder_args(sizes["resnet_config"], sizes["image_size"])
        | {"width": width, "dropout": dropout},
        text="bert",
        text_args=dict(
            vocab_size=sizes["vocab_size"],
            width=width,
            layers=sizes["num_text_layers"],
            max_length=sizes["max_position_embeddings"],
            types=sizes["type_vocab_size"],
            **block,
        ),
        fusion="single_stream",
        fusion_args=dict(layers=sizes["num_joint_layers"], **block),
        pooler="tanh",
        heads={"mlm": {}, "itm": {}},
        init_std=sizes["initializer_range"],
    )


register(
    Published(
        name="vilbert_source_text",
        family="vilbert_source_text",
        task="pretrain",
        sizes=SIZES,
        from_published=source_text_config,
        key_table=own_table,
        parameters=177_807_612,
        paper="none: a description of a model by the name of ViLBERT, which it is not",
        conventions=Conventions(match_index=1, add_sep=True, mlm_ignore=-100),
    )
)
