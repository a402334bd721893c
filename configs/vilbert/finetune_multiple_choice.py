"""ViLBERT (first release) on VCR, Q→A and QA→R together; arguments "" and "smoke".

Sources: vlbert_tasks.yml, train_tasks.py and vilbert/datasets/vcr_dataset.py of
github.com/jiasenlu/vilbert_beta, and its README, whose learning rate rules.

What differs: the original multiplies the rate by 0.1 at epochs 12 and 16, here it falls linearly
after the warm-up; it clips the gradient of each parameter by itself at 1.0, here that of all.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

# train: 212,923 questions, each with answers and with rationales; batch_size; num_train_epochs
EXAMPLES, BATCH, EPOCHS = 2 * 212_923, 64, 20
EPOCH = EXAMPLES // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    model = finetune.recipe.published("vilbert_beta_vcr")
    return finetune.experiment(
        argument,
        family="vilbert",
        task="multiple_choice",
        preset="vilbert_beta_vcr",
        model=dict(heads={"ranking": model["heads"]["ranking"]}),
        start=(
            dict(
                path="weights/pytorch_model_9.bin", kind="vilbert_beta", exclude=("heads_ranking",)
            ),
        ),
        verb="choose",
        source=finetune.annotated(
            "vcr",
            "data/vcr/{split}.jsonl",
            store="vilbert_lmdb",
            features="data/vilbert/vcr/VCR_resnet101_faster_rcnn_genome.lmdb",
            key="{id}",
        ),
        settings=dict(head="ranking", length=80, types=(0, 1), given_types=(0, 0, 1)),
        batch=BATCH,
        rate=2e-5,  # README, --learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=dict(
            clip_norm=1.0,
            # The groups are the wrong way round there: decayed are biases and norms alone.
            groups=(
                dict(pattern="/(bias|scale)$", decay_all=True),
                dict(pattern=".*", weight_decay=0.0),
            ),
        ),
    )
