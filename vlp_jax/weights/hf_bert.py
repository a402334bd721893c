"""One-tower text weights: Hugging Face's BERT directories into the text part of a model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlp_jax.layers.activation import ACTIVATIONS
from vlp_jax.weights.key_groups import bert_embeddings, bert_layer, mlm_head
from vlp_jax.weights.key_table import KeyTable, key_table, linear

WORD_TABLE = "embeddings.word_embeddings.weight"
MLM_HEAD = "cls.predictions"
# Buffers, and heads of other tasks.
UNMODELLED = (
    r"(.*\.)?position_ids",
    r"(.*\.)?token_type_ids",
    r"cls\.seq_relationship\..*",
    r"(classifier|qa_outputs)\..*",
)

# Its relatives have layers of the same names and other positions, norms or embeddings.
RELATIVES = r"(^|[._])(\w*roberta|distilbert|camembert|deberta|albert|mobilebert|ernie)[._]"

# What BertConfig assumes of entries that a config.json leaves out.
DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "model_type": "bert",
}


def bert_args(published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `text_args` of the "bert" encoder that a BERT's `config.json` describes.

    Raises ValueError for a BERT of another kind: relative positions, a decoder, another activation.
    """
    sizes = {**DEFAULTS, **published}
    ACTIVATIONS.get_known(sizes["hidden_act"], "hidden_act")
    for name in ("model_type", "position_embedding_type", "is_decoder"):
        if sizes[name] != DEFAULTS[name]:
            raise ValueError(f"{name} = {sizes[name]!r}: expected a BERT with {DEFAULTS[name]!r}")
    return dict(
        vocab_size=sizes["vocab_size"],
        width=sizes["hidden_size"],
        layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        mlp_width=sizes["intermediate_size"],
        max_length=sizes["max_position_embeddings"],
        types=sizes["type_vocab_size"],
        dropout=sizes["hidden_dropout_prob"],
        attention_dropout=sizes["attention_probs_dropout_prob"],
        epsilon=sizes["layer_norm_eps"],
        activation=sizes["hidden_act"],
    )


def bert_table(
    names: Iterable[str],
    heads: int,
    layers: Sequence[str],
    words_head: str | None = None,
    pooler: str | None = None,
) -> KeyTable:
    """Returns the key table of a BERT file: `BertModel`, `BertForMaskedLM`, `BertForPreTraining`.

    Args:
      names: the file's tensor names; they tell whether it has the prefix "bert.".
      heads: attention heads of every layer.
      layers: our path of each BERT layer, such as "text/layer_0"; a model whose text goes on in
        the fusion continues with "fusion/layer_0". Layers of the file beyond these are left out.
      words_head, pooler: our paths of the masked-word head and the pooler, such as "heads_mlm" and
        "pooler/dense"; without a path they are left out.
    """
    prefix = bert_prefix(names)
    own = re.escape(prefix)
    outside = [rf"(?!{own}|{re.escape(MLM_HEAD)}).*"] if prefix else []
    beyond = [rf"{own}encoder\.layer\.(?!({'|'.join(map(str, range(len(layers))))})\.).*"]
    left_out = [*UNMODELLED, *outside, *(beyond if layers else [rf"{own}encoder\..*"])]
    left_out += [] if words_head else [rf"{re.escape(MLM_HEAD)}\..*"]
    left_out += [] if pooler else [rf"{own}pooler\..*"]
    tied = [f"{MLM_HEAD}.decoder.weight"] if words_head else []
    return key_table(
        bert_embeddings(f"{prefix}embeddings", "text", tied),
        [bert_layer(f"{prefix}encoder.layer.{i}", path, heads) for i, path in enumerate(layers)],
        mlm_head(MLM_HEAD, words_head) if words_head else [],
        linear(f"{prefix}pooler.dense", pooler) if pooler else [],
        unmodelled=left_out,
    )


def bert_prefix(names: Iterable[str]) -> str:
    """Returns what stands before the names of a BERT: "", "bert." or more.

    Raises ValueError if there is no word table, or more than one.
    """
    found = [name.removesuffix(WORD_TABLE) for name in names if name.endswith(WORD_TABLE)]
    if len(found) != 1:
        raise ValueError(
            f'expected one tensor named "…{WORD_TABLE}", as a BERT has; '
            f"found {', '.join(name + WORD_TABLE for name in found) or 'none'}"
        )
    if re.search(RELATIVES, found[0]):
        raise ValueError(f'expected a BERT; the names "{found[0]}…" are of a relative of it')
    return found[0]


def check_positions(file: Mapping[str, np.ndarray], prefix: str) -> None:
    """Raises ValueError for the position table of a RoBERTa, whose first two rows count no word.

    Without a prefix its names are BERT's; its 130, 514, … rows are a power of two and two more.
    """
    rows = len(file[f"{prefix}embeddings.position_embeddings.weight"])
    length = rows - 2
    if length >= 128 and length & (length - 1) == 0:
        raise ValueError(
            f"expected a BERT; a table of {rows} positions is that of a RoBERTa, which counts "
            "words from the third row on"
        )
