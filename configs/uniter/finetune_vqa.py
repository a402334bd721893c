"""UNITER base on VQA v2 as published; arguments "" and "smoke".

Sources: config/train-vqa-base-4gpu.json, train_vqa.py and data/vqa.py of
github.com/ChenRocks/UNITER. Questions of Visual Genome whose answer is in the list are learned,
too, shuffled among those of VQA. The batch is a number of tokens there, see pretrain.py.

What differs: the original also learns from most of val2014. How its database of Visual Genome was
made is not published: answers are read from Visual Genome's own file, made lower case without a
full stop, and each counts 1.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train_batch_size 5120 × 4 GPUs × gradient_accumulation_steps 5, over at most 162 tokens each
BATCH, ACCUMULATE = 600, 5
HEAD = 10.0  # lr_mul


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    asked = finetune.vqa(
        answer_list="data/uniter/ans2label.json",
        store="uniter_lmdb",
        features="data/uniter/coco_{split}",
        key="coco_{subset}_{id:012d}.npz",
    )
    return finetune.experiment(
        argument,
        family="uniter",
        task="vqa",
        preset="uniter_vqa",
        start=(dict(path="weights/uniter-base.pt", kind="uniter", exclude=("heads_vqa",)),),
        verb="answer",
        source=finetune.with_genome(
            asked,
            store="uniter_lmdb",
            features="data/uniter/vg",
            key="vg_{id}.npz",  # digits of the number: as the database has them
            listed=True,
        ),
        settings=dict(form="bce"),
        evaluate=dict(vqa=dict(source="annotated", split="validation", limit=None)),
        batch=BATCH,
        rate=8e-5,  # learning_rate
        steps=6000,  # num_train_steps, warmup_steps 600
        epoch=500,  # valid_steps
        optimizer=dict(
            clip_norm=2.0 / ACCUMULATE,  # gradients are summed there
            groups=(
                dict(pattern="vision/(feature|box)_norm/scale", decay_all=True),
                dict(pattern="^heads_vqa/norm/scale", learning_rate=HEAD, decay_all=True),
                dict(pattern="^heads_vqa/", learning_rate=HEAD),
            ),
        ),
        training=dict(accumulate=ACCUMULATE),
    )
