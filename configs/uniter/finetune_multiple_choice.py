"""UNITER base on VCR, Q→A and QA→R together, as published; arguments "" and "smoke".

Sources: config/train-vcr-base-4gpu.json, train_vcr.py and data/vcr.py of
github.com/ChenRocks/UNITER. It starts from the second stage of pre-training, whose table of words
has 81 more than BERT's: `vocabulary` is BERT's vocab.txt with these behind.

What differs: persons have names, which the original writes as words of its own; the batch is a
number of tokens there, see pretrain.py.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train_batch_size 4000 × 4 GPUs × gradient_accumulation_steps 5, over four choices a question with
# at most 220 tokens each
BATCH, ACCUMULATE = 80, 5


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="uniter",
        task="multiple_choice",
        preset="uniter_vcr",
        start=(
            dict(
                path="weights/uniter-base-vcr_2nd_stage.pt",
                kind="uniter_vcr_pretrain",
                exclude=("heads_vcr",),
            ),
        ),
        verb="choose",
        source=finetune.annotated(
            "vcr",
            "data/vcr/{split}.jsonl",
            store="uniter_lmdb",
            features=",".join(f"data/uniter/vcr_{split}" for split in ("train", "val", "test")),
            key="vcr_{id}.npz",
        ),
        settings=dict(
            form="binary",  # train_vcr.py: CE of two classes for every choice
            length=120,
            types=(0, 2),  # data/vcr.py
            given_types=(0, 2, 3),
            separator_follows=True,
        ),
        best="multiple_choice_accuracy",
        batch=BATCH,
        rate=6e-5,  # learning_rate
        steps=8000,  # num_train_steps, warmup_steps 800
        epoch=1000,  # valid_steps
        data=dict(vocabulary="weights/uniter-vcr-vocab.txt"),
        optimizer=dict(clip_norm=2.0 / ACCUMULATE),  # gradients are summed there
        training=dict(accumulate=ACCUMULATE),
    )
