"""ViLBERT on NLVR2 alone, as the second release trains it (task 12); arguments "" and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/nlvr2_dataset.py of
github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 86_373, 64, 20  # train; batch_size; num_epoch
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="nlvr2",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("nlvr2", 12),
        start=finetune.vilbert_start("nlvr2"),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            store="vilbert_lmdb",
            features="data/vilbert/nlvr2/nlvr2_feat.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce_mean"),
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=finetune.vilbert_heads("nlvr2"),
    )
