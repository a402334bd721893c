"""ALBEF on VQA v2 as published: a decoder writes the answers; arguments "" and "smoke".

Sources: configs/VQA.yaml, VQA.py and models/model_vqa.py of github.com/salesforce/ALBEF.

What differs: the original also learns from the questions of Visual Genome, each with one answer of
weight 0.5; a second source of form "json" adds them. It trains on val2014 as well and keeps no
split to measure on, so nothing is measured on the way; `vlp-jax evaluate` writes the answers of
test2015.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 443_757 + 214_354, 32 * 8, 8  # train, val; batch_size_train, GPUs
EPOCH = EXAMPLES // BATCH
FILE = dict(path="weights/ALBEF.pth", kind="albef")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    data = finetune.vqa(
        answer_list="data/vqa/answer_list.json",
        images="data/coco",
        key="{subset}/COCO_{subset}_{id:012d}.jpg",
    )
    names = data["source_args"]["annotated"]
    names["splits"] = names["splits"] | dict(train="train2014,val2014")
    return finetune.experiment(
        argument,
        family="albef",
        task="vqa_generative",
        preset="albef_vqa",
        start=(
            FILE | dict(exclude=("^heads_answer/",)),
            # VQA.py: the decoder starts as the fusion, with the embeddings and the word head.
            FILE
            | dict(
                include=("^heads_answer/",),
                rename=(
                    ("^fusion/layer_", "heads_answer/layer_"),
                    ("^text/(word|position|type|norm)/", r"heads_answer/\1/"),
                    ("^heads_mlm/", "heads_answer/words/"),
                ),
            ),
        ),
        verb="answer",
        source=data,
        settings=dict(alpha=0.4, question_length=25),  # alpha; dataset/vqa_dataset.py
        evaluate=dict(vqa=dict(split="test", limit=None)),
        best=None,
        batch=BATCH,
        rate=2e-5,  # schedular.lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(augment="albef_finetune"),
        optimizer=dict(warmup_steps=400),  # warmup_epochs 4
        training=dict(distillation_warmup=EPOCH, evaluate_every=0),
    )
