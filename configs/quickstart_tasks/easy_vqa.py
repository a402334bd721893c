"""The quickstart's model fine-tuned on easy-VQA; arguments "", "scratch" and "smoke"."""

from vlp_jax.config import import_beside

after = import_beside(__file__, "../common/after_quickstart.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return after.experiment(
        argument,
        task="vqa",
        head="vqa",
        settings=dict(form="ce", question_length=14, questions=6),
        # Of the curve; `vlp-jax evaluate` measures all of the split.
        evaluate=dict(easy_vqa=dict(split="test", limit=2048)),
        data=dict(source="easy_vqa"),
        steps=480,
        every=80,
    )
