"""OSCAR (Li et al. 2020) in a small size on emoji scenes: caption, tags and regions in one."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="oscar_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions("corners_size", boxes_joined=True, output_norm=False),
            text="bert",
            text_args=scenes.text(0),
            fusion="single_stream",
            fusion_args=dict(layers=6) | scenes.BLOCK,
            pooler="mean",
            heads=dict(mlm={}, itm=dict(match_index=0), vqa=dict(form="linear")),
        ),
        data=dict(tags=True, text_length=36) | scenes.REGIONS,
        tasks=dict(mlm={}, contrastive_tags={}),
        # The head tells whether the tags are of this image, not whether the caption is.
        matches=False,
    )
