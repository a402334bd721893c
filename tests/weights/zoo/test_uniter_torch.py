"""UNITER against PyTorch's own layers, on packed sequences as published; drawn afresh at every run.

`transformers` has no UNITER, so the reference puts the published description together from
`torch.nn.functional`. Text and regions of a row are packed side by side there, as in the original.
"""

import secrets

import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.reading import read_head
from vlp_jax.model import build_model
from vlp_jax.verify.forward import quick_jit
from vlp_jax.weights.conversion import published_shapes
from vlp_jax.weights.zoo import find
from vlp_jax.weights.zoo.base import abstract_shapes

torch = pytest.importorskip("torch")
F = torch.nn.functional

pytestmark = pytest.mark.torch
ROWS = 4


class Reference:
    """UNITER on one row at a time: no padding, no masks."""

    def __init__(self, state, sizes):
        self.state = {k: torch.tensor(v, dtype=torch.float32) for k, v in state.items()}
        self.sizes = sizes

    def linear(self, name, x):
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name, x):
        scale, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], scale, bias, 1e-12)

    def table(self, name, ids):
        return F.embedding(torch.tensor(ids), self.state[f"uniter.{name}.weight"])

    def embed(self, row):
        positions = range(len(row["ids"]))
        text = self.table("embeddings.word_embeddings", row["ids"])
        text = text + self.table("embeddings.position_embeddings", list(positions))
        text = text + self.table("embeddings.token_type_embeddings", row["segments"])
        image = "uniter.img_embeddings"
        hidden = torch.tensor(row["hidden"], dtype=torch.float32)[:, None]
        features = torch.tensor(row["features"])
        features = features + hidden * self.state[f"{image}.mask_embedding.weight"][1]
        features = self.linear(f"{image}.img_linear", features)
        features = self.norm(f"{image}.img_layer_norm", features)
        x1, y1, x2, y2 = torch.tensor(row["boxes"]).unbind(-1)
        boxes = torch.stack([x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], -1)
        boxes = self.norm(f"{image}.pos_layer_norm", self.linear(f"{image}.pos_linear", boxes))
        regions = features + boxes + self.table("embeddings.token_type_embeddings", row["types"])
        text = self.norm("uniter.embeddings.LayerNorm", text)
        return torch.cat([text, self.norm(f"{image}.LayerNorm", regions)])[None]

    def sequence(self, row):
        """Returns the packed states [1, words + regions, D]."""
        x = self.embed(row)
        heads = self.sizes["num_attention_heads"]
        for i in range(self.sizes["num_hidden_layers"]):
            layer = f"uniter.encoder.layer.{i}"
            split = lambda name: self.linear(f"{layer}.attention.self.{name}", x).unflatten(
                -1, (heads, -1)
            )
            query, key, value = (split(n).transpose(1, 2) for n in ("query", "key", "value"))
            read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            read = self.linear(f"{layer}.attention.output.dense", read)
            x = self.norm(f"{layer}.attention.output.LayerNorm", x + read)
            wide = F.gelu(self.linear(f"{layer}.intermediate.dense", x))
            narrow = self.linear(f"{layer}.output.dense", wide)
            x = self.norm(f"{layer}.output.LayerNorm", x + narrow)
        return x

    def pooled(self, row):
        return torch.tanh(self.linear("uniter.pooler.dense", self.sequence(row)[:, 0]))

    def mlp(self, name, x, activation=F.gelu):
        hidden = self.norm(f"{name}.2", activation(self.linear(f"{name}.0", x)))
        return self.linear(f"{name}.3", hidden)

    def regions(self, row):
        return self.sequence(row)[0, len(row["ids"]) :]

    def read_pair(self, name, own, other):
        attention = torch.nn.MultiheadAttention(
            own.shape[-1], self.sizes["num_attention_heads"], batch_first=True
        )
        prefix = f"{name}."
        attention.load_state_dict(
            {k.removeprefix(prefix): v for k, v in self.state.items() if k.startswith(prefix)}
        )
        read, _ = attention(own, other, other)
        joined = torch.relu(self.linear("fc.0", torch.cat([read, own], -1)))
        scores = torch.relu(self.linear("attn_pool.fc.0", joined))
        return (scores.softmax(1) * joined).sum(1)

    def nlvr2(self, left, right):
        left, right = self.sequence(left), self.sequence(right)
        pooled = self.read_pair("attn1", left, right), self.read_pair("attn2", right, left)
        return self.linear("nlvr2_output", torch.cat(pooled, -1))


def draw_case(task, **fixed):
    """Returns a random port of a task with its parameters, its reference, rows and their batch."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    draw = np.random.default_rng(seed)
    heads = int(draw.integers(1, 5))
    sizes = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": heads * int(draw.integers(4, 8)),
        "img_dim": int(draw.integers(3, 20)),
        "img_label_dim": int(draw.integers(2, 9)),
        "initializer_range": 0.02,
        "intermediate_size": int(draw.integers(3, 40)),
        "max_position_embeddings": int(draw.integers(6, 12)),
        "num_answer": int(draw.integers(1, 9)),
        "num_attention_heads": heads,
        "num_hidden_layers": int(draw.integers(0, 3)),
        "type_vocab_size": 4,
        "vocab_size": int(draw.integers(9, 50)),
    } | fixed
    published = find("uniter", task)
    config = published.from_published(sizes)
    model = build_model(config)
    shapes = published_shapes(abstract_shapes(model), published.key_table(config))
    state = random_state(draw, shapes)
    params = published.load(state, config)
    written = published.save(params, config, like=state)
    for name, array in state.items():
        np.testing.assert_array_equal(written[name], array, err_msg=name)
    rows = [random_row(draw, sizes) for _ in range(ROWS)]
    rows[0] = cut(rows[0], 1, 1)
    return model, params, Reference(state, sizes), rows, collate(rows, sizes)


def random_state(draw, shapes):
    state = {k: draw.normal(0, 0.5, shape).astype(np.float32) for k, shape in shapes.items()}
    for tied, source in (
        ("cls.predictions.decoder.weight", "uniter.embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("feat_regress.weight", "uniter.img_embeddings.img_linear.weight"),
    ):
        if tied in state:
            state[tied] = state[source]
    return state


def random_row(draw, sizes):
    words = int(draw.integers(1, sizes["max_position_embeddings"] + 1))
    regions = int(draw.integers(1, 6))
    corners = np.sort(draw.uniform(size=(regions, 2, 2)), axis=1).reshape(regions, 4)
    return {
        "ids": draw.integers(1, sizes["vocab_size"], words),
        "segments": draw.integers(0, 4, words),
        "features": draw.normal(size=(regions, sizes["img_dim"])).astype(np.float32),
        "boxes": corners.astype(np.float32),
        "types": draw.integers(0, 4, regions),
        "hidden": draw.integers(0, 2, regions),
    }


def cut(row, words, regions):
    text = ("ids", "segments")
    return {name: x[: words if name in text else regions] for name, x in row.items()}


def collate(rows, sizes):
    """Pads rows into our batch; what stands in the padding must not matter, so it is not zero."""

    def padded(name, fill):
        longest = max(len(row[name]) for row in rows) + 1
        out = np.full((len(rows), longest, *rows[0][name].shape[1:]), fill, rows[0][name].dtype)
        mask = np.zeros((len(rows), longest), bool)
        for i, row in enumerate(rows):
            out[i, : len(row[name])], mask[i, : len(row[name])] = row[name], True
        return out, mask

    longest = sizes["max_position_embeddings"]
    ids, text_mask = (x[:, :longest] for x in padded("ids", 3))
    features, region_mask = padded("features", 2.0)
    return {
        "text_ids": jnp.asarray(ids, jnp.int32),
        "text_mask": text_mask,
        "text_segments": padded("segments", 1)[0][:, : ids.shape[1]],
        "region_features": features,
        "region_boxes": padded("boxes", 0.5)[0],
        "region_mask": region_mask,
        "region_types": padded("types", 1)[0],
        "region_hidden": padded("hidden", 1)[0].astype(bool),
    }


def fuse(model, batch):
    text = model.encode_text(batch["text_ids"], batch["text_mask"], batch["text_segments"])
    return model.fuse(model.encode_image(batch), text)


def run(model, params, batch, function):
    """Returns `function(model, fused)` as numpy arrays."""
    method = lambda model, batch: function(model, fuse(model, batch))
    call = quick_jit(lambda p, b: model.apply({"params": p}, b, method=method))
    return call(params, batch)


def close(ours, reference):
    reference = reference.detach().numpy()
    scale = max(1.0, np.abs(reference).max())
    np.testing.assert_allclose(ours, reference, rtol=0, atol=2e-5 * scale)


def test_pretraining_heads():
    model, params, reference, rows, batch = draw_case("pretrain")

    def heads(model, fused):
        states, table = fused.image.states, model.vision.feature_table()
        return (
            read_head(model, "mlm", fused),
            read_head(model, "itm", fused),
            model.head("region_feature")(states, table),
            model.head("region_classifier")(states),
        )

    words, matching, features, classes = run(model, params, batch, heads)
    for i, row in enumerate(rows):
        sequence = reference.sequence(row)[0]
        text, image = sequence.split([len(row["ids"]), len(row["types"])])
        hidden = F.gelu(reference.linear("cls.predictions.transform.dense", text))
        hidden = reference.norm("cls.predictions.transform.LayerNorm", hidden)
        table = reference.state["uniter.embeddings.word_embeddings.weight"]
        expected = F.linear(hidden, table, reference.state["cls.predictions.bias"])
        close(words[i, : len(text)], expected)
        close(matching[i], reference.linear("itm_output", reference.pooled(row))[0])
        hidden = reference.norm(
            "feat_regress.net.2", F.gelu(reference.linear("feat_regress.net.0", image))
        )
        expected = hidden @ reference.state["uniter.img_embeddings.img_linear.weight"]
        close(features[i, : len(image)], expected + reference.state["feat_regress.bias"])
        close(classes[i, : len(image)], reference.mlp("region_classifier.net", image))


@pytest.mark.parametrize("task, head", [("vqa", "vqa_output"), ("vcr", "vcr_output")])
def test_classifiers(task, head):
    model, params, reference, rows, batch = draw_case(task)
    logits = run(model, params, batch, lambda model, fused: read_head(model, task, fused))
    for ours, row in zip(logits, rows, strict=True):
        activation = F.relu if task == "vcr" else F.gelu
        close(ours, reference.mlp(head, reference.pooled(row), activation)[0])


def test_ranking():
    model, params, reference, rows, batch = draw_case("itm")
    scores = run(model, params, batch, lambda model, fused: read_head(model, "rank", fused))
    for ours, row in zip(scores, rows, strict=True):
        close(ours, reference.linear("rank_output", reference.pooled(row))[0])


@pytest.mark.parametrize("layers", [1, 2])
def test_referring_expressions(layers):
    model, params, reference, rows, batch = draw_case("re", mlp=layers)
    scores = run(model, params, batch, lambda model, fused: model.head("re")(fused.image))
    score = reference.linear if layers == 1 else reference.mlp
    for ours, row in zip(scores, rows, strict=True):
        count = len(row["types"])
        close(ours[:count], score("re_output", reference.regions(row))[:, 0])
        assert (ours[count:] == -1e4).all()


def test_paired_attention():
    model, params, reference, rows, batch = draw_case("nlvr2")

    def pairs(model, fused):
        halves = [batch_rows(fused, slice(i, None, 2)) for i in range(2)]
        return model.head("nlvr2")(*halves)

    logits = run(model, params, batch, pairs)
    for i, ours in enumerate(logits):
        close(ours, reference.nlvr2(*rows[2 * i : 2 * i + 2])[0])


def batch_rows(fused, rows):
    cut = lambda tokens: tokens.replace(states=tokens.states[rows], mask=tokens.mask[rows])
    return fused.replace(text=cut(fused.text), image=cut(fused.image))
