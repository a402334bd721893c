"""ALBEF's weakly supervised grounding on RefCOCO+ as published; arguments "" and "smoke".

Sources: configs/Grounding.yaml and Grounding.py of github.com/salesforce/ALBEF. It learns from
pictures and expressions, without boxes, and is measured on a detector's (`det_file`).

What differs: the queue starts empty; the original's lists of expressions (refcoco+_train.json) are
made from the files of lichengunc/refer that are read here.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# expressions of the training split (unc); batch_size, GPUs; schedular.epochs
EXAMPLES, BATCH, EPOCHS = 120_191, 32 * 8, 5
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    files = dict(
        form="refcoco",
        path="data/refer/refcoco+/refs(unc).p",
        beside="data/refer/refcoco+/instances.json",
        images="data/coco/train2014",
    )
    proposed = files | dict(kind="annotated", proposals="data/refcoco+/dets.json")
    return finetune.experiment(
        argument,
        family="albef",
        task="grounding",
        preset="albef_grounding",
        start=(dict(path="weights/ALBEF.pth", kind="albef"),),
        verb="ground",
        source=dict(source="annotated", source_args=dict(annotated=files, proposed=proposed)),
        evaluate=finetune.splits(("validation", "testA", "testB"), "refcoco", source="proposed"),
        best="refcoco_accuracy",
        tasks=dict(
            # alpha, queue_size; candidates are a GPU's 32 pairs and the queue
            itc=dict(alpha=0.4, queue_size=65_536, local_batch=32, in_batch="teacher"),
            itm=dict(negatives="hard", local_batch=32, in_batch="teacher"),
        ),
        batch=BATCH,
        rate=1e-5,  # schedular.lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(augment="albef_grounding"),
        training=dict(distillation_warmup=EPOCH),
    )
