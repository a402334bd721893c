"""ViLBERT on Visual Genome's questions alone, as the second release trains it (task 2).

The arguments are "" and "smoke". Sources: vilbert_tasks.yml, train_tasks.py and
vilbert/datasets/visual_genome_dataset.py of github.com/facebookresearch/vilbert-multi-task. The
head is VQA's. What differs: answers are read from Visual Genome's own file, and made lower case
without a full stop; how the original's `trainval_target.pkl` was made is not published.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS, RATE = 128, 20, 4e-5  # batch_size; num_epoch; lr
EPOCH = finetune.VG_QA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="vqa",
        name="vg_qa",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("vqa", 2),
        start=finetune.vilbert_start("vqa"),
        verb="vqa",
        source=finetune.vg_qa(),
        settings=dict(form="bce"),
        evaluate=dict(vg_qa=dict(split="validation", limit=None)),
        best="vg_qa_accuracy",
        batch=BATCH,
        rate=RATE,
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=finetune.vilbert_heads("vqa", RATE),
    )
