"""OSCAR base on COCO captions as published, by cross-entropy; arguments "", "plus", "smoke".

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("Image captioning on COCO") and
oscar/run_captioning.py of github.com/microsoft/Oscar; "plus" is VinVL. Learning by CIDEr follows
in finetune_captioning_by_cider.py. What differs: VinVL leaves out the worst fifth of the words only
from step 20,000 on, here none.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# batch size × GPUs, epochs, smoothing, checkpoint
RECIPES = {
    "": (64 * 4, 30, 0.0, "weights/ep_67_588997"),
    "plus": (64 * 8, 60, 0.1, "weights/checkpoint-2000000"),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = "plus" if argument == "plus" else ""
    batch, epochs, smoothing, start = RECIPES[variant]
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
        settings=dict(slots=40, smoothing=smoothing),  # --max_seq_a_length
        best="captioning_cider",
        batch=batch,
        rate=3e-5,  # --learning_rate
        steps=epochs * epoch,
        epoch=epoch,
        optimizer=finetune.FROZEN_WORDS if variant else {},
    )
