"""ALBEF's composition in a small size, trained on emoji scenes and easy-VQA in minutes on a CPU."""

import ml_collections


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    config = ml_collections.ConfigDict()
    config.name = "quickstart"
    config.model = _model()
    config.data = dict(
        source="emoji_scenes::easy_vqa",
        weights=dict(emoji_scenes=5.0, easy_vqa=2.0),
        source_args=dict(emoji_scenes=dict(concepts=24)),
        batch_size=32,
        image_size=64,
        text_length=20,
        question_length=14,
        questions=4,
        vocabulary="fit",
        # In a short run more words to guess are worth more than the context they take away.
        mask_probability=0.4,
        foils=True,
        flip=False,
        threads=1,
        prefetch=8,
    )
    config.objectives = dict(
        itc=dict(weight=1.0, alpha=0.2, in_batch="online", queue_ramp=True),
        itm=dict(weight=2.0, hardness=0.3, foils=0.6),
        mlm=dict(weight=1.0, alpha=0.0),
        vqa=dict(weight=2.0, form="ce"),
    )
    config.optimizer = dict(
        name="muon",
        muon_rms=1.2,
        muon_momentum=0.85,  # the steps of two sources alternate; a long memory mixes them
        learning_rate=1e-3,
        end_learning_rate=1e-5,
        schedule="cosine",
        warmup_steps=30,
        weight_decay=0.02,
        beta2=0.98,
        clip_norm=1.0,
        # The published rate suits 0.07 over thousands of steps; here it collapses in a hundred.
        groups=(dict(pattern="temperature", learning_rate=0.05, weight_decay=0.0),),
    )
    config.training = dict(
        steps=560,
        momentum=0.9,
        queue_size=256,
        distillation_warmup=1000,
        log_every=20,
        checkpoint_every=280,
    )
    config.evaluation = dict(
        batch_size=64,
        tasks=_tasks(),
    )
    if argument == "smoke":
        _shrink(config)
    elif argument:
        raise ValueError(f'unknown argument "{argument}" of this config; known: smoke')
    return config


def _shrink(config: ml_collections.ConfigDict) -> None:
    """Cuts the experiment down to seconds."""
    config.training.update(steps=4, log_every=2, checkpoint_every=2, queue_size=16)
    config.optimizer.warmup_steps = 1
    config.data.batch_size = 8
    config.data.source_args.emoji_scenes = dict(concepts=12)
    config.evaluation.batch_size = 8
    for task in config.evaluation.tasks.values():
        task.limit = 16
    for part in ("vision_args", "text_args", "fusion_args"):
        config.model[part].update(layers=1)


def _model() -> dict:
    """ViT, BERT and cross-attention, small enough for two CPU cores."""
    width, heads = 128, 4
    block = dict(heads=heads, mlp_width=2 * width, dropout=0.0, attention_dropout=0.0)
    return dict(
        vision="vit",
        vision_args=dict(
            patch_size=16,
            stem_width=32,
            patch_norm=True,
            position_std=0.5,
            width=width,
            layers=3,
            heads=heads,
            mlp_width=2 * width,
        ),
        text="bert",
        text_args=dict(width=width, layers=1, max_length=24, **block),
        fusion="cross_attention",
        fusion_args=dict(layers=2, **block),
        pooler="mean",
        # A mean over tokens, because in a short run [CLS] does not learn where to look.
        heads=dict(itc=dict(width=64, image_pool="mean", text_pool="mean"), itm={}, mlm={}, vqa={}),
        init_std=0.05,
    )


def _tasks() -> dict:
    """What is measured at the end, on splits that training does not see."""
    return dict(
        retrieval=dict(split="test", limit=512, rerank=10, similarity_weight=3.0),
        novel=dict(kind="retrieval", split="novel", limit=256, rerank=10, similarity_weight=3.0),
        near_miss=dict(split="test", limit=512),
        scene_vqa=dict(kind="vqa", source="emoji_scenes", limit=1024),
        easy_vqa=dict(kind="vqa", source="easy_vqa", limit=None),
        mlm=dict(split="test", limit=512),
    )
