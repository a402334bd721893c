"""ViLBERT on image-text retrieval alone, as the second release trains it (tasks 7, 8).

The arguments are "" (Flickr30k), "coco" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/retreival_dataset.py of github.com/facebookresearch/vilbert-multi-task. What
differs: the fourth choice, the caption of a similar picture, is of a random one as well.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 128, 20  # batch_size; num_epoch
# file, captions for training, task
RECIPES = {
    "": ("data/dataset_flickr30k.json", 145_000, 8),
    "coco": ("data/dataset_coco.json", finetune.COCO_CAPTIONS, 7),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    file, captions, task = RECIPES[argument if argument in RECIPES else ""]
    epoch = captions // BATCH
    ranked = dict(rank_by="matching", head="ranking", split="validation", limit=1000)
    return finetune.experiment(
        argument,
        variants=("coco",),
        family="vilbert",
        task="retrieval",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("ranking", task),
        start=finetune.vilbert_start("ranking"),
        verb="retrieve",
        source=finetune.annotated(
            "karpathy",
            file,
            store="vilbert_lmdb",
            features="data/vilbert/coco_flickr30k.lmdb",
            key="{id}",
        ),
        tasks=dict(ranking=dict(form="choice", head="ranking", pictures=1, texts=2)),
        evaluate=dict(retrieval=ranked),
        best="retrieval_i2t_r1",
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * epoch,
        epoch=epoch,
        optimizer=finetune.vilbert_heads("ranking"),
    )
