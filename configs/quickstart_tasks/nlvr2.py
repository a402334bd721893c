"""The quickstart's model on scenes in the form of NLVR2; arguments "", "scratch" and "smoke".

Half of the sentences are false: of a third scene, or of the same words as a true one.
"""

from vlp_jax.config import import_beside

after = import_beside(__file__, "../common/after_quickstart.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    scenes = dict(form="picture_pairs", concepts=after.CONCEPTS)
    return after.experiment(
        argument,
        task="nlvr2",
        head="nlvr2",
        settings={},
        evaluate=dict(nlvr2=dict(split="test", limit=1024)),
        data=dict(source="emoji_tasks", source_args=dict(emoji_tasks=scenes)),
        steps=300,
        # With the quickstart's own rate the loss stays near that of guessing for longer.
        optimizer=dict(learning_rate=3e-4),
    )
