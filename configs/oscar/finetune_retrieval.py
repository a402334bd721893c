"""OSCAR base on image-text retrieval on COCO as published; arguments "", "plus" (VinVL), "smoke".

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("Image-Text Retrieval") and oscar/run_retrieval.py of
github.com/microsoft/Oscar. What differs: each pair comes with two wrong ones of its batch, one with
another caption and one with another picture; the original draws one of the two from all data.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

PICTURES, EPOCHS = finetune.COCO_PICTURES, 30  # --num_train_epochs
# pairs: batch size × GPUs; checkpoint
RECIPES = {
    "": (32 * 4, "weights/ep_67_588997"),
    "plus": (16 * 8, "weights/checkpoint-1340000"),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = "plus" if argument == "plus" else ""
    batch, start = RECIPES[variant]
    epoch = 5 * PICTURES // batch  # five captions a picture
    return finetune.experiment(
        argument,
        variants=("plus",),
        family="oscar",
        task="retrieval",
        preset=f"oscar{variant}_retrieval",
        start=(dict(path=start, kind=f"oscar{variant}", exclude=("heads_itm",)),),
        verb="retrieve",
        source=finetune.annotated(
            "karpathy",
            "data/dataset_coco.json",
            store="array_record",
            features="data/oscar/coco_ir.regions",
            key="{id}",
        ),
        tasks=dict(itm=dict(negatives="random")),
        # Every pair is scored: 1,000 pictures are five million passes.
        evaluate=dict(retrieval=dict(rank_by="matching", split="validation", limit=1000)),
        best="retrieval_i2t_r1",
        batch=batch,
        rate=2e-5,  # --learning_rate
        steps=EPOCHS * epoch,
        epoch=5000,  # --save_steps
    )
