"""OSCAR base on COCO captions as published, by cross-entropy; arguments "", "plus", "smoke".

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("Image captioning on COCO") and
oscar/run_captioning.py of github.com/microsoft/Oscar; "plus" is VinVL. Learning by CIDEr follows
in finetune_captioning_by_cider.py. What differs: VinVL leaves out the worst fifth of the words of
each GPU, here of the batch.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# --label_smoothing, --drop_worst_ratio, --drop_worst_after
PLUS = dict(smoothing=0.1, drop=0.2, drop_after=20_000)
# batch size × GPUs, epochs, loss, checkpoint
RECIPES = {
    "": (64 * 4, 30, {}, "weights/ep_67_588997"),
    "plus": (64 * 8, 60, PLUS, "weights/checkpoint-2000000"),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = "plus" if argument == "plus" else ""
    batch, epochs, loss, start = RECIPES[variant]
    epoch = finetune.COCO_CAPTIONS // batch
    return finetune.experiment(
        argument,
        variants=("plus",),
        family="oscar",
        task="captioning",
        preset=f"oscar{variant}_caption",
        start=(dict(path=start, kind=f"oscar{variant}_caption"),),
        verb="caption",
        source=finetune.oscar_captions(),
        settings=dict(slots=40) | loss,  # --max_seq_a_length
        best="captioning_cider",
        batch=batch,
        rate=3e-5,  # --learning_rate
        steps=epochs * epoch,
        epoch=epoch,
        optimizer=finetune.FROZEN_WORDS if variant else {},
    )
