"""The quickstart's model writes captions from left to right; arguments "", "scratch", "smoke".

There is no published recipe: this one is of this package. As in ALBEF's fine-tuning on VQA the
decoder starts as the fusion, with the text encoder's embeddings and the word head.
"""

from vlp_jax.config import import_beside

after = import_beside(__file__, "../common/after_quickstart.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return after.experiment(
        argument,
        task="captioning_generative",
        head="caption",
        args=dict(
            layers=2, heads=4, mlp_width=256, max_length=24, dropout=0.0, attention_dropout=0.0
        ),
        start=dict(
            rename=(
                ("^fusion/layer_", "heads_caption/layer_"),
                ("^text/(word|position|type|norm)/", r"heads_caption/\1/"),
                ("^heads_mlm/", "heads_caption/words/"),
            )
        ),
        settings=dict(length=24),
        evaluate=dict(captioning=dict(split="test", limit=256, beams=3, max_length=24)),
        data=dict(
            source="emoji_scenes", source_args=dict(emoji_scenes=dict(concepts=after.CONCEPTS))
        ),
        steps=240,
    )
