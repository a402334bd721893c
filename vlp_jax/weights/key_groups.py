"""Groups of key table entries that several published models share: BERT's parts and ViT's block."""

from collections.abc import Iterable

from vlp_jax.weights.key_table import (
    Entries,
    embedding,
    fused_qkv,
    linear,
    merge_heads,
    norm,
    raw,
    split_heads,
)


def bert_embeddings(
    published: str, ours: str, tied: Iterable[str] = (), with_norm: bool = True
) -> Entries:
    """BERT's embedding layer; `tied` names the output layers that repeat the word table.

    `with_norm=False` leaves out the layer norm, where it stands elsewhere in our tree.
    """
    return [
        embedding(f"{published}.word_embeddings", f"{ours}/word", tied),
        embedding(f"{published}.position_embeddings", f"{ours}/position"),
        embedding(f"{published}.token_type_embeddings", f"{ours}/type"),
        norm(f"{published}.LayerNorm", f"{ours}/norm") if with_norm else [],
    ]


def post_norm_attention(published: str, ours: str, heads: int, inner: str = "self") -> Entries:
    """`PostNormAttention`: `<published>.self.*` and `<published>.output.{dense,LayerNorm}`."""
    return [
        [
            split_heads(f"{published}.{inner}.{part}", f"{ours}/attention/{part}", heads)
            for part in ("query", "key", "value")
        ],
        merge_heads(f"{published}.output.dense", f"{ours}/attention/output", heads),
        norm(f"{published}.output.LayerNorm", f"{ours}/norm"),
    ]


def post_norm_feed_forward(expand: str, contract: str, ours: str) -> Entries:
    """`PostNormFeedForward`: `<expand>.dense` and `<contract>.{dense,LayerNorm}`."""
    return [
        linear(f"{expand}.dense", f"{ours}/expand"),
        linear(f"{contract}.dense", f"{ours}/contract"),
        norm(f"{contract}.LayerNorm", f"{ours}/norm"),
    ]


def bert_layer(published: str, ours: str, heads: int, cross: str | None = None) -> Entries:
    """`BertLayer`; `cross` is the published name of its cross-attention, where it has one."""
    return [
        post_norm_attention(f"{published}.attention", f"{ours}/self_attention", heads),
        post_norm_attention(f"{published}.{cross}", f"{ours}/cross_attention", heads)
        if cross
        else [],
        post_norm_feed_forward(
            f"{published}.intermediate", f"{published}.output", f"{ours}/feed_forward"
        ),
    ]


def vit_block(published: str, ours: str, heads: int) -> Entries:
    """`ViTBlock` under timm's names."""
    return [
        norm(f"{published}.norm1", f"{ours}/attention_norm"),
        fused_qkv(f"{published}.attn.qkv.", f"{ours}/attention", heads),
        merge_heads(f"{published}.attn.proj", f"{ours}/attention/output", heads),
        norm(f"{published}.norm2", f"{ours}/feed_forward_norm"),
        linear(f"{published}.mlp.fc1", f"{ours}/expand"),
        linear(f"{published}.mlp.fc2", f"{ours}/contract"),
    ]


def prediction_transform(published: str, ours: str) -> Entries:
    """BERT's `transform`: `Linear`, GELU, layer norm."""
    return [
        linear(f"{published}.dense", f"{ours}/transform"),
        norm(f"{published}.LayerNorm", f"{ours}/norm"),
    ]


def mlm_head(published: str, ours: str) -> Entries:
    """`MaskedTextHead` under `<published>.{bias,transform}`; the decoder is tied to the words.

    The decoder's own bias, which files since 2020 have, repeats `bias`.
    """
    return [
        prediction_transform(f"{published}.transform", ours),
        raw(f"{published}.bias", f"{ours}/bias", tied=[f"{published}.decoder.bias"]),
    ]
