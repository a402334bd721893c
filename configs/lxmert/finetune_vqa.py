"""LXMERT on VQA v2 as published; arguments "" and "smoke".

Sources: run/vqa_finetune.bash, src/tasks/vqa*.py of github.com/airsplay/lxmert, which also learns
from most of val2014.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 32, 4  # --batchSize; --epochs
EPOCH = finetune.VQA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="lxmert",
        task="vqa",
        preset="lxmert_vqa",
        start=finetune.lxmert_start(),
        verb="answer",
        source=finetune.vqa(
            answer_list="data/lxmert/trainval_label2ans.json",
            store="lxmert_tsv",
            features="data/mscoco_imgfeat/{split}_obj36.tsv",
            key="COCO_{subset}_{id:012d}",
        ),
        settings=dict(form="bce"),
        batch=BATCH,
        rate=5e-5,  # --lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
