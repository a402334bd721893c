"""ViLBERT a second time, in float64 NumPy under the published tensor names, to compare with."""

from math import erf

import numpy as np

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x / (1 + np.exp(-x)),
}


class Oracle:
    """Runs a state dict of arrays; every method reads the tensors under a prefix."""

    def __init__(self, config: dict, state: dict):
        self.config = config
        self.state = {name: np.asarray(array, np.float64) for name, array in state.items()}

    def linear(self, x, name):
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def attend(self, query, key, value, mask, heads):
        split = lambda x: x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        query, key, value = split(query), split(key), split(value)
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        scores = scores + (1.0 - mask[:, None, None]) * -1e4
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ value
        return mixed.transpose(0, 2, 1, 3).reshape(len(mixed), mixed.shape[2], -1)

    def feed_forward(self, x, expand, contract, activation):
        hidden = ACTIVATIONS[activation](self.linear(x, f"{expand}.dense"))
        return self.norm(x + self.linear(hidden, f"{contract}.dense"), f"{contract}.LayerNorm")

    def layer(self, x, mask, name, heads, activation):
        own = [self.linear(x, f"{name}.attention.self.{p}") for p in ("query", "key", "value")]
        attended = self.linear(self.attend(*own, mask, heads), f"{name}.attention.output.dense")
        x = self.norm(x + attended, f"{name}.attention.output.LayerNorm")
        return self.feed_forward(x, f"{name}.intermediate", f"{name}.output", activation)

    def connection(self, text, image, text_mask, image_mask, name):
        heads, project = self.config["bi_num_attention_heads"], self.linear
        part = lambda x, p: project(x, f"{name}.biattention.{p}")
        image_parts = [part(image, f"{p}1") for p in ("query", "key", "value")]
        text_parts = [part(text, f"{p}2") for p in ("query", "key", "value")]
        to_text = self.attend(text_parts[0], *image_parts[1:], image_mask, heads)
        to_image = self.attend(image_parts[0], *text_parts[1:], text_mask, heads)
        out = f"{name}.biOutput"
        image = self.norm(project(to_image, f"{out}.dense1") + image, f"{out}.LayerNorm1")
        text = self.norm(project(to_text, f"{out}.dense2") + text, f"{out}.LayerNorm2")
        return (
            self.feed_forward(
                text, f"{name}.t_intermediate", f"{name}.t_output", self.config["hidden_act"]
            ),
            self.feed_forward(
                image, f"{name}.v_intermediate", f"{name}.v_output", self.config["v_hidden_act"]
            ),
        )

    def embed_text(self, inputs):
        ids, name = inputs["input_ids"], "bert.embeddings"
        table = lambda kind: self.state[f"{name}.{kind}_embeddings.weight"]
        x = table("word")[ids] + table("position")[: ids.shape[1]]
        x = x + table("token_type")[inputs["token_type_ids"]]
        mask = inputs["attention_mask"]
        if self.config.get("task_specific_tokens"):
            x = np.concatenate([x[:, :1], table("task")[inputs["task_ids"]], x[:, 1:]], 1)
            mask = np.concatenate([np.ones_like(mask[:, :1]), mask], 1)
        return self.norm(x, f"{name}.LayerNorm"), mask

    def embed_image(self, inputs):
        name = "bert.v_embeddings"
        x = self.linear(inputs["features"], f"{name}.image_embeddings")
        x = x + self.linear(inputs["spatials"], f"{name}.image_location_embeddings")
        return self.norm(x, f"{name}.LayerNorm")

    def streams(self, inputs):
        """Returns text states, image states and the text mask after all layers."""
        config, image_mask = self.config, inputs["image_mask"]
        text, text_mask = self.embed_text(inputs)
        image, done = self.embed_image(inputs), {"text": 0, "image": 0}

        def run_until(stream, x, end):
            letter, mask = ("", text_mask) if stream == "text" else ("v_", image_mask)
            for i in range(done[stream], end):
                name = f"bert.encoder.{letter}layer.{i}"
                heads, act = config[f"{letter}num_attention_heads"], config[f"{letter}hidden_act"]
                x = self.layer(x, mask, name, heads, act)
            done[stream] = end
            return x

        pairs = zip(config["v_biattention_id"], config["t_biattention_id"])
        for count, (image_end, text_end) in enumerate(pairs):
            text, image = run_until("text", text, text_end), run_until("image", image, image_end)
            name = f"bert.encoder.c_layer.{count}"
            text, image = self.connection(text, image, text_mask, image_mask, name)
        text = run_until("text", text, config["num_hidden_layers"])
        return text, run_until("image", image, config["v_num_hidden_layers"]), text_mask

    def base_heads(self, text, image):
        """Returns words, regions, matching, and the joint pooled vector."""
        pool = lambda x, name: np.maximum(self.linear(x[:, 0], f"bert.{name}.dense"), 0)
        vectors = pool(text, "t_pooler"), pool(image, "v_pooler")
        pooled = vectors[0] * vectors[1] if self.config["fusion_method"] == "mul" else sum(vectors)

        def transform(x, name):
            act = ACTIVATIONS[self.config["hidden_act"]]
            return self.norm(act(self.linear(x, f"{name}.dense")), f"{name}.LayerNorm")

        words = transform(text, "cls.predictions.transform")
        words = words @ self.state["cls.predictions.decoder.weight"].T
        regions = transform(image, "cls.imagePredictions.transform")
        return (
            words + self.state["cls.predictions.bias"],
            self.linear(regions, "cls.imagePredictions.decoder"),
            self.linear(pooled, "cls.bi_seq_relationship"),
            pooled,
        )
