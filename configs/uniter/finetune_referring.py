"""UNITER base on RefCOCO, as published; arguments "", "plus" (RefCOCO+), "g" and "smoke".

Sources: config/train-refcoco-base-1gpu.json (refcoco+, refcocog alike), train_re.py and data/re.py
of github.com/ChenRocks/UNITER. It trains on the annotated boxes and is measured on detected ones.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH = 128  # train_batch_size

# preset, folder, refs, learning_rate, num_train_steps, warmup_steps, splits to measure on
RECIPES = {
    "": (
        "uniter_re",
        "refcoco",
        "refs(unc).p",
        1e-4,
        24_000,
        1500,
        ("validation", "testA", "testB"),
    ),
    "plus": (
        "uniter_re_mlp",
        "refcoco+",
        "refs(unc).p",
        6e-5,
        10_000,
        1000,
        ("validation", "testA", "testB"),
    ),
    "g": ("uniter_re", "refcocog", "refs(umd).p", 1e-4, 24_000, 1500, ("validation", "test")),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = argument if argument in RECIPES else ""
    preset, folder, refs, rate, steps, warmup, splits = RECIPES[variant]
    files = dict(
        form="refcoco",
        path=f"data/refer/{folder}/{refs}",
        beside=f"data/refer/{folder}/instances.json",
        store="uniter_lmdb",
    )
    annotated = dict(
        features="data/uniter/re_coco_gt", key="visual_grounding_coco_gt_{id:012d}.npz"
    )
    detected = dict(
        features="data/uniter/re_coco_det", key="visual_grounding_det_coco_{id:012d}.npz"
    )
    return finetune.experiment(
        argument,
        variants=("plus", "g"),
        family="uniter",
        task="referring",
        preset=preset,
        start=(dict(path="weights/uniter-base.pt", kind="uniter", exclude=("heads_re",)),),
        verb="ground",
        source=dict(
            source="annotated",
            source_args=dict(
                annotated=files | annotated, detected=files | detected | dict(kind="annotated")
            ),
        ),
        settings=dict(weight=float(BATCH)),  # train_re.py: summed over the batch
        evaluate=finetune.splits(splits, "refcoco", source="detected"),
        best="refcoco_accuracy",
        batch=BATCH,
        rate=rate,
        steps=steps,
        epoch=1000,  # valid_steps
        optimizer=dict(warmup_steps=warmup),
    )
