"""ViLBERT on GuessWhat's objects alone, as the second release trains it (task 17).

The arguments are "" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/guesswhat_pointing_dataset.py of github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 64, 20  # batch_size; num_epoch
EPOCH = finetune.GUESSWHAT // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="pointing",
        name="guesswhat",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("grounding", 17),
        start=finetune.vilbert_start("grounding"),
        verb="point",
        source=finetune.guesswhat(),
        data=dict(text_length=256),  # max_seq_length: whole dialogues
        settings=dict(slots=205, head="grounding"),  # max_region_num 306
        evaluate=dict(guesswhat=dict(split="validation", limit=None)),
        best="guesswhat_accuracy",
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
