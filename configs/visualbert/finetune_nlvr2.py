"""VisualBERT on NLVR2 as published; arguments "" and "smoke".

Sources: visualbert/configs/nlvr2/fine-tune.json and dataloaders/nlvr_dataset.py of
github.com/uclanlp/visualbert. It starts from the model that was pre-trained on the task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EXAMPLES, BATCH, EPOCHS = 86_373, 64, 10  # train; train_batch_size; num_train_epochs
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="visualbert",
        task="nlvr2",
        preset="visualbert_nlvr2",
        start=(
            dict(
                path="weights/nlvr2_pre_trained.th",
                kind="visualbert_nlvr2_pretrain",
                exclude=("heads_nlvr2",),
            ),
        ),
        verb="reason",
        source=finetune.annotated(
            "nlvr2",
            "data/nlvr2/{split}.json",
            splits=dict(validation="dev", test="test1"),
            store="npz",
            features="data/visualbert/nlvr2",
            store_args=dict(boxes="none"),
            key="{id}.png.npz",
        ),
        settings=dict(region_types=(0, 1), joined=True),  # visual_embeddings_type; one list
        batch=BATCH,
        rate=2e-5,  # learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=dict(groups=(dict(pattern="^pooler/", frozen=True),)),
    )
