"""ViLBERT on SNLI-VE alone, as the second release trains it (task 13); arguments "" and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/visual_entailment_dataset.py of
github.com/facebookresearch/vilbert-multi-task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 529_527, 256, 20  # train; batch_size; num_epoch
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="vilbert",
        task="entailment",
        preset="vilbert_12in1",
        model=finetune.one_of_twelve("ve", 13),
        start=finetune.vilbert_start("ve"),
        verb="entail",
        source=finetune.annotated(
            "snli_ve",
            "data/snli_ve/snli_ve_{split}.jsonl",
            splits=dict(validation="dev"),
            store="vilbert_lmdb",
            features="data/vilbert/flickr30k/flickr30k.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce_mean"),
        batch=BATCH,
        rate=2e-5,  # lr
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=finetune.vilbert_heads("ve"),
    )
