"""LXMERT on NLVR2 as published; arguments "" and "smoke".

Sources: run/nlvr2_finetune.bash, src/tasks/nlvr2*.py of github.com/airsplay/lxmert.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 86_373, 32, 4  # train; --batchSize; --epochs
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="lxmert",
        task="nlvr2",
        preset="lxmert_nlvr2",
        start=(dict(path="weights/model_LXRT.pth", kind="lxmert", exclude=("heads_nlvr2",)),),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            store="lxmert_tsv",
            features="data/nlvr2_imgfeat/*_obj36.tsv",
            key="{id}",
        ),
        batch=BATCH,
        rate=5e-5,  # --lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
