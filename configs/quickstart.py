"""ALBEF's composition in a small size, trained on emoji scenes and easy-VQA in minutes on a CPU."""


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    config = dict(
        name="quickstart",
        model=_model(),
        data=_data(),
        tasks=_tasks(),
        optimizer=_optimizer(),
        training=dict(
            steps=1200,
            momentum=0.9,
            # Longer than the run, so that the queue never counts in full.
            distillation_warmup=2500,
            log_every=20,
            checkpoint_every=600,
        ),
        evaluation=dict(batch_size=64),
    )
    if argument == "smoke":
        _shrink(config)
    elif argument:
        raise ValueError(f'unknown argument "{argument}" of this config; known: smoke')
    return config


def _shrink(config: dict) -> None:
    """Cuts the experiment down to seconds."""
    config["training"] |= dict(steps=4, log_every=2, checkpoint_every=2)
    config["optimizer"] |= dict(warmup_steps=1)
    config["data"] |= dict(batch_size=8, source_args=dict(emoji_scenes=dict(concepts=12)))
    config["data"]["per_source"] = dict(easy_vqa=dict(first_step=1))
    config["tasks"]["itc"] |= dict(queue_size=16)
    config["evaluation"] |= dict(batch_size=8)
    for task in config["tasks"].values():
        for evaluation in task.get("evaluate", {}).values():
            evaluation["limit"] = 16
    for part in ("vision_args", "text_args", "fusion_args"):
        config["model"][part] |= dict(layers=1)


def _data() -> dict:
    """Scenes of emoji, and questions on shapes."""
    return dict(
        source="emoji_scenes::easy_vqa",
        weights=dict(emoji_scenes=1.0, easy_vqa=2.0),
        # Where things are is learned in some 450 steps by themselves, among others not in 1,200.
        per_source=dict(easy_vqa=dict(first_step=450)),
        source_args=dict(emoji_scenes=dict(concepts=24)),
        batch_size=32,
        image_size=64,
        text_length=20,
        vocabulary="fit",
        flip=False,
        threads=1,
        prefetch=8,
    )


def _optimizer() -> dict:
    """Muon, which learns most in a short run."""
    return dict(
        name="muon",
        muon_rms=1.2,
        muon_momentum=0.85,  # the steps of two sources alternate; a long memory mixes them
        learning_rate=1e-3,
        end_learning_rate=1e-5,
        schedule="linear",
        warmup_steps=30,
        weight_decay=0.02,
        beta2=0.98,
        clip_norm=1.0,
        # The published rate suits 0.07 over thousands of steps; here it collapses in a hundred.
        groups=(dict(pattern="temperature", learning_rate=0.05, weight_decay=0.0),),
    )


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
    """What is learned, and what is measured at the end on splits that training does not see."""
    found = dict(rerank=10, similarity_weight=3.0)
    return dict(
        itc=dict(weight=1.0, alpha=0.2, in_batch="online", queue_size=256, queue_ramp=True),
        itm=dict(weight=2.0, hardness=0.3, foils=0.8),
        retrieval=dict(
            captions=1,
            evaluate=dict(
                retrieval=dict(split="test", limit=512, **found),
                novel=dict(split="novel", limit=256, **found),
            ),
        ),
        near_miss=dict(evaluate=dict(near_miss=dict(split="test", limit=512))),
        vqa=dict(
            weight=2.0,
            form="ce",
            question_length=14,
            questions=4,
            evaluate=dict(
                scene_vqa=dict(source="emoji_scenes", limit=1024),
                easy_vqa=dict(source="easy_vqa", limit=None),
            ),
        ),
        mlm=dict(
            weight=1.0,
            alpha=0.0,
            # In a short run more words to guess are worth more than the context they take away.
            probability=0.4,
            evaluate=dict(mlm=dict(split="test", limit=512)),
        ),
    )
