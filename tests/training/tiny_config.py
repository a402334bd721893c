"""An experiment that compiles and trains in seconds, for the tests; see `get_config`."""

from typing import Any

SIDE = 32


def get_config(argument: str = "") -> dict[str, Any]:
    """Returns ALBEF's composition with one layer of width 16 on 64 scenes.

    "" trains all four tasks, with a teacher and a queue; "pairs" only the contrastive one with
    both; "light" only answers, without either, which compiles quickest.
    """
    heads = dict(itc=dict(width=8), itm={}, mlm={}, vqa={})
    kept = {"": tuple(heads), "pairs": ("itc",), "light": ("vqa",)}[argument]
    teacher = dict(momentum=0.9, distillation_warmup=4) if "itc" in kept else {}
    block = dict(heads=2, mlp_width=32, dropout=0.0, attention_dropout=0.0)
    trained = dict(
        itc=dict(queue_size=16),
        itm={},
        mlm=dict(evaluate=dict(mlm=dict(limit=16, baseline_records=32))),
        vqa=dict(
            form="ce",
            question_length=8,
            evaluate=dict(vqa=dict(limit=16, baseline_records=32)),
        ),
    )
    return dict(
        name="tiny",
        model=dict(
            vision="vit",
            vision_args=dict(patch_size=16, width=16, layers=1, heads=2, mlp_width=32),
            text="bert",
            text_args=dict(width=16, layers=1, max_length=12, **block),
            fusion="cross_attention",
            fusion_args=dict(layers=1, **block),
            heads={name: heads[name] for name in kept},
        ),
        data=dict(
            source="emoji_scenes",
            source_args=dict(emoji_scenes=dict(concepts=12, size=64, canvas=SIDE)),
            batch_size=8,
            image_size=SIDE,
            text_length=12,
            vocabulary="fit",
            flip=False,
        ),
        tasks=dict(
            **{name: trained[name] for name in kept},
            retrieval=dict(evaluate=dict(retrieval=dict(limit=16, rerank=4, examples=2))),
            near_miss=dict(evaluate=dict(near_miss=dict(limit=8))),
        ),
        optimizer=dict(learning_rate=1e-3, warmup_steps=2, weight_decay=0.1),
        training=dict(steps=6, log_every=2, checkpoint_every=3, nan_patience=3, **teacher),
        evaluation=dict(batch_size=8),
    )
