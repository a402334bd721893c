"""ViLBERT on RefCOCO alone, as the second release trains it (task 9).

The arguments are "", "plus" (RefCOCO+), "g" and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/refer_expression_dataset.py of
github.com/facebookresearch/vilbert-multi-task. What differs: training sees the detected regions
alone; the original adds the annotated boxes where there is room, which 100 detections leave none.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 256, 20  # batch_size; num_epoch

# folder, refs, task, expressions for training, splits to measure on
RECIPES = {
    "": ("refcoco", "refs(unc).p", 9, 120_624, ("validation", "testA", "testB")),
    "plus": ("refcoco+", "refs(unc).p", 10, 120_191, ("validation", "testA", "testB")),
    "g": ("refcocog", "refs(umd).p", 11, 80_512, ("validation", "test")),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    folder, refs, task, examples, splits = RECIPES[argument if argument in RECIPES else ""]
    epoch = examples // BATCH
    return finetune.experiment(
        argument,
        variants=("plus", "g"),
        family="vilbert",
        task="referring",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("grounding", task),
        start=finetune.vilbert_start("grounding"),
        verb="ground",
        source=finetune.annotated(
            "refcoco",
            f"data/refer/{folder}/{refs}",
            beside=f"data/refer/{folder}/instances.json",
            store="vilbert_lmdb",
            features=f"data/vilbert/refcoco/{folder}_feat.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce", head="grounding"),
        evaluate=finetune.splits(splits, "refcoco"),
        best="refcoco_accuracy",
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * epoch,
        epoch=epoch,
    )
