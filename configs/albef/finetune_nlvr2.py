"""ALBEF on NLVR2 as published; arguments "" and "smoke".

Sources: configs/NLVR.yaml and NLVR.py of github.com/salesforce/ALBEF. It starts from the checkpoint
of the extra step of text assignment, `pretrain_model_nlvr.pth`.

What differs: the teacher starts as a copy of the model. The original copies it before it loads the
checkpoint, so that its first epoch listens to a teacher that knows nothing.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 86_373, 16 * 8, 10  # nlvr_train; batch_size_train, GPUs; max_epoch
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="albef",
        task="nlvr2",
        preset="albef_nlvr2",
        start=(
            dict(
                path="weights/pretrain_model_nlvr.pth",
                kind="albef_nlvr2",
                exclude=("heads_nlvr2",),
            ),
        ),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            images="data/nlvr2/images",
            key="{split}/{directory}/{file}",
        ),
        settings=dict(alpha=0.4),  # alpha
        batch=BATCH,
        rate=2e-5,  # schedular.lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(augment="albef_finetune"),
        training=dict(distillation_warmup=EPOCH),  # alpha rises over epoch 0
    )
