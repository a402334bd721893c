"""OSCAR in PyTorch, put together from the BERT parts of `transformers`, for `test_oscar_torch.py`.

`transformers` has no class of OSCAR; its layers are BERT's, so only the joined sequence, the image
projection and the heads are written here, under the published names.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert import modeling_bert as bert


class Body(nn.Module):
    """Text and regions, joined after each part's own embedding; tanh pooler."""

    def __init__(self, sizes: dict, config: BertConfig):
        super().__init__()
        self.embeddings = bert.BertEmbeddings(config)
        self.encoder = nn.Module()
        layers = [bert.BertLayer(config, i) for i in range(sizes["num_hidden_layers"])]
        self.encoder.layer = nn.ModuleList(layers)
        self.pooler = bert.BertPooler(config)
        self.img_embedding = nn.Linear(sizes["img_feature_dim"], sizes["hidden_size"])
        if sizes["use_img_layernorm"]:
            self.LayerNorm = nn.LayerNorm(sizes["hidden_size"], eps=sizes["img_layer_norm_eps"])

    def forward(self, ids, segments, mask, features):
        text = self.embeddings(ids, segments)
        image = self.img_embedding(features)
        if hasattr(self, "LayerNorm"):
            image = self.LayerNorm(image)
        mask = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
        bias = (1 - mask.to(image.dtype)) * -1e4
        states, layers = torch.cat([text, image], 1), {}
        for i, layer in enumerate(self.encoder.layer):
            states = layers[f"layer_{i}"] = layer(states, bias)
        return (
            states,
            self.pooler(states),
            {
                "text_embedding": text,
                "image_embedding": image,
                "sequence_output": states,
                **layers,
            },
        )


class Oscar(nn.Module):
    """The body and the head of one task; called with the arrays of a bundle's `inputs.npz`."""

    def __init__(self, sizes: dict):
        super().__init__()
        config = BertConfig(**{k: sizes[k] for k in BertConfig().to_dict() if k in sizes})
        config._attn_implementation = "eager"
        self.sizes, self.bert = sizes, Body(sizes, config)
        task, width = sizes["task"], sizes["hidden_size"]
        if task in ("pretrain", "caption"):
            self.cls = nn.Module()
            self.cls.predictions = bert.BertLMPredictionHead(config)
            predictions = self.cls.predictions
            predictions.decoder = nn.Linear(width, sizes["vocab_size"], bias=False)
            if task == "pretrain" or sizes["tie_weights"]:
                predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
        if task == "pretrain":
            self.cls.seq_relationship = nn.Linear(width, sizes["num_contrast_classes"])
        if task in ("vqa", "gqa", "nlvr2", "retrieval"):
            self.classifier = self._classifier(width * (2 if task == "nlvr2" else 1))
        if sizes.get("freeze_embedding"):
            self.bert.embeddings.word_embeddings.weight.requires_grad = False

    def _classifier(self, width: int) -> nn.Module:
        sizes, classes = self.sizes, self.sizes["num_labels"]
        if sizes.get("classifier", "linear") == "linear":
            return nn.Linear(width, classes)
        hidden = sizes["hidden_size"] * sizes["cls_hidden_scale"]
        with_norm = sizes["use_img_layernorm"] and sizes["task"] == "nlvr2"
        norm = [nn.LayerNorm(hidden, eps=sizes["layer_norm_eps"])] if with_norm else []
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), *norm, nn.Linear(hidden, classes))

    def words(self, states):
        """Word logits with the bias that stands beside the decoder."""
        predictions = self.cls.predictions
        return predictions.decoder(predictions.transform(states)) + predictions.bias

    def forward(self, inputs: dict) -> dict:
        flat = lambda x, last: x.reshape(-1, *x.shape[x.ndim - last :])
        mask = inputs["attention_mask"]
        states, pooled, outputs = self.bert(
            flat(inputs["input_ids"], 1),
            flat(inputs["token_type_ids"], 1),
            mask if "valid" in inputs else flat(mask, 1),
            flat(inputs["img_feats"], 2),
        )
        task = {"pretrain": self._pretrain, "caption": self._caption}.get(
            self.sizes["task"], self._classify
        )
        return outputs | task(inputs, states, pooled)

    def _pretrain(self, inputs, states, pooled):
        words, contrastive = self.words(states), self.cls.seq_relationship(pooled)
        labels = inputs["masked_lm_labels"]
        at_text = words[:, : labels.shape[1]].flatten(0, 1)
        loss_mlm = F.cross_entropy(at_text, labels.flatten(), ignore_index=-1)
        loss_contrastive = F.cross_entropy(contrastive, inputs["next_sentence_label"])
        return {
            "mlm_logits": words,
            "contrastive_logits": contrastive,
            "pooled": pooled,
            "loss_mlm": loss_mlm,
            "loss_contrastive": loss_contrastive,
            "loss": loss_mlm + loss_contrastive,
        }

    def _classify(self, inputs, states, pooled):
        if self.sizes["task"] == "nlvr2":
            logits = self.classifier(pooled.reshape(len(pooled) // 2, -1))
        else:
            logits = self.classifier(pooled)
        labels, kind = inputs["labels"], self.sizes["loss_type"]
        if kind == "bce":
            loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
            loss = loss * labels.shape[1]
        elif kind == "kl":
            log_p = F.log_softmax(logits, -1)
            loss = F.kl_div(log_p, labels.to(logits.dtype), reduction="batchmean")
        else:
            loss = F.cross_entropy(logits, labels)
        return {"pooled": pooled, "logits": logits, "loss": loss}

    def _caption(self, inputs, states, pooled):
        logits = self.words(states[:, : inputs["input_ids"].shape[1]])
        masked = logits[inputs["masked_pos"] == 1]
        target = inputs["masked_ids"][inputs["masked_ids"] != 0]
        eps = self.sizes["label_smoothing"]
        hot = F.one_hot(target, logits.shape[-1]).to(logits.dtype)
        hot = hot * (1 - eps) + (1 - hot) * eps / (logits.shape[-1] - 1)
        losses = F.kl_div(F.log_softmax(masked, -1), hot, reduction="none").sum(1)
        ratio = self.sizes["drop_worst_ratio"]
        if ratio > 0 and self.sizes["drop_worst_after"] < 1:  # the first call
            losses = torch.topk(losses, int(len(losses) * (1 - ratio)), largest=False)[0]
        loss = losses.mean()
        return {"logits": logits, "logits_masked": masked, "loss_masked": loss, "loss": loss}
