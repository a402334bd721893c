"""Fresh random BERTs of `transformers`, saved as directories, against our text encoder."""

import jax
import numpy as np
import pytest

from vlp_jax.encoders.bert import BertEncoder
from vlp_jax.heads.masked_text import MaskedTextHead
from vlp_jax.weights.conversion import to_params, to_published
from vlp_jax.weights.hf_bert import bert_args, bert_table
from vlp_jax.weights.state_dict import read_state_dict

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ["BertModel", "BertForMaskedLM", "BertForPreTraining"]


def random_bert(name: str, rng: np.random.Generator):
    """A BERT of random sizes, whose biases and norms are random too."""
    heads = int(rng.integers(1, 5))
    config = transformers.BertConfig(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=heads * int(rng.integers(2, 9)),
        num_hidden_layers=int(rng.integers(0, 4)),
        num_attention_heads=heads,
        intermediate_size=int(rng.integers(3, 40)),
        max_position_embeddings=int(rng.integers(9, 20)),
        type_vocab_size=int(rng.integers(1, 4)),
        layer_norm_eps=float(rng.choice([1e-12, 1e-5, 1e-3])),
        hidden_act=str(rng.choice(["gelu", "gelu", "relu", "silu"])),
    )
    torch.manual_seed(int(rng.integers(2**31)))
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def inputs(config, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    length = int(rng.integers(1, config.max_position_embeddings + 1))
    shape = (int(rng.integers(1, 5)), length)
    mask = rng.random(shape) < 0.7
    mask[:, 0] = True
    types = rng.integers(0, config.type_vocab_size, shape)
    return rng.integers(0, config.vocab_size, shape), mask, types


@pytest.mark.parametrize("name", CLASSES)
def test_a_random_bert(name, tmp_path):
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    theirs = random_bert(name, rng)
    theirs.save_pretrained(tmp_path)
    state = read_state_dict(tmp_path)
    args = bert_args(state.meta.config)
    layers = [f"text/layer_{i}" for i in range(args["layers"])]
    head = None if name == "BertModel" else "heads_mlm"
    table = bert_table(state, args["heads"], layers, words_head=head)
    params = to_params(state, table)
    ids, mask, types = inputs(theirs.config, rng)
    with torch.no_grad():
        out = theirs(*(torch.from_numpy(x) for x in (ids, mask.astype(np.int64), types)))
    with jax.default_matmul_precision("highest"):
        ours = BertEncoder(**args).apply({"params": params["text"]}, ids, mask, types).states
        if head:
            words = MaskedTextHead(args["epsilon"], args["activation"])
            ours = words.apply(
                {"params": params["heads_mlm"]}, ours, params["text"]["word"]["table"]
            )
    expected = (out.last_hidden_state if head is None else out[0]).numpy()
    scale = max(1.0, np.abs(expected[mask]).max())
    assert np.abs(np.asarray(ours) - expected)[mask].max() < 1e-5 * scale, f"seed {seed}"
    back = to_published(params, table, like=state)
    assert back.keys() == state.keys()
    assert all(back[name].tobytes() == state[name].tobytes() for name in state)
