"""OSCAR base on NLVR2 as published; arguments "" and "smoke".

Sources: MODEL_ZOO.md ("NLVR2") and oscar/run_nlvr.py of github.com/microsoft/Oscar. The published
command shows no tags (it lacks --use_label_seq); how many GPUs it ran on is not said.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 86_373, 72, 20  # train; --per_gpu_train_batch_size; --num_train_epochs
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="oscar",
        task="nlvr2",
        preset="oscar_nlvr2",
        start=(dict(path="weights/ep_107_1192087", kind="oscar", exclude=("heads_nlvr2",)),),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            # The published features are one .pt dictionary; `vlp-jax data convert` writes these.
            store="array_record",
            features="data/oscar/nlvr2.regions",
            key="{id}.png",
        ),
        batch=BATCH,
        rate=3e-5,  # --learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(tags=False),
        optimizer=dict(warmup_steps=10_000),  # --warmup_steps
    )
