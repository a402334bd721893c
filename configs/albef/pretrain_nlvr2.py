"""ALBEF's extra step of text assignment before NLVR2, as published; arguments "" and "smoke".

Sources: configs/NLVR_pretrain.yaml, Pretrain_nlvr.py and models/model_pretrain_nlvr.py of
github.com/salesforce/ALBEF. One epoch over the pairs of 4 M pictures; `finetune_nlvr2.py` starts
from what it leaves. Each layer of the fusion becomes a pair, which starts as twice the same.

What differs: other pictures are drawn from the whole batch, not from a GPU's 64 pairs, and never
the text's own by another caption.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# The lists of the step, those of the 4 M pictures, and their pairs (section 3.5 of the paper).
LISTS, PAIRS = ("coco", "vg", "cc3m_train", "cc3m_val", "sbu"), 5_100_000
BATCH = 64 * 8  # batch_size, GPUs
STEPS = PAIRS // BATCH  # one epoch


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="albef",
        task="text_assignment",
        preset="albef_nlvr2_pretrain",
        start=(dict(path="weights/ALBEF.pth", kind="albef", exclude=("^heads_ta/",)),),
        verb="retrieve",
        source=dict(source="json", path=",".join(f"data/{name}.json" for name in LISTS)),
        evaluate={},
        best=None,
        batch=BATCH,
        rate=2e-5,  # schedular.lr
        steps=STEPS,
        epoch=STEPS,
        data=dict(
            augment="albef",
            text_length=25,  # max_length
        ),
        optimizer=dict(
            end_learning_rate=1e-5,  # schedular.min_lr
            # The contrastive head gets no gradient, and the original leaves it as it is.
            groups=(dict(pattern="^heads_itc/", frozen=True),),
        ),
        training=dict(momentum=None, checkpoint_every=5000, evaluate_every=0),
    )
