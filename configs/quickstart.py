"""ALBEF's composition in a small size, trained on emoji scenes and easy-VQA in minutes on a CPU."""

import ml_collections


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    width, heads = 128, 4
    config = ml_collections.ConfigDict()
    config.name = "quickstart"
    block = dict(heads=heads, mlp_width=3 * width, dropout=0.0, attention_dropout=0.0)
    config.model = dict(
        vision="vit",
        vision_args=dict(
            patch_size=16, stem_width=32, width=width, layers=3, heads=heads, mlp_width=3 * width
        ),
        text="bert",
        text_args=dict(width=width, layers=2, max_length=32, **block),
        fusion="cross_attention",
        fusion_args=dict(layers=2, **block),
        heads=dict(itc=dict(width=64), itm={}, mlm={}, vqa=dict(form="mlp_norm")),
        init_std=0.05,
    )
    config.data = dict(
        source="emoji_scenes::easy_vqa",
        weights=dict(emoji_scenes=2.0, easy_vqa=1.0),
        source_args=dict(emoji_scenes=dict(concepts=60, size=60_000)),
        batch_size=64,
        image_size=64,
        text_length=28,
        question_length=20,
        vocabulary="fit",
        flip=False,
        threads=1,
        prefetch=8,
    )
    config.objectives = dict(
        itc=dict(weight=1.0, alpha=0.4),
        itm=dict(weight=1.0),
        mlm=dict(weight=0.5, alpha=0.2),
        vqa=dict(weight=1.0, form="ce"),
    )
    config.optimizer = dict(
        learning_rate=1e-3,
        end_learning_rate=1e-5,
        schedule="cosine",
        warmup_steps=100,
        weight_decay=0.02,
        beta2=0.98,
        clip_norm=1.0,
    )
    config.training = dict(
        steps=1200,
        momentum=0.99,
        queue_size=512,
        distillation_warmup=600,
        log_every=20,
        checkpoint_every=600,
    )
    return config
