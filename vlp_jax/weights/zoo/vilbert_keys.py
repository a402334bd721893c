"""The key tables of ViLBERT's published files, of both releases."""

from vlp_jax.config import ModelConfig
from vlp_jax.fusion.co_attention import Place, places
from vlp_jax.weights.key_groups import (
    bert_embeddings,
    bert_layer,
    post_norm_feed_forward,
    prediction_transform,
)
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    embedding,
    key_table,
    linear,
    merge_heads,
    norm,
    raw,
    split_heads,
    transposed,
)

# The two projections are in every published file and never used; the others come with libraries.
UNMODELLED = (
    r"bert\.encoder\.c_layer\.\d+\.biOutput\.q_dense[12]\.(weight|bias)",
    r"cls\.predictions\.decoder\.bias",
    r".*\.position_ids",
)


def pretrain_table(config: ModelConfig) -> KeyTable:
    """pretrained_model.bin, of both releases."""
    return key_table(base_entries(config), unmodelled=UNMODELLED)


def multi_task_table(config: ModelConfig) -> KeyTable:
    """multi_task_model.bin; [sic] "linguisic"."""
    names = {"vqa": "vil_prediction", "gqa": "vil_prediction_gqa", "nlvr2": "vil_binary_prediction"}
    return key_table(
        base_entries(config),
        [_classifier(name, f"heads_{head}") for head, name in names.items()],
        linear("vil_tri_prediction", "heads_ve/output"),
        _score_entries(),
        unmodelled=UNMODELLED,
    )


def beta_table(config: ModelConfig) -> KeyTable:
    """Files fine-tuned with the first release."""
    return key_table(
        base_entries(config),
        _weight_norm("vil_prediction.main.0", "heads_vqa/hidden"),
        _weight_norm("vil_prediction.main.3", "heads_vqa/output"),
        _score_entries(),
        unmodelled=UNMODELLED,
    )


def base_entries(config: ModelConfig) -> Entries:
    """Both streams, their connections, the poolers and the pre-training heads."""
    words, regions = "cls.predictions", "cls.imagePredictions"
    tasks = embedding("bert.embeddings.task_embeddings", "text/task_token")
    target = "object" if config.heads["regions"]["objects"] else "feature"
    return [
        bert_embeddings("bert.embeddings", "text", tied=[f"{words}.decoder.weight"]),
        tasks if config.text_args["tasks"] else [],
        linear("bert.v_embeddings.image_embeddings", "vision/feature_projection"),
        linear("bert.v_embeddings.image_location_embeddings", "vision/box_projection"),
        norm("bert.v_embeddings.LayerNorm", "vision/norm"),
        _layer_entries("bert.encoder.layer", "text", config),
        _layer_entries("bert.encoder.v_layer", "vision", config),
        [
            _connection(f"bert.encoder.c_layer.{i}", place, config.fusion_args["connection_heads"])
            for i, place in enumerate(fusion_places(config))
        ],
        linear("bert.t_pooler.dense", "pooler/text"),
        linear("bert.v_pooler.dense", "pooler/image"),
        prediction_transform(f"{words}.transform", "heads_mlm"),
        raw(f"{words}.bias", "heads_mlm/bias"),
        linear("cls.bi_seq_relationship", "heads_itm/dense"),
        prediction_transform(f"{regions}.transform", "heads_regions"),
        linear(f"{regions}.decoder", f"heads_regions/{target}"),
    ]


def _layer_entries(published: str, stream: str, config: ModelConfig) -> Entries:
    """All layers of one published stream: ours are in its encoder, then in the fusion."""
    args = config.text_args if stream == "text" else config.vision_args
    ours = [f"{stream}/layer_{i}" for i in range(args["layers"])]
    for place in fusion_places(config):
        ours += [f"fusion/{path}" for path in (place.text if stream == "text" else place.image)]
    heads = args["heads"]
    return [bert_layer(f"{published}.{i}", path, heads) for i, path in enumerate(ours)]


def fusion_places(config: ModelConfig) -> tuple[Place, ...]:
    """Returns where the fusion's connections, and the layers after each, are in our tree."""
    args = config.fusion_args
    return places(args["layers"], args.get("image_layers", ()), args.get("text_layers", ()))


def _connection(published: str, place: Place, heads: int) -> Entries:
    """A connection layer; published names number the streams, 1 for the image, 2 for the text."""
    ours = f"fusion/{place.connection}"
    return [
        _stream(published, f"{ours}/image_connection", "v", 1, 2, heads),
        _stream(published, f"{ours}/text_connection", "t", 2, 1, heads),
    ]


def _stream(published: str, ours: str, letter: str, own: int, other: int, heads: int) -> Entries:
    """The half of stream `own`: its queries read keys and values of stream `other`."""
    attention = f"{published}.biattention"
    return [
        split_heads(f"{attention}.query{own}", f"{ours}/attention/query", heads),
        split_heads(f"{attention}.key{other}", f"{ours}/attention/key", heads),
        split_heads(f"{attention}.value{other}", f"{ours}/attention/value", heads),
        merge_heads(f"{published}.biOutput.dense{own}", f"{ours}/attention/output", heads),
        norm(f"{published}.biOutput.LayerNorm{own}", f"{ours}/norm"),
        post_norm_feed_forward(
            f"{published}.{letter}_intermediate",
            f"{published}.{letter}_output",
            f"{ours}/feed_forward",
        ),
    ]


def _classifier(published: str, ours: str) -> Entries:
    """`logit_fc`: Linear, GELU, layer norm, Linear."""
    return [
        linear(f"{published}.logit_fc.0", f"{ours}/hidden"),
        norm(f"{published}.logit_fc.2", f"{ours}/norm"),
        linear(f"{published}.logit_fc.3", f"{ours}/output"),
    ]


def _weight_norm(published: str, ours: str) -> Entries:
    return [
        transposed(f"{published}.weight_v", f"{ours}/direction"),
        raw(f"{published}.weight_g", f"{ours}/magnitude"),
        raw(f"{published}.bias", f"{ours}/bias"),
    ]


def _score_entries() -> Entries:
    return [
        linear("vil_logit", "heads_ranking/output"),
        linear("vision_logit", "heads_grounding/output"),
        linear("linguisic_logit", "heads_words/output"),
    ]
