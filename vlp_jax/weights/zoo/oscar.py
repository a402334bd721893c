"""OSCAR and OSCAR+ (VinVL): presets, conventions and the key tables of their published files.

"Oscar: Object-Semantics Aligned Pre-training for Vision-Language Tasks" (Li et al. 2020),
https://arxiv.org/abs/2004.06165; "VinVL: Revisiting Visual Representations in Vision-Language
Models" (Zhang et al. 2021), https://arxiv.org/abs/2101.00529; code: github.com/microsoft/Oscar.
"""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import ModelConfig, nearest
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.weights.key_groups import bert_embeddings, bert_layer, mlm_head
from vlp_jax.weights.key_table import Entries, KeyTable, key_table, linear, norm, raw
from vlp_jax.weights.zoo.base import Conventions, Published, register

PAPERS = {
    "oscar": "Oscar (Li et al. 2020), https://arxiv.org/abs/2004.06165",
    "oscarplus": "VinVL (Zhang et al. 2021), https://arxiv.org/abs/2101.00529",
}

# A published region vector ends with x1, y1, x2, y2, width and height as shares of the image.
BOX_NUMBERS = 6

# Task -> (tokens of text and tags, regions of a picture), from the published commands. Texts are
# cut before tags in fine-tuning on pairs (`run_retrieval.py`), the longer of both elsewhere.
LENGTHS = {
    "pretrain": (35, 50),
    "vqa": (128, 50),
    "gqa": (165, 45),
    "nlvr2": (55, 40),
    "retrieval": (70, 50),
    "caption": (70, 50),
}


def input_rules(family: str, task: str) -> InputRules:
    """Returns how a model is given text, tags and regions; VinVL's retrieval shows 70 regions."""
    length, regions = LENGTHS[task]
    if (family, task) == ("oscarplus", "retrieval"):
        regions = 70
    return InputRules(
        TextRules(length=length),
        regions=Rules(max_boxes=regions, order="file"),
        tags=True,
        cut="second" if task in ("retrieval", "caption") else "longer",
    )


WORDS = "cls.predictions"
UNMODELLED = (r"bert\.embeddings\.position_ids",)


def model_config(
    published: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]
) -> ModelConfig:
    """Returns the model of a published config with the given heads."""
    return ModelConfig(
        vision="regions",
        vision_args=_region_args(published),
        text="bert",
        text_args=dict(
            vocab_size=published["vocab_size"],
            width=published["hidden_size"],
            layers=0,
            max_length=published["max_position_embeddings"],
            types=published["type_vocab_size"],
            dropout=published["hidden_dropout_prob"],
            epsilon=_epsilon(published),
        ),
        fusion="single_stream",
        fusion_args=dict(
            layers=published["num_hidden_layers"],
            heads=published["num_attention_heads"],
            mlp_width=published["intermediate_size"],
            dropout=published["hidden_dropout_prob"],
            attention_dropout=published["attention_probs_dropout_prob"],
            epsilon=_epsilon(published),
            activation=published["hidden_act"],
        ),
        pooler="tanh",
        heads=dict(heads),
    )


def _region_args(published: Mapping[str, Any]) -> dict[str, Any]:
    kind, width = published.get("img_feature_type", "faster_r-cnn"), published["img_feature_dim"]
    if str(kind).startswith("dis_code"):
        raise ValueError(
            f'img_feature_type = "{kind}": region codes are not supported, and no published model '
            'uses them; expected "faster_r-cnn" or "frcnn"'
        )
    if width <= BOX_NUMBERS:
        raise ValueError(
            f"img_feature_dim = {width}: expected a feature and {BOX_NUMBERS} box numbers, "
            "2054 as published"
        )
    return dict(
        feature_width=width - BOX_NUMBERS,
        width=published["hidden_size"],
        boxes="corners_size",
        boxes_joined=True,
        output_norm=_image_norm(published),
        dropout=published["hidden_dropout_prob"],
        epsilon=published.get("img_layer_norm_eps", 1e-12),
    )


def _image_norm(published: Mapping[str, Any]) -> bool:
    return bool(published.get("use_img_layernorm"))


def _epsilon(published: Mapping[str, Any]) -> float:
    return published.get("layer_norm_eps", 1e-12)


def _words(published: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    return dict(epsilon=_epsilon(published), activation=published["hidden_act"], tied=tied)


def _classifier(published: Mapping[str, Any], form: str = "mlp_relu") -> dict[str, Any]:
    """The published `classifier`: "linear", or "mlp" in the given form."""
    kind = published.get("classifier", "linear")
    forms = {"linear": "linear", "mlp": form}
    if kind not in forms:
        raise ValueError(
            f'classifier = "{kind}".{nearest(kind, forms)} Allowed: {", ".join(forms)}'
        )
    return dict(
        kind="classifier",
        classes=published["num_labels"],
        form=forms[kind],
        hidden=published["hidden_size"] * published.get("cls_hidden_scale", 2),
        dropout=published["hidden_dropout_prob"],
        epsilon=_epsilon(published),
    )


def pretrain_config(published: Mapping[str, Any]) -> ModelConfig:
    """Pre-training: masked words, and whether caption, tags and image belong together.

    Class 0 is "they do"; 1 wrong tags; in OSCAR+ 2 a wrong caption.
    """
    classes = published.get("num_contrast_classes", 2)
    heads = {"mlm": _words(published, tied=True), "itm": {"match_index": 0, "classes": classes}}
    return model_config(published, heads)


def answer_config(published: Mapping[str, Any]) -> ModelConfig:
    """VQA and GQA: a classifier over a closed list of answers."""
    return model_config(published, {"vqa": _classifier(published)})


def retrieval_config(published: Mapping[str, Any]) -> ModelConfig:
    """Retrieval: class 1 is "the caption describes the image", unlike in pre-training."""
    if _classifier(published)["form"] != "linear":
        raise ValueError(
            f'classifier = "{published["classifier"]}": OSCAR\'s retrieval has a "linear" one'
        )
    return model_config(published, {"itm": {"match_index": 1, "classes": published["num_labels"]}})


def nlvr2_config(published: Mapping[str, Any]) -> ModelConfig:
    """NLVR2: a classifier on the pooled vectors of the sentence with each of two images."""
    if published.get("num_choice", 2) != 2:
        raise ValueError(f"num_choice = {published['num_choice']}: NLVR2 has two images, so 2")
    form = "mlp_relu_norm" if _image_norm(published) else "mlp_relu"
    head = _classifier(published, form) | {"kind": "pair_classifier"}
    return model_config(published, {"nlvr2": head})


def caption_config(published: Mapping[str, Any]) -> ModelConfig:
    """Captioning: the word head reads a [MASK] at the next position, see `inference.captioning`.

    `freeze_embedding` of the published config is a matter of training, see docs/models/oscar.md.
    """
    tied = bool(published.get("tie_weights"))
    return model_config(published, {"mlm": _words(published, tied)})


def pretrain_table(config: ModelConfig) -> KeyTable:
    """pytorch_model.bin of the pre-trained folders."""
    return key_table(
        body_entries(config, tied=True),
        mlm_head(WORDS, "heads_mlm"),
        linear("cls.seq_relationship", "heads_itm/dense"),
        unmodelled=UNMODELLED,
    )


def answer_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned VQA and GQA files."""
    return key_table(body_entries(config), classifier_entries(config, "vqa"), unmodelled=UNMODELLED)


def retrieval_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned retrieval files."""
    return key_table(
        body_entries(config), linear("classifier", "heads_itm/dense"), unmodelled=UNMODELLED
    )


def nlvr2_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned NLVR2 files."""
    return key_table(
        body_entries(config), classifier_entries(config, "nlvr2"), unmodelled=UNMODELLED
    )


def caption_table(config: ModelConfig) -> KeyTable:
    """Fine-tuned captioning files; the output layer is tied or a matrix of its own."""
    tied = config.heads["mlm"]["tied"]
    decoder = [] if tied else raw(f"{WORDS}.decoder.weight", "heads_mlm/decoder")
    return key_table(
        body_entries(config, tied),
        mlm_head(WORDS, "heads_mlm"),
        [decoder],
        unmodelled=UNMODELLED,
    )


def body_entries(config: ModelConfig, tied: bool = False) -> Entries:
    """Embeddings, image projection, the one Transformer and the pooler."""
    args = config.fusion_args
    return [
        bert_embeddings("bert.embeddings", "text", [f"{WORDS}.decoder.weight"] if tied else []),
        linear("bert.img_embedding", "vision/feature_projection"),
        norm("bert.LayerNorm", "vision/norm") if config.vision_args["output_norm"] else [],
        [
            bert_layer(f"bert.encoder.layer.{i}", f"fusion/layer_{i}", args["heads"])
            for i in range(args["layers"])
        ],
        linear("bert.pooler.dense", "pooler/dense"),
    ]


def classifier_entries(config: ModelConfig, head: str) -> Entries:
    """`classifier`: one layer, or a list of Linear, ReLU, in OSCAR+'s NLVR2 a norm, and Linear."""
    form = config.heads[head]["form"]
    if form == "linear":
        return linear("classifier", f"heads_{head}/output")
    with_norm = form == "mlp_relu_norm"
    return [
        linear("classifier.0", f"heads_{head}/hidden"),
        norm("classifier.2", f"heads_{head}/norm") if with_norm else [],
        linear(f"classifier.{3 if with_norm else 2}", f"heads_{head}/output"),
    ]


_SIZES = {
    "": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
    "_large": dict(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}


def published_sizes(family: str, size: str, task: str) -> dict[str, Any]:
    """The published config of "oscar" or "oscarplus", of size "" (base) or "_large".

    Dropout 0.3 and the classifiers are those of the fine-tuning scripts in MODEL_ZOO.md; 1853 are
    the answers of GQA's train, validation and test-dev questions together.
    """
    plus = family == "oscarplus"
    tasks = {
        "pretrain": dict(num_contrast_classes=3 if plus else 2),
        "vqa": dict(num_labels=3129, loss_type="bce", classifier="linear"),
        "gqa": dict(num_labels=1853, loss_type="xe", classifier="linear"),
        "nlvr2": dict(
            num_labels=2,
            num_choice=2,
            loss_type="xe",
            classifier="mlp",
            cls_hidden_scale=2 if size else 3,
        ),
        "retrieval": dict(num_labels=2, loss_type="sfmx"),
        "caption": dict(tie_weights=plus, freeze_embedding=plus),
    }
    return dict(
        vocab_size=30522,
        max_position_embeddings=512,
        type_vocab_size=2,
        hidden_act="gelu",
        hidden_dropout_prob=0.3 if task in ("vqa", "gqa", "nlvr2") else 0.1,
        attention_probs_dropout_prob=0.1,
        layer_norm_eps=1e-12,
        img_feature_dim=2054,
        img_feature_type="faster_r-cnn",
        use_img_layernorm=int(plus),
        img_layer_norm_eps=1e-12,
        **_SIZES[size],
        **tasks[task],
    )


_BUILDERS = {
    "pretrain": (pretrain_config, pretrain_table),
    "vqa": (answer_config, answer_table),
    "gqa": (answer_config, answer_table),
    "nlvr2": (nlvr2_config, nlvr2_table),
    "retrieval": (retrieval_config, retrieval_table),
    "caption": (caption_config, caption_table),
}

# Trained numbers, tied tensors once.
_PARAMETERS = {
    "oscar": 111_684_668,
    "oscar_vqa": 113_466_681,
    "oscar_gqa": 112_485_437,
    "oscar_nlvr2": 114_606_338,
    "oscar_retrieval": 111_062_018,
    "oscar_caption": 135_124_026,
    "oscar_large": 338_330_428,
    "oscar_large_vqa": 340_453_433,
    "oscar_large_gqa": 339_145_533,
    "oscar_large_nlvr2": 341_446_658,
    "oscar_large_retrieval": 337_248_258,
    "oscar_large_caption": 369_582_906,
    "oscarplus": 111_686_973,
    "oscarplus_vqa": 113_468_217,
    "oscarplus_gqa": 112_486_973,
    "oscarplus_nlvr2": 114_612_482,
    "oscarplus_retrieval": 111_063_554,
    "oscarplus_caption": 111_684_666,
    "oscarplus_large": 338_333_501,
    "oscarplus_large_vqa": 340_455_481,
    "oscarplus_large_gqa": 339_147_581,
    "oscarplus_large_nlvr2": 341_452_802,
    "oscarplus_large_retrieval": 337_250_306,
    "oscarplus_large_caption": 338_330_426,
}

for _family in ("oscar", "oscarplus"):
    for _size in _SIZES:
        for _task, (_config, _table) in _BUILDERS.items():
            _name = _family + _size + ("" if _task == "pretrain" else f"_{_task}")
            register(
                Published(
                    name=_name,
                    family=_family,
                    task=_task,
                    sizes=published_sizes(_family, _size, _task),
                    from_published=_config,
                    key_table=_table,
                    parameters=_PARAMETERS[_name],
                    paper=PAPERS[_family],
                    conventions=Conventions(match_index=1 if _task == "retrieval" else 0),
                    inputs=input_rules(_family, _task),
                )
            )
