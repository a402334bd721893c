"""UNITER base on NLVR2 with paired attention, as published; arguments "" and "smoke".

Sources: config/train-nlvr2-base-1gpu.json, train_nlvr2.py and model/nlvr2.py of
github.com/ChenRocks/UNITER. The batch is a number of tokens there, see pretrain.py.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH = 32  # train_batch_size 10240, over two pictures with at most 62 words and 100 regions each


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="uniter",
        task="nlvr2",
        preset="uniter_nlvr2",
        # The third type starts as the second.
        start=(dict(path="weights/uniter-base.pt", kind="uniter_nlvr2", exclude=("heads_nlvr2",)),),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            store="uniter_lmdb",
            features=",".join(f"data/uniter/nlvr2_{s}" for s in ("train", "dev", "test")),
            key="nlvr2_{id}.npz",
        ),
        settings=dict(region_types=(1, 2)),  # data/nlvr2.py: types of the two pictures
        batch=BATCH,
        rate=3e-5,  # learning_rate
        steps=8000,  # num_train_steps, warmup_steps 800
        epoch=500,  # valid_steps
    )
