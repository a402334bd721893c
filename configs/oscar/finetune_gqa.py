"""OSCAR base on GQA as published; arguments "", "plus" (VinVL) and "smoke".

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("GQA") and oscar/run_gqa.py of
github.com/microsoft/Oscar, whose number of GPUs is not said. What differs: the original learns from
all questions, not from the balanced ones alone.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 48, 5  # --per_gpu_train_batch_size; --num_train_epochs
EPOCH = finetune.GQA // BATCH
START = {"": "weights/ep_107_1192087", "plus": "weights/checkpoint-2000000"}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = "plus" if argument == "plus" else ""
    return finetune.experiment(
        argument,
        variants=("plus",),
        family="oscar",
        task="gqa",
        preset=f"oscar{variant}_gqa",
        start=(dict(path=START[variant], kind=f"oscar{variant}", exclude=("heads_vqa",)),),
        verb="answer",
        source=finetune.gqa(
            answer_list="data/oscar/trainval_testdev_all_label2ans.pkl",
            # The published features are one .pt dictionary; `vlp-jax data convert` writes these.
            store="array_record",
            features="data/oscar/gqa.regions",
            key="{id}",
        ),
        settings=dict(form="ce"),  # the first answer alone
        batch=BATCH,
        rate=5e-5,  # --learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
