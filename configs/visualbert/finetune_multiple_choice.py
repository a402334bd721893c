"""VisualBERT on VCR; arguments "" and "smoke".

Sources: visualbert/configs/vcr/fine-tune-qa.json and dataloaders/vcr.py of
github.com/uclanlp/visualbert.

What differs: the original trains a detector (ResNet-50) along and gives regions the word that names
them; here features are given, 512 wide. It trains Q→A (8 epochs) and QA→R (12) each by itself, here
one model learns both.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train: 212,923 questions, each with answers and with rationales; train_batch_size; epochs of Q→A
EXAMPLES, BATCH, EPOCHS = 2 * 212_923, 32, 8
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="visualbert",
        task="multiple_choice",
        preset="visualbert_vcr",
        start=(
            dict(
                path="weights/vcr_pre_trained.th",
                kind="visualbert_vcr_pretrain",
                exclude=("heads_vcr",),
            ),
        ),
        verb="choose",
        source=finetune.annotated(
            "vcr",
            "data/vcr/{split}.jsonl",
            store="npz",
            features="data/visualbert/vcr",
            key="{id}.npz",
        ),
        settings=dict(length=128, types=(0, 1), given_types=(0, 0, 1)),  # max_seq_length
        batch=BATCH,
        rate=2e-5,  # learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=dict(groups=(dict(pattern="^pooler/", frozen=True),)),
    )
