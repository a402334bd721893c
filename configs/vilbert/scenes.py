"""ViLBERT (Lu et al. 2019) in a small size on emoji scenes: two streams with co-attention."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    return scenes.experiment(
        argument,
        name="vilbert_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions("corners_area"),
            text="bert",
            text_args=scenes.text(1),
            fusion="co_attention",
            fusion_args=dict(
                layers=2,
                width=scenes.WIDTH,
                connection_heads=4,
                image_heads=4,
                image_mlp_width=scenes.WIDTH,
                image_dropout=0.0,
                image_attention_dropout=0.0,
                **scenes.BLOCK,
            ),
            pooler="product",
            pooler_args=dict(width=scenes.WIDTH, dropout=0.0, pool="mean"),
            heads=dict(mlm={}, itm=dict(match_index=0), regions=dict(kind="region_labels"), vqa={}),
        ),
        data=dict(global_region=True, **scenes.REGIONS),
        tasks=dict(
            mlm={},
            # As the README of vilbert-multi-task trains it: --objective 1.
            pair=dict(predict_wrong_pairs=False),
            region_class=dict(masking="vilbert", form="kl_sum", text="masked", head="regions"),
        ),
    )
