"""VisualBERT (Li et al. 2019) in a small size on emoji scenes: one stream, pairs of captions."""

from vlp_jax.config import import_beside

scenes = import_beside(__file__, "../common/scenes.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment; "smoke" makes it run in seconds."""
    length = 2 * scenes.TEXT_LENGTH
    return scenes.experiment(
        argument,
        name="visualbert_scenes",
        model=dict(
            vision="regions",
            vision_args=scenes.regions("none", output_norm=False, types=2, positions=length),
            text="bert",
            text_args=scenes.text(0, embedding_norm=False, frozen_first_rows=()),
            fusion="single_stream",
            fusion_args=dict(layers=6, embedding_norm=True) | scenes.BLOCK,
            pooler="mean",
            heads=dict(mlm={}, itm={}, vqa=dict(form="linear")),
        ),
        data=dict(text_length=length) | scenes.REGIONS,
        tasks=dict(mlm={}, sentence_image={}),
        # The head tells whether two captions are of one image, not whether one is of this image.
        matches=False,
    )
