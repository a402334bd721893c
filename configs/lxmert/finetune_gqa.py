"""LXMERT on GQA as published; arguments "" and "smoke".

Sources: run/gqa_finetune.bash, src/tasks/gqa*.py of github.com/airsplay/lxmert.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 32, 4  # --batchSize; --epochs
EPOCH = finetune.GQA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="lxmert",
        task="gqa",
        preset="lxmert_gqa",
        start=finetune.lxmert_start(),
        verb="answer",
        source=finetune.gqa(
            answer_list="data/lxmert/gqa_trainval_label2ans.json",
            store="lxmert_tsv",
            features="data/vg_gqa_imgfeat/vg_gqa_obj36.tsv,data/vg_gqa_imgfeat/gqa_testdev_obj36.tsv",
            key="{id}",
        ),
        settings=dict(form="bce"),
        batch=BATCH,
        rate=1e-5,  # --lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
    )
