"""ViLBERT on Visual7W's pointing questions alone, as the second release trains it (task 4).

The arguments are "" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/visual7w_pointing_dataset.py of github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 256, 20  # batch_size; num_epoch
EPOCH = finetune.VISUAL7W // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="pointing",
        name="visual7w",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("grounding", 4),
        start=finetune.vilbert_start("grounding"),
        verb="point",
        source=finetune.visual7w(),
        settings=dict(slots=99, head="grounding"),  # max_region_num 200
        evaluate=dict(visual7w=dict(split="validation", limit=None)),
        best="visual7w_accuracy",
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
