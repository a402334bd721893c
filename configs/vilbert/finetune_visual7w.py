"""ViLBERT on Visual7W's pointing questions alone, as the second release trains it (task 4).

The arguments are "" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/visual7w_pointing_dataset.py of github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.vilbert_pointing(
        argument,
        name="visual7w",
        token=4,
        source=finetune.visual7w(),
        examples=finetune.VISUAL7W,
        batch=256,  # batch_size
        slots=99,  # max_region_num 200
    )
