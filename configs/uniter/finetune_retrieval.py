"""UNITER base on image-text retrieval on Flickr30k, without hard negatives; "" and "smoke".

Sources: config/train-itm-flickr-base-8gpu.json, train_itm.py and model/itm.py of
github.com/ChenRocks/UNITER. The ranking head starts as the matching head's row for "belongs". What
differs: wrong pictures and texts come from the batch; the form with hard negatives is not there.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train_batch_size, GPUs, gradient_accumulation_steps; each with a wrong picture and a wrong text
BATCH, ACCUMULATE = 40 * 8 * 4, 4


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    ranked = dict(rank_by="matching", head="rank", split="validation", limit=None)
    return finetune.experiment(
        argument,
        family="uniter",
        task="retrieval",
        preset="uniter_retrieval",
        start=(dict(path="weights/uniter-base.pt", kind="uniter_retrieval"),),
        verb="retrieve",
        source=finetune.annotated(
            "karpathy",
            "data/dataset_flickr30k.json",
            store="uniter_lmdb",
            features="data/uniter/flickr30k",
            key="flickr30k_{id:0>12}.npz",
        ),
        tasks=dict(ranking=dict(form="triplet", margin=0.2)),  # margin
        evaluate=dict(retrieval=ranked),
        best="retrieval_i2t_r1",
        batch=BATCH,
        rate=5e-5,  # learning_rate
        steps=20_000,  # num_train_steps, warmup_steps 2000
        epoch=2000,
        optimizer=dict(clip_norm=2.0 / ACCUMULATE),  # gradients are summed there
        training=dict(accumulate=ACCUMULATE),
    )
