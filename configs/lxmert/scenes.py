"""LXMERT (Tan and Bansal 2019) in a small size on emoji scenes: three encoders, region labels."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="lxmert_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions(
                "corners",
                feature_norm=True,
                box_norm=True,
                output_norm=False,
                average=True,
                layers=1,
            ),
            text="bert",
            text_args=scenes.text(2, frozen_first_rows=("word", "position", "type")),
            fusion="cross_modality",
            fusion_args=dict(layers=2) | scenes.BLOCK,
            pooler="mean",
            heads=dict(mlm={}, itm={}, region_labels={}, vqa={}),
        ),
        data=dict(scenes.REGIONS),
        tasks=dict(mlm={}, pair={}, region_labels={}),
    )
