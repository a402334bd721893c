"""Transformer pieces written out in float64 with loops, to compare the layers with."""

import math
from typing import Any

import numpy as np

_erf = np.vectorize(math.erf)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + _erf(x / math.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def linear(p: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64) @ p["kernel"] + p["bias"]


def layer_norm(p: Any, x: np.ndarray, epsilon: float) -> np.ndarray:
    x = np.asarray(x, np.float64)
    deviation = np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return (x - x.mean(-1, keepdims=True)) / deviation * p["scale"] + p["bias"]


def layer(p: Any, index: int) -> Any:
    """One layer's parameters of a stack's."""
    cut = lambda x: layer(x, index) if isinstance(x, dict) else np.asarray(x[index])
    return {name: cut(x) for name, x in p.items()}


def attention(p: Any, states: np.ndarray, context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`mask` [B, T, S] says which query sees which key; every query must see one."""
    states, context = np.asarray(states, np.float64), np.asarray(context, np.float64)
    batch, length = states.shape[:2]
    heads, head_dim, features = p["output"]["kernel"].shape
    result = np.zeros((batch, length, features)) + p["output"]["bias"]
    for b in range(batch):
        for h in range(heads):
            part = {n: (p[n]["kernel"][:, h], p[n]["bias"][h]) for n in ("query", "key", "value")}
            query = states[b] @ part["query"][0] + part["query"][1]
            key = context[b] @ part["key"][0] + part["key"][1]
            value = context[b] @ part["value"][0] + part["value"][1]
            for t in range(length):
                seen = mask[b, t]
                weights = softmax(key[seen] @ query[t] / math.sqrt(head_dim))
                result[b, t] += weights @ value[seen] @ p["output"]["kernel"][h]
    return result


def post_norm_attention(p: Any, states, context, mask, epsilon: float = 1e-12) -> np.ndarray:
    attended = attention(p["attention"], states, context, mask)
    return layer_norm(p["norm"], states + attended, epsilon)


def feed_forward(p: Any, states: np.ndarray, epsilon: float = 1e-12) -> np.ndarray:
    hidden = linear(p["contract"], gelu(linear(p["expand"], states)))
    return layer_norm(p["norm"], states + hidden, epsilon)


def bert_layer(p: Any, states, mask, context=None, context_mask=None, epsilon=1e-12) -> np.ndarray:
    states = post_norm_attention(p["self_attention"], states, states, mask, epsilon)
    if context is not None:
        read = p["cross_attention"]
        states = post_norm_attention(read, states, context, context_mask, epsilon)
    return feed_forward(p["feed_forward"], states, epsilon)


def vit_block(p: Any, states: np.ndarray, mask: np.ndarray, epsilon: float = 1e-6) -> np.ndarray:
    normed = layer_norm(p["attention_norm"], states, epsilon)
    states = states + attention(p["attention"], normed, normed, mask)
    normed = layer_norm(p["feed_forward_norm"], states, epsilon)
    return states + linear(p["contract"], gelu(linear(p["expand"], normed)))


def sees(queries: int, keys: np.ndarray) -> np.ndarray:
    """[B, S] -> [B, T, S]: each of T queries sees the same keys."""
    keys = np.asarray(keys)
    return np.broadcast_to(keys[:, None], (len(keys), queries, keys.shape[1]))
