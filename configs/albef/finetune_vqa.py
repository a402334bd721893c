"""ALBEF on VQA v2 as published: a decoder writes the answers; arguments "" and "smoke".

Sources: configs/VQA.yaml, VQA.py and models/model_vqa.py of github.com/salesforce/ALBEF.

It learns from val2014 and Visual Genome, too, and keeps no split to measure on, so nothing is
measured on the way; `vlp-jax evaluate` writes the answers of test2015. Answers of VQA's annotators
count by their share, the one of a question of Visual Genome 0.5.

What differs: Visual Genome's questions are read from its own file, and their answers made lower
case without a full stop, as it is not published how the original's vg_qa.json was made; answers of
more than ten word pieces are left out, where the original has no limit.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES = finetune.VQA + 214_354 + finetune.GENOME_QUESTIONS  # train, val, Visual Genome
BATCH, EPOCHS = 32 * 8, 8  # batch_size_train, GPUs
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
        source=finetune.with_genome(data, images="data/visual_genome/images", answer_weight=0.5),
        # alpha; dataset/vqa_dataset.py; [CLS], [SEP] and ten
        settings=dict(alpha=0.4, question_length=25, answer_length=12),
        evaluate=dict(vqa=dict(source="annotated", split="test", limit=None)),
        best=None,
        batch=BATCH,
        rate=2e-5,  # schedular.lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        data=dict(augment="albef_finetune"),
        optimizer=dict(warmup_steps=400),  # warmup_epochs 4
        training=dict(distillation_warmup=EPOCH, evaluate_every=0),
    )
