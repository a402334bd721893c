"""ViLBERT on GuessWhat's objects alone, as the second release trains it (task 17).

The arguments are "" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/guesswhat_pointing_dataset.py of github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.vilbert_pointing(
        argument,
        name="guesswhat",
        token=17,
        source=finetune.guesswhat(),
        examples=finetune.GUESSWHAT,
        batch=64,  # batch_size
        slots=205,  # max_region_num 306
    )
