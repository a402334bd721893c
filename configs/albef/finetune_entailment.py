"""ALBEF on SNLI-VE as published; arguments "" and "smoke".

Sources: configs/VE.yaml and VE.py of github.com/salesforce/ALBEF.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 529_527, 32 * 8, 5  # ve_train; batch_size_train, GPUs; max_epoch
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="albef",
        task="entailment",
        preset="albef_ve",
        start=(dict(path="weights/ALBEF.pth", kind="albef", exclude=("heads_ve",)),),
        verb="entail",
        source=finetune.annotated(
            "snli_ve",
            "data/snli_ve/snli_ve_{split}.jsonl",
            splits=dict(validation="dev"),
            images="data/flickr30k-images",
        ),
        settings=dict(alpha=0.4),  # alpha, without a ramp
        batch=BATCH,
        rate=2e-5,  # schedular.lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(augment="albef_finetune"),
    )
