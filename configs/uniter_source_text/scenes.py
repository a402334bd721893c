"""What the project's source text calls UNITER, in a small size on emoji scenes: two streams."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="uniter_source_text_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions(
                "corners_size_area", feature_norm=True, box_norm=True, layers=1
            ),
            text="bert",
            text_args=scenes.text(2),
            fusion="cross_modal",
            fusion_args=dict(layers=2) | scenes.BLOCK,
            pooler="mean",
            heads=dict(mlm={}, itm={}, vqa={}),
        ),
        data=dict(scenes.REGIONS),
        tasks=dict(mlm={}, itm=dict(negatives="swapped")),
    )
