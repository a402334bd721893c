"""UNITER base on SNLI-VE as published; arguments "" and "smoke".

Sources: config/train-ve-base-2gpu.json, train_ve.py and data/ve.py of github.com/ChenRocks/UNITER.
The batch is a number of tokens there, see pretrain.py.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train_batch_size 4096 × 2 GPUs × gradient_accumulation_steps 4, over at most 162 tokens each
BATCH, ACCUMULATE = 192, 4


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="uniter",
        task="entailment",
        preset="uniter_ve",
        start=(dict(path="weights/uniter-base.pt", kind="uniter", exclude=("heads_ve",)),),
        verb="entail",
        source=finetune.annotated(
            "snli_ve",
            "data/snli_ve/snli_ve_{split}.jsonl",
            splits=dict(validation="dev"),
            store="uniter_lmdb",
            features="data/uniter/flickr30k",
            key="flickr30k_{id:0>12}.npz",
        ),
        settings=dict(
            form="bce",  # train_ve.py: BCE × 3
            order=("contradiction", "entailment", "neutral"),  # utils/ans2label of ve
        ),
        batch=BATCH,
        rate=8e-5,  # learning_rate
        steps=4000,  # num_train_steps, warmup_steps 400
        epoch=200,  # valid_steps
        optimizer=dict(clip_norm=2.0 / ACCUMULATE),  # gradients are summed there
        training=dict(accumulate=ACCUMULATE),
    )
