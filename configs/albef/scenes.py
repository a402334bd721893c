"""ALBEF (Li et al. 2021) in a small size on emoji scenes: pixels, contrast, momentum teacher."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="albef_scenes",
        model=dict(
            vision="vit",
            vision_args=dict(
                patch_size=16,
                stem_width=32,
                patch_norm=True,
                position_std=0.5,
                width=scenes.WIDTH,
                layers=3,
                **scenes.VISION_BLOCK,
            ),
            text="bert",
            text_args=scenes.text(2),
            fusion="cross_attention",
            fusion_args=dict(layers=2) | scenes.BLOCK,
            pooler="mean",
            heads=dict(
                itc=dict(width=64, image_pool="mean", text_pool="mean"), itm={}, mlm={}, vqa={}
            ),
        ),
        data=dict(add_sep=False),
        tasks=dict(
            itc=dict(alpha=0.2, in_batch="online", queue_size=256, queue_ramp=True),
            itm={},
            mlm=dict(alpha=0.2),
        ),
        # The published rate of the temperature suits thousands of steps.
        optimizer=dict(groups=(dict(pattern="temperature", learning_rate=0.05, weight_decay=0.0),)),
        training=dict(momentum=0.99, distillation_warmup=1000),
    )
