"""UNITER base on image-text retrieval; "" (Flickr30k), "hard", "coco" and "smoke".

"hard" (Flickr30k) and "coco" are the recipes with hard negatives. Sources: config/train-itm-
flickr-base-8gpu.json, train-itm-{flickr,coco}-base-16gpu-hn.json, train_itm.py,
train_itm_hard_negatives.py and model/itm.py of github.com/ChenRocks/UNITER. The ranking head starts
as the matching head's row for "belongs".

What differs: wrong pictures and texts come from the batch. Where the original draws 399 of all data
for each pair, here a batch has 512 pairs, of which 128 are learned.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

FLICKR = dict(
    path="data/dataset_flickr30k.json",
    features="data/uniter/flickr30k",
    key="flickr30k_{id:0>12}.npz",
)
COCO = dict(
    path="data/dataset_coco.json",
    features="data/uniter/coco_train2014,data/uniter/coco_val2014",
    key="coco_{subset}_{id:012d}.npz",
)

# train_batch_size, GPUs, gradient_accumulation_steps; each with a wrong picture and a wrong text
PLAIN = dict(
    batch=40 * 8 * 4,
    steps=20_000,  # num_train_steps, warmup_steps 2000
    epoch=2000,
    settings=dict(form="triplet", margin=0.2),  # margin
    optimizer=dict(clip_norm=2.0 / 4),  # gradients are summed there
    training=dict(accumulate=4),
)
HARD = dict(
    batch=4 * 128,
    steps=5000,  # num_train_steps, warmup_steps 500
    epoch=500,
    settings=dict(
        form="triplet",
        margin=0.2,
        pairs=8 * 16,  # train_batch_size, GPUs
        candidates=399,  # negative_size
        pictures=31,  # hard_neg_size
        texts=31,
        weight=2.0,  # both directions are summed, and here is their mean
    ),
    optimizer={},
    training=dict(accumulate=8),
)
RECIPES = {"": (FLICKR, PLAIN), "hard": (FLICKR, HARD), "coco": (COCO, HARD)}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    data, recipe = RECIPES[argument if argument in RECIPES else ""]
    numbers = {name: value for name, value in recipe.items() if name != "settings"}
    ranked = dict(rank_by="matching", head="rank", split="validation", limit=None)
    return finetune.experiment(
        argument,
        variants=("hard", "coco"),
        family="uniter",
        task="retrieval",
        preset="uniter_retrieval",
        start=(dict(path="weights/uniter-base.pt", kind="uniter_retrieval"),),
        verb="retrieve",
        source=finetune.annotated("karpathy", store="uniter_lmdb", **data),
        tasks=dict(ranking=recipe["settings"]),
        evaluate=dict(retrieval=ranked),
        best="retrieval_i2t_r1",
        rate=5e-5,  # learning_rate
        **numbers,
    )
