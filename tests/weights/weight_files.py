"""Small BERT and ViT files in the published layouts, and BERT's forward pass on them in numpy."""

from typing import Any

import numpy as np

from tests.layers import slow

WIDTH, WORDS, LENGTH, HEADS, MLP = 8, 11, 10, 2, 12
BERT_CONFIG = {
    "architectures": ["BertForMaskedLM"],
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "intermediate_size": MLP,
    "max_position_embeddings": LENGTH,
}
VIT_CONFIG = {"model_type": "vit", "hidden_size": WIDTH, "num_attention_heads": HEADS}


def draw(*shape: int) -> np.ndarray:
    return 0.4 * np.random.default_rng().normal(size=shape).astype(np.float32)


def dense(name: str, outputs: int, inputs: int) -> dict[str, np.ndarray]:
    return {f"{name}.weight": draw(outputs, inputs), f"{name}.bias": draw(outputs)}


def norm(name: str) -> dict[str, np.ndarray]:
    return {f"{name}.weight": 1 + draw(WIDTH), f"{name}.bias": draw(WIDTH)}


def bert_file(layers: int, prefix: str = "bert.", head: bool = True) -> dict[str, np.ndarray]:
    """Returns the tensors of a `BertForMaskedLM` with a pooler, under Hugging Face's names."""
    embeddings = f"{prefix}embeddings"
    state = norm(f"{embeddings}.LayerNorm") | dense(f"{prefix}pooler.dense", WIDTH, WIDTH)
    for table, rows in (("word", WORDS), ("position", LENGTH), ("token_type", 2)):
        state[f"{embeddings}.{table}_embeddings.weight"] = draw(rows, WIDTH)
    for i in range(layers):
        layer = f"{prefix}encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            state |= dense(f"{layer}.attention.{part}", WIDTH, WIDTH)
        state |= dense(f"{layer}.intermediate.dense", MLP, WIDTH)
        state |= dense(f"{layer}.output.dense", WIDTH, MLP)
        state |= norm(f"{layer}.attention.output.LayerNorm") | norm(f"{layer}.output.LayerNorm")
    if head:
        state |= dense("cls.predictions.transform.dense", WIDTH, WIDTH)
        state |= norm("cls.predictions.transform.LayerNorm")
        state |= {"cls.predictions.bias": draw(WORDS)}
    return state


def vit_file(layers: int, grid: int, patch: int) -> dict[str, np.ndarray]:
    """Returns the tensors of a `ViTModel` under Hugging Face's names."""
    state = norm("layernorm")
    state["embeddings.cls_token"] = draw(1, 1, WIDTH)
    state["embeddings.position_embeddings"] = draw(1, 1 + grid**2, WIDTH)
    state["embeddings.patch_embeddings.projection.weight"] = draw(WIDTH, 3, patch, patch)
    state["embeddings.patch_embeddings.projection.bias"] = draw(WIDTH)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            state |= dense(f"{layer}.attention.attention.{part}", WIDTH, WIDTH)
        state |= dense(f"{layer}.attention.output.dense", WIDTH, WIDTH)
        state |= dense(f"{layer}.intermediate.dense", MLP, WIDTH)
        state |= dense(f"{layer}.output.dense", WIDTH, MLP)
        state |= norm(f"{layer}.layernorm_before") | norm(f"{layer}.layernorm_after")
    return state


def timm_file(layers: int, grid: int, patch: int) -> dict[str, np.ndarray]:
    """Returns the tensors of timm's `VisionTransformer`."""
    state = norm("norm") | {"cls_token": draw(1, 1, WIDTH)}
    state["pos_embed"] = draw(1, 1 + grid**2, WIDTH)
    state["patch_embed.proj.weight"] = draw(WIDTH, 3, patch, patch)
    state["patch_embed.proj.bias"] = draw(WIDTH)
    for i in range(layers):
        block = f"blocks.{i}"
        state |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        state |= dense(f"{block}.attn.qkv", 3 * WIDTH, WIDTH)
        state |= dense(f"{block}.attn.proj", WIDTH, WIDTH)
        state |= dense(f"{block}.mlp.fc1", MLP, WIDTH) | dense(f"{block}.mlp.fc2", WIDTH, MLP)
    return state


def bert_states(file: dict[str, np.ndarray], layers: int, ids: np.ndarray) -> np.ndarray:
    """Returns the states [B, L, D] after some layers of a `bert_file`, in float64."""
    tables = (file[f"bert.embeddings.{x}_embeddings.weight"] for x in ("word", "position"))
    words, positions = tables
    types = file["bert.embeddings.token_type_embeddings.weight"]
    states = words[ids] + positions[: ids.shape[1]] + types[0]
    states = slow.layer_norm(_norm(file, "bert.embeddings.LayerNorm"), states, 1e-12)
    for i in range(layers):
        states = _layer(file, f"bert.encoder.layer.{i}", states)
    return states


def _layer(file: dict[str, np.ndarray], name: str, states: np.ndarray) -> np.ndarray:
    query, key, value = (
        _dense(file, f"{name}.attention.self.{x}", states) for x in ("query", "key", "value")
    )
    attended, size = np.zeros_like(states), WIDTH // HEADS
    for h in range(0, WIDTH, size):
        part = slice(h, h + size)
        scores = query[..., part] @ key[..., part].swapaxes(1, 2) / np.sqrt(size)
        attended[..., part] = slow.softmax(scores) @ value[..., part]
    attended = _dense(file, f"{name}.attention.output.dense", attended)
    after = _norm(file, f"{name}.attention.output.LayerNorm")
    states = slow.layer_norm(after, states + attended, 1e-12)
    hidden = slow.gelu(_dense(file, f"{name}.intermediate.dense", states))
    hidden = _dense(file, f"{name}.output.dense", hidden)
    return slow.layer_norm(_norm(file, f"{name}.output.LayerNorm"), states + hidden, 1e-12)


def _dense(file: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64) @ file[f"{name}.weight"].T + file[f"{name}.bias"]


def _norm(file: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    return {"scale": file[f"{name}.weight"], "bias": file[f"{name}.bias"]}
