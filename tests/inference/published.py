"""Tiny models of random weights in the published layouts, and regions for them."""

from pathlib import Path

import numpy as np

from vlp_jax.data.regions import Regions
from vlp_jax.model import build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.safetensors_file import write_safetensors
from vlp_jax.weights.zoo import ZOO

WIDTH = 12  # of region features
ANSWERS = ("yes", "no", "red", "two")

_BERT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 160,
}
SIZES = {
    "uniter": _BERT | {"img_dim": WIDTH, "vocab_size": 30522, "num_answer": 4},
    "lxmert": _BERT | {"visual_feat_dim": WIDTH, "num_labels": 4, "l_layers": 1, "r_layers": 1,
                       "x_layers": 1},
    "visualbert": _BERT | {"visual_embedding_dim": WIDTH, "num_labels": 4},
    "oscar": _BERT | {"img_feature_dim": WIDTH + 6, "num_labels": 4},
    "vilbert": _BERT | {
        "v_feature_size": WIDTH, "v_target_size": 5, "v_hidden_size": 8, "v_num_hidden_layers": 2,
        "v_num_attention_heads": 2, "v_intermediate_size": 8, "bi_hidden_size": 8,
        "bi_num_attention_heads": 2, "v_biattention_id": [0, 1], "t_biattention_id": [0, 1],
        "num_vqa_labels": 4, "num_gqa_labels": 4, "num_labels": 4,
    },
    "albef": {
        "embed_dim": 8,
        "visual_encoder": {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1,
                           "num_heads": 2, "mlp_ratio": 2, "layer_norm_eps": 1e-6},
        "bert_config": _BERT | {"vocab_size": 30522, "fusion_layer": 1, "type_vocab_size": 2,
                                "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
                                "layer_norm_eps": 1e-12},
        "decoder": {"num_hidden_layers": 1},
    },
}  # fmt: skip


def sizes_of(name: str) -> dict:
    """The tiny sizes of a preset; two classes where it decides between two."""
    two = {"num_labels": 2} if ZOO[name].task in ("nlvr2", "retrieval") else {}
    three = {"num_answer": 3} if ZOO[name].task == "ve" else {}
    return SIZES[ZOO[name].family] | two | three


def write_weights(folder: Path, name: str, seed: int = 0, sizes: dict | None = None) -> Path:
    """Writes random weights of a preset at its tiny size, as published, and returns the file."""
    import jax

    published = ZOO[name]
    config = published.from_published(dict(published.sizes) | sizes_of(name) | (sizes or {}))
    params = unbox(init_params(build_model(config), jax.random.key(seed)))
    params = jax.tree.map(lambda x: x + 0.1 * np.cos(np.arange(x.size)).reshape(x.shape), params)
    path = folder / f"{name}.safetensors"
    write_safetensors(path, published.save(params, config))
    return path


def random_regions(count: int = 12, seed: int = 0, names: bool = True) -> Regions:
    """Regions of a picture of 200 x 100 pixels, the surest first."""
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * [150, 60]
    boxes = np.concatenate([low, low + 5 + rng.random((count, 2)) * [40, 30]], axis=1)
    return Regions(
        rng.random((count, WIDTH), dtype=np.float32),
        boxes.astype(np.float32),
        200,
        100,
        confidence=np.sort(rng.random(count).astype(np.float32))[::-1].copy(),
        names=tuple(f"dog {i}" for i in range(count)) if names else None,
    )
