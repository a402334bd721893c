"""ViLBERT on VQA v2 alone, as the second release trains it (task 1); arguments "" and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/vqa_dataset.py of
github.com/facebookresearch/vilbert-multi-task, which also learns from most of val2014.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS, RATE = 128, 20, 4e-5  # batch_size; num_epoch; lr
EPOCH = finetune.VQA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="vqa",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("vqa", 1),
        start=finetune.vilbert_start("vqa"),
        verb="answer",
        source=finetune.vqa(
            answer_list="data/vilbert/vqa/trainval_label2ans.pkl",
            store="vilbert_lmdb",
            features="data/vilbert/coco/COCO_trainval_resnext152_faster_rcnn_genome.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce"),
        batch=BATCH,
        rate=RATE,
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=finetune.vilbert_heads("vqa", RATE),
    )
