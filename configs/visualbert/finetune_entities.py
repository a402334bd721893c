"""VisualBERT on Flickr30k Entities as published; arguments "" and "smoke".

Sources: visualbert/configs/flickr/fine-tune.json and dataloaders/flickr_dataset.py of
github.com/uclanlp/visualbert. It starts from the model that was pre-trained on the task, and reads
2048 features and a box in six numbers of 10 to 100 regions. A phrase that occurs twice in a
sentence is read where it is marked; the original reads it where it occurs first.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# Five sentences of each training picture; train_batch_size; num_train_epochs
EXAMPLES, BATCH, EPOCHS = 5 * 29_783, 32, 5
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="visualbert",
        task="entities",
        preset="visualbert_flickr",
        start=(
            dict(
                path="weights/flickr_pre_trained.th",
                kind="visualbert_flickr_pretrain",
                exclude=("heads_grounding",),
            ),
        ),
        verb="ground",
        source=finetune.annotated(
            "flickr30k_entities",
            "data/flickr30k_entities/{split}.txt",
            store="adaptive_hdf5",
            features="data/flickr30k/{split}.hdf5",
            key="{id}",
        ),
        # The heads of pre-training are not trained further. 64: the width of one head of BERT.
        model=dict(heads=dict(grounding=dict(kind="phrase_grounding", width=64))),
        batch=BATCH,
        rate=2e-5,  # learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        best="{task}_r1",
        optimizer=dict(groups=(dict(pattern="^pooler/", frozen=True),)),
    )
