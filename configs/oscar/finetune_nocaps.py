"""OSCAR base on nocaps, from BERT and COCO's captions alone; arguments "", "cider", "smoke".

Sources: VinVL_MODEL_ZOO.md and oscar/run_captioning.py of github.com/microsoft/Oscar. "cider" goes
on from the run of "". nocaps is scored by its server: captions of its pictures are written into
`nocaps_predictions.json`, and measured here only if `path` has captions
(nocaps_val_4500_captions.json). What differs: constraints are a file of yours
(`--config.tasks.captioning.evaluate.nocaps.constraints`), here none.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# Features go by the id of Open Images, which names the picture's file.
NOCAPS = dict(
    kind="annotated",
    form="coco_captions",
    path="data/nocaps/nocaps_{split}_image_info.json",
    store="array_record",
    features="data/oscar/nocaps_{split}.regions",
    key="{stem}",
)
# task, its settings, batch size × GPUs, items an epoch, epochs, rate, schedule
CROSS_ENTROPY = ("captioning", {}, 64 * 4, finetune.COCO_CAPTIONS, 30, 1e-4, "linear")
BY_CIDER = (
    "captioning_by_cider",
    dict(samples=5, sample_length=20, baseline="greedy"),
    *(14 * 8, finetune.COCO_PICTURES, 50, 5e-6, "constant"),
)


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    by_cider = argument == "cider"
    task, settings, batch, items, epochs, rate, schedule = BY_CIDER if by_cider else CROSS_ENTROPY
    bert = dict(path="weights/bert-base-uncased", kind="bert")
    run = dict(path="runs/nocaps", kind="run")
    epoch = items // batch
    (coco,) = finetune.oscar_captions()["source_args"].values()
    return finetune.experiment(
        argument,
        variants=("cider",),
        family="oscar",
        task=task,
        preset="oscarplus_caption",  # --tie_weights
        start=(run if by_cider else bert,),
        verb="caption",
        source=dict(
            source="coco", source_args=dict(coco=coco | dict(kind="annotated"), nocaps=NOCAPS)
        ),
        settings=dict(slots=40) | settings,
        evaluate=dict(
            captioning=dict(source="coco", split="validation", limit=None),
            nocaps=dict(source="nocaps", split="validation", limit=None),
        ),
        best="captioning_cider",
        batch=batch,
        rate=rate,
        steps=epochs * epoch,
        epoch=epoch,
        optimizer=finetune.FROZEN_WORDS | dict(schedule=schedule),
    )
