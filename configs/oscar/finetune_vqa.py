"""OSCAR base on VQA v2 as published; arguments "", "plus" (VinVL) and "smoke".

Sources: MODEL_ZOO.md and VinVL_MODEL_ZOO.md ("VQA") and oscar/run_vqa.py of
github.com/microsoft/Oscar, whose number of GPUs is not said. Questions without a known answer are
left out there; here they teach that no answer is right.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 32, 25  # --per_gpu_train_batch_size; --num_train_epochs
EPOCH = finetune.VQA // BATCH
START = {"": "weights/ep_107_1192087", "plus": "weights/checkpoint-2000000"}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    variant = "plus" if argument == "plus" else ""
    return finetune.experiment(
        argument,
        variants=("plus",),
        family="oscar",
        task="vqa",
        preset=f"oscar{variant}_vqa",
        start=(dict(path=START[variant], kind=f"oscar{variant}", exclude=("heads_vqa",)),),
        verb="answer",
        source=finetune.vqa(
            answer_list="data/oscar/trainval_label2ans.pkl",
            # The published features are one .pt dictionary; `vlp-jax data convert` writes these.
            store="array_record",
            features="data/oscar/{split}.regions",
            key="{id}",
        ),
        settings=dict(form="bce"),
        batch=BATCH,
        rate=5e-5,  # --learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
