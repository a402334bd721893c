"""ALBEF on image-text retrieval as published; arguments "" (COCO), "flickr" and "smoke".

Sources: configs/Retrieval_coco.yaml, Retrieval_flickr.yaml, Retrieval.py and
models/model_retrieval.py of github.com/salesforce/ALBEF. What differs: the queue starts empty.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH = 32 * 8  # batch_size_train, GPUs
# captions for training, epochs, file, k_test
RECIPES = {
    "": (finetune.COCO_CAPTIONS, 5, "data/dataset_coco.json", 256),
    "flickr": (145_000, 10, "data/dataset_flickr30k.json", 128),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    captions, epochs, file, rerank = RECIPES[argument if argument in RECIPES else ""]
    epoch = captions // BATCH
    held_out = dict(split="validation", limit=None, rerank=rerank)
    return finetune.experiment(
        argument,
        variants=("flickr",),
        family="albef",
        task="retrieval",
        preset="albef_retrieval",
        start=(dict(path="weights/ALBEF.pth", kind="albef"),),
        verb="retrieve",
        source=finetune.annotated("karpathy", file, images="data/pictures"),
        evaluate=dict(retrieval=held_out),
        tasks=dict(
            # alpha, queue_size; candidates are a GPU's 32 pairs and the queue
            itc=dict(alpha=0.4, queue_size=65_536, local_batch=32, in_batch="teacher"),
            itm=dict(negatives="hard", local_batch=32, in_batch="teacher"),
        ),
        best="i2t_r1_itm",
        batch=BATCH,
        rate=1e-5,  # schedular.lr
        steps=epochs * epoch,
        epoch=epoch,
        data=dict(augment="albef_finetune"),
        training=dict(distillation_warmup=epoch),
    )
