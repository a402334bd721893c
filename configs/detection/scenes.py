"""Faster R-CNN (Ren et al. 2015) in a small size on emoji scenes: 24 things to find."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")

# A detector reads no text: the smallest parts stand where a model has text and fusion.
_NO_TEXT = dict(
    text="bert",
    text_args=dict(width=8, layers=0, max_length=scenes.TEXT_LENGTH),
    fusion="cross_attention",
    fusion_args=dict(layers=0),
)


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.made(
        argument,
        name="detection_scenes",
        model=_NO_TEXT
        | dict(
            vision="resnet",
            vision_args=dict(
                embedding_width=32,
                widths=(48, 96),
                depths=(1, 1),
                block="basic",
                frozen_norm=False,
            ),
            heads=dict(
                detection=dict(
                    anchor_sizes=(0.3, 0.42),
                    anchor_ratios=(1.0,),
                    hidden=96,
                    kept=32,
                    bins=4,
                    width=256,
                )
            ),
        ),
        data=dict(regions=4),
        tasks=dict(
            detection=dict(
                anchors=64,
                regions=16,
                share=0.5,
                evaluate=dict(detection=dict(split="test", limit=1024)),
            )
        ),
        training=dict(steps=500, log_every=50, checkpoint_every=500),
    )
