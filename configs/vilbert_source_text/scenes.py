"""What the project's source text calls ViLBERT, in a small size on emoji scenes: one stream."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="vilbert_source_text_scenes",
        model=dict(
            vision="resnet",
            vision_args=dict(
                width=scenes.WIDTH,
                embedding_width=32,
                widths=(32, 64, scenes.WIDTH),
                depths=(1, 1, 1),
                block="basic",
                frozen_norm=False,
            ),
            text="bert",
            text_args=scenes.text(2),
            fusion="single_stream",
            fusion_args=dict(layers=3) | scenes.BLOCK,
            pooler="mean",
            heads=dict(mlm={}, itm={}, vqa={}),
        ),
        tasks=dict(mlm={}, itm=dict(negatives="swapped")),
    )
