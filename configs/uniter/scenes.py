"""UNITER (Chen et al. 2020) in a small size on emoji scenes: one stream, one task a step."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="uniter_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions(
                "corners_size_area",
                feature_norm=True,
                box_norm=True,
                text_type=1,
                mask_embedding=True,
            ),
            text="bert",
            text_args=scenes.text(0),
            fusion="single_stream",
            fusion_args=dict(layers=6) | scenes.BLOCK,
            pooler="mean",
            heads=dict(
                mlm={},
                itm={},
                region_feature={},
                region_classifier=dict(hidden=scenes.WIDTH),
                vqa={},
            ),
        ),
        data=dict(scenes.REGIONS),
        tasks=dict(
            itm=dict(negatives="swapped"),
            alignment=dict(weight=0.1),
            mlm=dict(at_least_one=True),
            region_feature={},
            region_class=dict(form="kl_mean"),
        ),
        # The published shares of Conceptual Captions, and as many steps for questions as for words.
        # A step of one task takes a third of the time of a step of all, so there are more of them.
        training=dict(
            steps=480,
            schedule="sampled",
            mix={
                "itm+alignment": 9.0,
                "mlm": 12.0,
                "region_feature": 6.0,
                "region_class": 6.0,
                "vqa": 12.0,
            },
        ),
        # A longer memory would mix the gradients of tasks that have nothing to do with the step's.
        optimizer=dict(muon_momentum=0.6),
    )
