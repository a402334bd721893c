"""ViLBERT on GQA alone, as the second release trains it (task 15); arguments "" and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/gqa_dataset.py of
github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS, RATE = 128, 20, 4e-5  # batch_size; num_epoch; lr
EPOCH = finetune.GQA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="gqa",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("gqa", 15),
        start=finetune.vilbert_start("gqa"),
        verb="gqa",
        source=finetune.gqa(
            answer_list="data/vilbert/gqa/trainval_label2ans.pkl",
            store="vilbert_lmdb",
            features="data/vilbert/gqa/gqa_resnext152_faster_rcnn_genome.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce", head="gqa"),
        batch=BATCH,
        rate=RATE,
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=finetune.vilbert_heads("gqa", RATE),
    )
