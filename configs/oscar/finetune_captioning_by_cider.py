"""OSCAR on COCO captions by CIDEr, which follows cross-entropy; see `VARIANTS` for arguments.

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("Image captioning on COCO") and
oscar/run_captioning.py (--scst) of github.com/microsoft/Oscar; "plus" is VinVL. What differs: the
dropout of regions is the same for all words of a step, references are compared as word pieces
joined to words, and a caption that ends with padding counts as ended.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# preset, batch size × GPUs, epochs, rate, and where the published checkpoint by cross-entropy lies;
# your own is `--config.init_from=WORKDIR`
RECIPES = {
    "": ("oscar_caption", 16 * 4, 5, 5e-6, "weights/oscar_captioning_base"),
    "large": ("oscar_large_caption", 8 * 8, 5, 5e-6, "weights/oscar_captioning_large"),
    "plus": ("oscarplus_caption", 16 * 8, 75, 3e-6, "weights/vinvl_captioning_base"),
    "plus_large": ("oscarplus_large_caption", 6 * 8, 25, 8e-7, "weights/vinvl_captioning_large"),
}
VARIANTS = ("large", "plus", "plus_large")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = argument if argument in VARIANTS else ""
    preset, batch, epochs, rate, start = RECIPES[variant]
    epoch = finetune.COCO_PICTURES // batch  # each once, with all of its captions
    return finetune.experiment(
        argument,
        variants=VARIANTS,
        family="oscar",
        task="captioning_by_cider",
        preset=preset,
        start=(dict(path=start, kind=preset),),
        verb="caption",
        source=finetune.oscar_captions(),
        # --max_seq_a_length of the first step, whose tags begin there; --sc_train_sample_n,
        # --max_gen_length and --sc_baseline_type
        settings=dict(slots=40, samples=5, sample_length=20, baseline="greedy"),
        evaluate=dict(captioning=dict(split="validation", limit=None)),
        best="captioning_cider",
        batch=batch,
        rate=rate,
        steps=epochs * epoch,
        epoch=epoch,
        optimizer=finetune.FROZEN_WORDS if variant.startswith("plus") else {},
    )
