"""The quickstart's model fine-tuned on easy-VQA; arguments "", "scratch" and "smoke"."""

from vlp_jax.config import import_beside

after = import_beside(__file__, "../common/after_quickstart.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    limit = 16 if argument == "smoke" else 2048  # of the curve; `evaluate` measures all
    return after.experiment(
        argument,
        task="vqa",
        settings=dict(
            form="ce",
            question_length=14,
            questions=6,
            evaluate=dict(easy_vqa=dict(split="test", limit=limit)),
        ),
        source="easy_vqa",
        steps=800,
        flip=True,  # no question asks where
    )
